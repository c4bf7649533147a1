// Tile kernels: a block keeps tiles in shared memory, threads stride over their elements, single elements are the same in every
// thread. Barriers stand only where a thread meets what another wrote; elementwise tiles of one user are computed where they are used.
import { ownerOf } from "../../../ir/kernel/owner.ts";
import { printStatement } from "../../../ir/kernel/print.ts";
import type { Stmt, Tile } from "../../../ir/kernel/stmt.ts";
import { flatten, tilesRead, tileWritten } from "../../../ir/kernel/walk.ts";
import { Pending, rowStride, type Access } from "./block-plan.ts";
import { literal, registerType, type Elements } from "./element.ts";
import type { Lines } from "./lines.ts";
import { isSingle } from "./warp-plan.ts";
import { when } from "../../text.ts";

const same = (a: Tile, b: Tile): boolean => a.rows === b.rows && a.cols === b.cols;

export class BlockPrinter {
  private readonly out: Lines;
  private readonly el: Elements;
  private readonly lazy: ReadonlyMap<string, Stmt>;
  private pending = new Pending();
  private readonly declared = new Set<string>();
  /** Buffers both read and written. */
  private readonly shared: ReadonlySet<string>;

  constructor(out: Lines, el: Elements, lazy: ReadonlyMap<string, Stmt>) {
    [this.out, this.el, this.lazy] = [out, el, lazy];
    const stmts = flatten(el.kernel.body);
    const loaded = new Set(stmts.flatMap((s) => (s.kind === "load" ? [s.from.buffer] : s.kind === "scalar" ? [s.buffer] : [])));
    this.shared = new Set(stmts.flatMap((s) => (s.kind === "store" && loaded.has(s.to.buffer) ? [s.to.buffer] : [])));
  }

  /** Prints a statement list. Single elements are declared by the caller, before the outermost list. */
  body(list: readonly Stmt[]): void {
    for (const s of list) {
      const w = tileWritten(s);
      if (w && this.lazy.get(w.name) === s) continue;
      this.statement(s);
    }
  }

  private name(t: Tile): string {
    return this.el.names.tile(t.name);
  }

  /** Tiles read by a statement over elements of `shape`, through inlined definitions. */
  private reads(s: Stmt, shape: Tile | undefined): Access[] {
    return tilesRead(s).flatMap((t): Access[] => {
      const def = this.lazy.get(t.name);
      if (def) return this.reads(def, shape && same(t, shape) && def.kind !== "dot" ? shape : undefined);
      return isSingle(t) ? [] : [{ tile: t.name, write: false, own: shape !== undefined && same(t, shape) }];
    });
  }

  /** Waits if these accesses meet another thread's. */
  private meet(accesses: Access[]): void {
    if (this.pending.conflicts(accesses)) {
      this.out.add("__syncthreads();");
      this.pending.clear();
    }
    this.pending.note(accesses);
  }

  /** Element (r, c) of a tile. Inlined tiles become constants in front. */
  private at(t: Tile, r: string, c: string, seen: Map<string, string>): string {
    if (isSingle(t)) return this.name(t);
    const def = this.lazy.get(t.name);
    if (!def) {
      if (t.rows === 1) return `${this.name(t)}[${c}]`;
      return t.cols === 1 ? `${this.name(t)}[${r}]` : `${this.name(t)}[${r} * ${rowStride(t)} + ${c}]`;
    }
    const key = `${t.name} ${when(t.rows > 1, r)} ${when(t.cols > 1, c)}`;
    if (!seen.has(key)) {
      const taken = [...seen.keys()].filter((k) => k.startsWith(`${t.name} `)).length;
      const name = `${this.name(t)}${when(taken, `_${taken}`)}`;
      if (def.kind === "dot") this.product(def, name, r, c);
      else {
        const value = this.value(def, r, c, seen);
        this.out.add(`const ${registerType(t)} ${name} = ${value};`);
      }
      seen.set(key, name);
    }
    return seen.get(key)!;
  }

  private product(s: Extract<Stmt, { kind: "dot" }>, name: string, r: string, c: string): void {
    this.out.add(`float ${name} = 0.0f;  // ${printStatement(s)}`);
    this.out.nest(`for (int k_at = 0; k_at < ${s.a.cols}; k_at++)`, () => {
      const seen = new Map<string, string>();
      const a = this.at(s.a, r, "k_at", seen);
      const b = s.form === "nt" ? this.at(s.b, c, "k_at", seen) : this.at(s.b, "k_at", c, seen);
      this.out.add(`${name} = fmaf(${a}, ${b}, ${name});`);
    });
  }

  /** The value an elementwise definition gives at (r, c). */
  private value(s: Stmt, r: string, c: string, seen: Map<string, string>): string {
    const text = (t: Tile): string => this.at(t, r, c, seen);
    switch (s.kind) {
      case "load":
        return this.el.loaded(s.from, s.dst, s.fill, r, c, text);
      case "fill":
        return literal(s.value, s.dst.dtype);
      case "iota": {
        const step = s.along === "rows" ? (s.dst.rows > 1 ? r : "") : s.dst.cols > 1 ? c : "";
        const from = this.el.index(s.from, "+");
        return !step ? from : from === "0" ? step : `${from} + ${step}`;
      }
      case "map":
        return this.el.value(s.expr, s.dst.dtype, text);
      case "accumulate":
        return `__fadd_rn(${text(s.acc)}, ${s.by.reduce((v, t) => `__fmul_rn(${v}, ${text(t)})`, text(s.part))})`;
      default:
        throw new RangeError(s.kind);
    }
  }

  /** A loop over the elements of a shape, each thread its own. */
  private each(t: Tile, f: (r: string, c: string) => void): void {
    const n = t.rows * t.cols;
    this.out.nest(`for (int e = threadIdx.x; e < ${n}; e += THREADS)`, () => {
      if (t.rows > 1 && t.cols > 1) this.out.add(`const int r = e / ${t.cols}, c = e % ${t.cols};`);
      else this.out.add(t.rows > 1 ? "const int r = e;" : "const int c = e;");
      f(t.rows > 1 ? "r" : "0", t.cols > 1 ? "c" : "0");
    });
  }

  private statement(s: Stmt): void {
    const { out, el } = this;
    out.owner = ownerOf(s);
    const text = (t: Tile): string => this.name(t);
    switch (s.kind) {
      case "loop":
        el.note(s.name, s.from, s.to, s.step);
        out.add(`// ${printStatement(s).replace(/:$/, "")}`);
        return this.again(() => {
          const name = el.names.of(s.name);
          out.nest(`for (int ${name} = ${el.index(s.from)}; ${name} < ${el.index(s.to, "+")}; ${name} += ${s.step})`, () =>
            this.body(s.body),
          );
        });
      case "when": {
        const before = this.pending.copy();
        const sign = { lt: "<", le: "<=", eq: "==", ne: "!=" }[s.test];
        out.nest(`if (${el.index(s.a, "+")} ${sign} ${el.index(s.b, "+")})`, () => this.body(s.body));
        this.pending.join(before);
        return;
      }
      case "scalar":
        return out.add(`const int ${el.names.of(s.name)} = ${el.scalar(s, text)};`);
      case "peek":
        this.meet(this.reads(s, undefined));
        return out.add(`const int ${el.names.of(s.name)} = ${isSingle(s.from) ? this.name(s.from) : `${this.name(s.from)}[0]`};`);
      case "reduce":
        return this.reduce(s);
      case "scan":
        this.meet([...this.reads(s, undefined), { tile: s.dst.name, write: true, own: false }]);
        out.add(`// ${printStatement(s)}`);
        return out.nest("if (threadIdx.x == 0)", () =>
          out.add(
            `for (int e = 0, sum = 0; e < ${s.src.rows * s.src.cols}; e++) {` +
              ` const int v = ${this.name(s.src)}[e]; ${this.name(s.dst)}[e] = sum; sum += v; }`,
          ),
        );
      case "store": {
        this.meet(this.reads(s, s.src));
        out.add(`// ${printStatement(s)}`);
        const seen = new Map<string, string>();
        const write = (r: string, c: string): void =>
          out.add(el.stored(s.to, s.src, this.at(s.src, r, c, seen), r, c, (t) => this.at(t, r, c, seen)));
        if (isSingle(s.src)) out.nest("if (threadIdx.x == 0)", () => write("0", "0"));
        else this.each(s.src, write);
        if (this.shared.has(s.to.buffer)) {
          out.add("__syncthreads();");
          this.pending.clear();
        }
        return;
      }
      case "dot":
        this.meet([...this.reads(s, undefined), { tile: s.dst.name, write: true, own: true }]);
        return this.each(s.dst, (r, c) => {
          this.product(s, "sum", r, c);
          out.add(`${this.element(s.dst, r, c)} = sum;`);
        });
      case "load":
      case "fill":
      case "iota":
      case "map":
      case "accumulate": {
        const dst = tileWritten(s)!;
        this.meet([...this.reads(s, dst), ...(isSingle(dst) ? [] : [{ tile: dst.name, write: true, own: true }])]);
        out.add(`// ${printStatement(s)}`);
        if (isSingle(dst)) return out.add(`${this.name(dst)} = ${this.value(s, "0", "0", new Map())};`);
        return this.each(dst, (r, c) => out.add(`${this.element(dst, r, c)} = ${this.value(s, r, c, new Map())};`));
      }
    }
  }

  private element(t: Tile, r: string, c: string): string {
    return isSingle(t)
      ? this.name(t)
      : `${this.name(t)}[${t.rows === 1 ? c : t.cols === 1 ? r : `${r} * ${rowStride(t)} + ${c}`}]`;
  }

  /** A loop's text with barriers that hold on every turn: what the end of the body leaves open meets its beginning. */
  private again(print: () => void): void {
    const before = this.pending.copy();
    for (let more = true; more;) {
      const open = before.copy();
      this.out.dry(() => {
        this.pending = open;
        print();
      });
      more = before.join(this.pending);
    }
    this.pending = before.copy();
    print();
    this.pending.join(before);
  }

  private reduce(s: Extract<Stmt, { kind: "reduce" }>): void {
    const { out } = this;
    const single = isSingle(s.dst);
    const along = s.along === "cols" ? s.src.cols : s.src.rows;
    const byWarp = s.along === "cols" || single;
    this.meet([...this.reads(s, undefined), ...(single ? [] : [{ tile: s.dst.name, write: true, own: !byWarp }])]);
    out.add(`// ${printStatement(s)}`);
    if (isSingle(s.src)) return out.add(`${this.name(s.dst)} = ${s.op === "argmax" ? "0" : this.name(s.src)};`);
    if (!byWarp) {
      const join = joinOf(s);
      const answer = s.op === "argmax" ? "first" : "value";
      return this.each(s.dst, (_, c) => {
        out.add(`${registerType(s.src)} value = ${this.element(s.src, "0", c)};`);
        if (s.op === "argmax") {
          out.add("int first = 0;");
          const own = this.element(s.src, "r", c);
          out.add(`for (int r = 1; r < ${along}; r++) if (${own} > value) { value = ${own}; first = r; }`);
        } else out.add(`for (int r = 1; r < ${along}; r++) value = ${join("value", this.element(s.src, "r", c))};`);
        out.add(`${this.element(s.dst, "0", c)} = ${answer};`);
      });
    }
    const tree = s.op === "sum" && s.src.dtype === "f32" && s.along === "cols" && along <= 128;
    const line = (row: string): void => {
      out.add(`${registerType(s.src)} v[${Math.ceil(along / 32)}];`, "#pragma unroll");
      const own = this.element(
        s.src,
        s.along === "cols" ? row : "min(lane + 32 * q, " + (along - 1) + ")",
        s.along === "cols" ? `min(lane + 32 * q, ${along - 1})` : "0",
      );
      out.add(`for (int q = 0; q < ${Math.ceil(along / 32)}; q++) v[q] = ${own};`);
    };
    const result = `warp_${tree ? "tree_sum" : s.op}<${along}>(v)`;
    if (single) return out.nest("", () => (line("0"), out.add(`${this.name(s.dst)} = ${result};`)));
    out.nest(`for (int r = warp; r < ${s.src.rows}; r += THREADS / 32)`, () => {
      line("r");
      out.add(`const ${registerType(s.dst)} value = ${result};`, `if (lane == 0) ${this.element(s.dst, "r", "0")} = value;`);
    });
  }
}

/** Two rows' elements of a column become one. */
function joinOf({ op, src }: Extract<Stmt, { kind: "reduce" }>): (a: string, b: string) => string {
  if (op === "sum") return (a, b) => (src.dtype === "f32" ? `__fadd_rn(${a}, ${b})` : `${a} + ${b}`);
  const extreme = op === "max" ? "larger" : "smaller";
  return (a, b) => `${extreme}(${a}, ${b})`;
}
