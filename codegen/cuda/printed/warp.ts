// Row kernels: a warp keeps row tiles in registers, so nothing waits at a block barrier. Runs of statements over the same columns
// become one loop; a tile that only lives there is a plain variable. Where warps share a row, partial sums are joined in their order.
import { ownerOf } from "../../../ir/kernel/owner.ts";
import { printStatement } from "../../../ir/kernel/print.ts";
import type { Stmt, Tile } from "../../../ir/kernel/stmt.ts";
import { flatten, tilesRead, tileWritten } from "../../../ir/kernel/walk.ts";
import { cType, registerType, literal, type Elements } from "./element.ts";
import type { Lines } from "./lines.ts";
import { isSingle, lengthOf, tripsOf, type Loop, type WarpPlan } from "./warp-plan.ts";
import { shapeKey, WIDE, wideShapes } from "./vector-plan.ts";
import { when } from "../../text.ts";

type Elementwise = Extract<Stmt, { kind: "load" | "store" | "fill" | "iota" | "map" }>;
const elementwise = (s: Stmt): s is Elementwise =>
  s.kind === "load" || s.kind === "store" || s.kind === "fill" || s.kind === "iota" || s.kind === "map";
const shapeOf = (s: Elementwise): Tile => (s.kind === "store" ? s.src : s.dst);
const registers = (t: Tile): number => Math.ceil(lengthOf(t) / 32);
const all = "#pragma unroll";

export class WarpPrinter {
  private readonly out: Lines;
  private readonly el: Elements;
  private readonly plan: WarpPlan;
  /** Statements that mention a tile, for its lifetime. */
  private readonly mentions = new Map<string, Stmt[]>();
  private readonly declared = new Set<string>();
  /** Buffers both read and written: other lanes must see a store before the next load. */
  private readonly shared: ReadonlySet<string>;
  /** Shapes of which a lane holds four columns side by side; of the others element lane + 32 q is in v[q]. */
  private readonly wide: ReadonlySet<string>;

  constructor(out: Lines, el: Elements, plan: WarpPlan) {
    [this.out, this.el, this.plan] = [out, el, plan];
    this.wide = wideShapes(el.kernel);
    const stmts = flatten(el.kernel.body);
    for (const s of stmts)
      for (const t of new Set([...tilesRead(s), tileWritten(s)].flatMap((t) => t?.name ?? [])))
        this.mentions.set(t, [...(this.mentions.get(t) ?? []), s]);
    const loaded = new Set(stmts.flatMap((s) => (s.kind === "load" ? [s.from.buffer] : s.kind === "scalar" ? [s.buffer] : [])));
    this.shared = new Set(stmts.flatMap((s) => (s.kind === "store" && loaded.has(s.to.buffer) ? [s.to.buffer] : [])));
  }

  /** Prints a statement list; single elements are set before the run of vector statements they stand in. */
  body(list: readonly Stmt[], outermost = false): void {
    this.declareFor(list);
    let run: Elementwise[] = [];
    const flush = (): void => {
      if (run.length) this.run(run);
      run = [];
    };
    for (const s of list) {
      if (elementwise(s) && !isSingle(shapeOf(s))) {
        const [a, b] = [run[0] && shapeOf(run[0]), shapeOf(s)];
        if (a && (a.rows !== b.rows || a.cols !== b.cols)) flush();
        if (s.kind === "load" && run.some((r) => r.kind === "store" && r.to.buffer === s.from.buffer)) flush();
        run.push(s);
      } else {
        const w = tileWritten(s);
        const free =
          elementwise(s) &&
          s.kind !== "store" &&
          !run.some((r) => r.kind === "store" || [...tilesRead(r)].some((t) => t.name === w!.name));
        if (!free) flush();
        this.statement(s, outermost);
      }
    }
    flush();
  }

  private name(t: Tile): string {
    return this.el.names.tile(t.name);
  }

  /** Declares, before a list, the tiles that live in it but are first written inside one of its nested bodies. */
  private declareFor(list: readonly Stmt[]): void {
    const here = new Set(flatten(list));
    for (const s of list) {
      if (!("body" in s)) continue;
      const inner = new Set(flatten([s]));
      for (const x of inner) {
        const t = tileWritten(x);
        if (!t || this.declared.has(t.name)) continue;
        const uses = this.mentions.get(t.name)!;
        if (uses.every((u) => here.has(u)) && !uses.every((u) => inner.has(u)) && !list.includes(uses[0])) this.declare(t);
      }
    }
  }

  private declare(t: Tile): void {
    this.declared.add(t.name);
    this.out.add(`${registerType(t)} ${this.name(t)}${when(!isSingle(t), `[${registers(t)}]`)};`);
  }

  /** The left side of an assignment to a single element: a declaration the first time, const when it is the only time. */
  private target(t: Tile): string {
    if (this.declared.has(t.name)) return this.name(t);
    this.declared.add(t.name);
    const once = this.mentions.get(t.name)!.filter((s) => tileWritten(s)?.name === t.name).length === 1;
    return `${when(once, "const ")}${registerType(t)} ${this.name(t)}`;
  }

  /** One loop over the elements of a lane. */
  private run(run: Elementwise[]): void {
    this.out.owner = ownerOf(...run);
    const t = shapeOf(run[0]);
    const [n, q] = [lengthOf(t), registers(t)];
    const local = new Set<string>();
    for (const s of run) {
      const w = tileWritten(s);
      if (!w || this.declared.has(w.name)) continue;
      if (this.mentions.get(w.name)!.every((u) => run.includes(u as Elementwise))) local.add(w.name);
      else this.declare(w);
    }
    if (this.wide.has(shapeKey(t))) return this.wideRun(run, t, local);
    this.out.add(...run.map((s) => `// ${printStatement(s)}`), all);
    const at = t.cols > 1 ? "c" : "r";
    const lines: string[] = [];
    const seen = new Set<string>();
    const text = (x: Tile): string => (isSingle(x) || local.has(x.name) ? this.name(x) : `${this.name(x)}[q]`);
    for (const s of run) {
      const w = tileWritten(s);
      const value = this.element(s, text);
      if (!w) lines.push(value);
      else if (!local.has(w.name)) lines.push(`${this.name(w)}[q] = ${value};`);
      else {
        const writes = run.filter((r) => tileWritten(r)?.name === w.name).length;
        const declared = `${when(writes === 1, "const ")}${registerType(w)} `;
        lines.push(`${when(!seen.has(w.name), declared)}${this.name(w)} = ${value};`);
        seen.add(w.name);
      }
    }
    this.out.nest(`for (int q = 0; q < ${q}; q++)`, () => {
      if (n % 32 !== 0 || lines.some((l) => new RegExp(`\\b${at}\\b`).test(l))) this.out.add(`const int ${at} = lane + 32 * q;`);
      if (n % 32 !== 0) this.out.add(`if (${at} >= ${n}) break;`);
      this.out.add(...lines);
    });
    if (run.some((s) => s.kind === "store" && this.shared.has(s.to.buffer))) this.out.add("__syncwarp();");
  }

  /** The same, four columns of a lane at a time: whole words in and out, arithmetic column by column between them. */
  private wideRun(run: readonly Elementwise[], t: Tile, local: ReadonlySet<string>): void {
    const { out, el } = this;
    out.add(...run.map((s) => `// ${printStatement(s)}`));
    const steps = t.cols / (32 * WIDE);
    const four = (x: Tile): string => (local.has(x.name) ? this.name(x) : `${this.name(x)} + ${WIDE} * q`);
    const text = (x: Tile): string =>
      isSingle(x) ? this.name(x) : local.has(x.name) ? `${this.name(x)}[e]` : `${this.name(x)}[${WIDE} * q + e]`;
    const head =
      steps === 1 && run.every((s) => [tileWritten(s), ...tilesRead(s)].every((x) => !x || isSingle(x) || local.has(x.name)))
        ? ""
        : `for (int q = 0; q < ${steps}; q++)`;
    if (head) out.add(all);
    out.nest(head, () => {
      if (run.some((s) => s.kind !== "map" && s.kind !== "fill"))
        out.add(`const int c = ${WIDE} * lane${when(head, ` + ${32 * WIDE} * q`)};`);
      for (const type of ["f32", "i32"] as const) {
        const names = [
          ...new Set(
            run
              .flatMap((s) => tileWritten(s) ?? [])
              .filter((x) => local.has(x.name) && x.dtype === type)
              .map((x) => `${this.name(x)}[${WIDE}]`),
          ),
        ];
        if (names.length) out.add(`${cType[type]} ${names.join(", ")};`);
      }
      let sums: string[] = [];
      const flush = (): void => {
        if (sums.length) {
          out.add(all);
          out.nest(`for (int e = 0; e < ${WIDE}; e++)`, () => out.add(...sums));
        }
        sums = [];
      };
      for (const s of run) {
        const place = s.kind === "load" ? s.from : s.kind === "store" ? s.to : undefined;
        if (!place) {
          const w = tileWritten(s)!;
          sums.push(`${text(w)} = ${this.element(s, text, "c + e")};`);
          continue;
        }
        flush();
        const x = s.kind === "load" ? s.dst : (s as Extract<Elementwise, { kind: "store" }>).src;
        const { at, masks } = el.place({ ...place, colLimit: undefined }, x, "0", "c", text);
        const left = el.columnsLeft(place, x);
        const room = left === null ? (masks.length ? String(WIDE) : "") : `${left} - c`;
        // All of a word or nothing: a select, so that the loads of several turns are in flight together.
        const whole = left === null || el.wholeWords(place);
        const many = whole
          ? [...masks, ...(left === null ? [] : [`c < ${left}`])].join(" && ")
          : masks.length
            ? `${masks.join(" && ")} ? ${room} : 0`
            : room;
        const where = `${el.names.of(place.buffer)} + ${at}`;
        const type = el.buffer(place.buffer).dtype;
        if (s.kind === "load")
          out.add(
            many
              ? `load4_${type}(${four(x)}, ${where}, ${many}, ${literal(s.fill, x.dtype)});`
              : `load4_${type}(${four(x)}, ${where});`,
          );
        else if (many && whole) out.add(`if (${many}) store4_${type}(${where}, ${four(x)});`);
        else out.add(many ? `store4_${type}(${where}, ${four(x)}, ${many});` : `store4_${type}(${where}, ${four(x)});`);
      }
      flush();
    });
    if (run.some((s) => s.kind === "store" && this.shared.has(s.to.buffer))) out.add("__syncwarp();");
  }

  /** The value an elementwise statement gives, or the statement that stores. */
  private element(s: Elementwise, text: (t: Tile) => string, column = "c"): string {
    switch (s.kind) {
      case "load":
        return this.el.loaded(s.from, s.dst, s.fill, "r", "c", text);
      case "store":
        return this.el.stored(s.to, s.src, text(s.src), "r", "c", text);
      case "fill":
        return literal(s.value, s.dst.dtype);
      case "iota": {
        const moves = s.along === "rows" ? s.dst.rows > 1 : s.dst.cols > 1;
        const from = this.el.index(s.from, "+");
        return !moves
          ? from
          : from === "0"
            ? s.along === "rows"
              ? "r"
              : column
            : `${from} + ${s.along === "rows" ? "r" : column}`;
      }
      case "map":
        return this.el.value(s.expr, s.dst.dtype, text);
    }
  }

  private statement(s: Stmt, outermost: boolean): void {
    const { out, el } = this;
    out.owner = ownerOf(s);
    const single = (t: Tile): string => (isSingle(t) ? this.name(t) : `__shfl_sync(0xffffffffu, ${this.name(t)}[0], 0)`);
    switch (s.kind) {
      case "loop":
        return this.loop(s, outermost);
      case "when": {
        const sign = { lt: "<", le: "<=", eq: "==", ne: "!=" }[s.test];
        return out.nest(`if (${el.index(s.a, "+")} ${sign} ${el.index(s.b, "+")})`, () => this.body(s.body));
      }
      case "scalar":
        return out.add(`const int ${el.names.of(s.name)} = ${el.scalar(s, this.name.bind(this))};`);
      case "peek":
        return out.add(`const int ${el.names.of(s.name)} = ${single(s.from)};`);
      case "store": {
        const once = this.plan.warps > 1 && outermost ? "threadIdx.x == 0" : "lane == 0";
        out.add(`// ${printStatement(s)}`);
        out.add(`if (${once}) { ${this.element(s, (t) => this.name(t))} }`);
        if (this.shared.has(s.to.buffer)) out.add("__syncwarp();");
        return;
      }
      case "load":
      case "fill":
      case "iota":
      case "map":
        return out.add(`${this.target(s.dst)} = ${this.element(s, (t) => this.name(t))};`);
      case "reduce":
        return this.reduce(s);
      case "scan":
        if (isSingle(s.src)) return out.add(`${this.target(s.dst)} = 0;`);
        this.declare(s.dst);
        return out.add(`// ${printStatement(s)}`, `warp_scan<${lengthOf(s.src)}>(${this.name(s.src)}, ${this.name(s.dst)});`);
    }
  }

  private reduce(s: Extract<Stmt, { kind: "reduce" }>): void {
    const along = s.along === "cols" ? s.src.cols : s.src.rows;
    if (along === 1 && !isSingle(s.src))
      return this.run([{ kind: "map", dst: s.dst, expr: s.op === "argmax" ? { c: 0 } : { t: s.src } }]);
    if (along === 1) return this.out.add(`${this.target(s.dst)} = ${s.op === "argmax" ? "0" : this.name(s.src)};`);
    const tree = s.op === "sum" && s.src.dtype === "f32" && s.along === "cols" && along <= 128;
    // Extremes and untree'd sums do not care which lane has which column.
    const wide = this.wide.has(shapeKey(s.src)) && (tree || s.op === "argmax") ? "_wide" : "";
    this.out.add(`${this.target(s.dst)} = warp_${tree ? "tree_sum" : s.op}${wide}<${along}>(${this.name(s.src)});`);
  }

  private loop(s: Loop, outermost: boolean): void {
    const { out, el } = this;
    const name = el.names.of(s.name);
    const [from, to] = [el.index(s.from), el.index(s.to, "+")];
    el.note(s.name, s.from, s.to, s.step);
    const share = outermost ? this.plan.shares.get(s) : undefined;
    const title = `// ${printStatement(s).replace(/:$/, "")}`;
    const plain = `for (int ${name} = ${from}; ${name} < ${to}; ${name} += ${s.step})`;
    if (!share) {
      out.add(title);
      // A few turns of loads and arithmetic are unrolled: the loads of all of them are then in flight together.
      if ((tripsOf(s) ?? 99) <= 8 && flatten(s.body).every((b) => b.kind === "scalar" || (elementwise(b) && b.kind !== "store")))
        out.add(all);
      return out.nest(plain, () => this.body(s.body));
    }
    // Known turns: a loop the compiler can unroll, so that the loads of several turns are in flight together.
    const steps = tripsOf(s);
    const turns = steps === undefined ? undefined : Math.ceil(steps / this.plan.warps);
    const start = (turn: string): string => {
      const factor = turn.includes(" ") ? `(${turn})` : turn;
      const steps = s.step === 1 ? turn : `${s.step} * ${factor}`;
      return `${when(from !== "0", `${from} + `)}${steps}`;
    };
    const spread = (body: () => void): void => {
      if (turns === undefined)
        return out.nest(`for (int ${name} = ${start("warp")}; ${name} < ${to}; ${name} += ${s.step} * WARPS)`, body);
      if (turns > 1) out.add(`#pragma unroll${when(turns > 8, " 4")}`);
      out.nest(`for (int turn = 0; turn < ${turns}; turn++)`, () => {
        out.add(`const int ${name} = ${start("warp + WARPS * turn")};`);
        if (steps! % this.plan.warps !== 0) out.add(`if (${name} >= ${to}) break;`);
        body();
      });
    };
    if (share.kind === "apart") {
      out.add(`${title}; iterations go round the warps`);
      return spread(() => this.body(s.body));
    }
    const parts = `${this.name(share.acc)}_parts`;
    const slot =
      s.step === 1
        ? from === "0"
          ? name
          : `${name} - ${from}`
        : from === "0"
          ? `${name} / ${s.step}`
          : `(${name} - ${from}) / ${s.step}`;
    out.add(
      `${title}; iterations go round the warps, their results join in order: the bits do not depend on the number of warps`,
    );
    out.add(`__shared__ ${registerType(share.part)} ${parts}[${share.steps}];`);
    spread(() => {
      this.body(s.body.slice(0, -1));
      out.add(`if (lane == 0) ${parts}[${slot}] = ${this.name(share.part)};`);
    });
    const joined = el.value(share.join.expr, share.acc.dtype, (t) =>
      t.name === share.part.name ? `${parts}[step]` : this.name(t),
    );
    out.add(
      "__syncthreads();",
      `#pragma unroll 8`,
      `for (int step = 0; step < ${share.steps}; step++) ${this.name(share.acc)} = ${joined};`,
    );
  }
}
