// A tile program as a Triton kernel. One program a grid cell: tl.program_id(0) counts cells, last axis fastest. Arithmetic has the
// bits of every other target when compiled with the options given here (no fused multiply-add); tl.exp and tl.log are Triton's own,
// within a few ulp; maxima over a tile leave NaN out. A product with an extent of 1 is multiplied and added up. What Triton cannot say
// is refused by the statement's name.
import type { Param, Segment } from "../../ir/kernel/catalogue.ts";
import { ownerOf, type Owner } from "../../ir/kernel/owner.ts";
import { printParameter, printStatement } from "../../ir/kernel/print.ts";
import type { Kernel, Stmt, Tile } from "../../ir/kernel/stmt.ts";
import { flatten, tilesIn, tilesRead, tileWritten } from "../../ir/kernel/walk.ts";
import type { Size } from "../../ir/size.ts";
import { cellsOf } from "../cpu/indices.ts";
import { cannotSay, noGrid } from "./diagnostics.ts";
import { Sections } from "../sections.ts";
import { when } from "../text.ts";
import { Elements, isSingle, literal, pointerTypes, tlType } from "./print-element.ts";
import { helpersFor, treeSum } from "./print-helpers.ts";

/** A Triton kernel and what compiling and launching it takes. */
export interface TritonText {
  name: string;
  language: "triton";
  /** A Python module that defines the kernel; it imports triton only. */
  source: string;
  /** What its lines are. */
  segments: readonly Segment[];
  params: Param[];
  /** Run-time dims, i32, after the params. */
  dims: string[];
  /** Programs, on one axis. */
  grid: Size;
  /** Types for triton.compiler.ASTSource, in order of the arguments. */
  signature: Readonly<Record<string, string>>;
  /** Compile (or launch) options: without the first, products and sums fuse and results lose their bits. */
  options: { enable_fp_fusion: false; num_warps: number };
}

type Grid = Extract<Stmt, { kind: "grid" }>;
type Reduce = Extract<Stmt, { kind: "reduce" }>;
type Dot = Extract<Stmt, { kind: "dot" }>;
type Load = Extract<Stmt, { kind: "load" }>;

/** A tile program as a Triton kernel. */
export function printTriton(kernel: Kernel): TritonText {
  const grid = kernel.body[0];
  if (grid?.kind !== "grid") throw noGrid({ kernel: kernel.name });
  const el = new Elements(kernel);
  const printer = new Printer(el);
  printer.axes(grid);
  printer.body(kernel.body.slice(1));
  const ranges = [...el.ranges].map(([name, text]) => `    ${name} = ${text}`);
  const lines = [...printer.lines.slice(0, 1), ...ranges, ...printer.lines.slice(1)];
  const owners = [undefined, ...ranges.map(() => undefined), ...printer.owners.slice(1)];
  const body = lines.join("\n");
  const args = [...kernel.params.map((p) => el.of(p.name)), ...kernel.dims.map((d) => el.of(d))];
  const fixed = kernel.dims.length
    ? `@triton.jit(do_not_specialize=[${kernel.dims.map((d) => `"${el.of(d)}"`).join(", ")}])`
    : "@triton.jit";
  const text = new Sections()
    .add("header", `# ${kernel.summary}`, "summary")
    .add(
      "header",
      kernel.params.map((p) => `#   ${printParameter(p)}`),
      "parameters",
    )
    .add("header", `# Origin: tile program ${kernel.name}. Compile with enable_fp_fusion=False.`, "form")
    .add("entry", ["import triton", "import triton.language as tl", "", ""]);
  for (const h of helpersFor(body, printer.trees)) text.add("helper", [...h.split("\n"), "", ""], /^def (\w+)/m.exec(h)![1]);
  text.add("entry", [fixed, `def ${kernel.name}(${args.join(", ")}):`]);
  for (const [i, line] of lines.entries()) {
    const owner = owners[i];
    text.add(owner === undefined ? "entry" : "statement", [line], owner?.name, owner?.ops);
  }
  const all = flatten(kernel.body);
  const largest = Math.max(...tilesIn(kernel).map((t) => t.rows * t.cols));
  return {
    name: kernel.name,
    language: "triton",
    source: text.toString(),
    segments: text.segments,
    params: kernel.params.map((p) => ({ kind: "buffer", name: p.name, dtype: p.dtype, access: p.access })),
    dims: [...kernel.dims],
    grid: cellsOf(grid.axes),
    signature: Object.fromEntries([
      ...kernel.params.map((p) => [el.of(p.name), pointerTypes[p.dtype]]),
      ...kernel.dims.map((d) => [el.of(d), "i32"]),
    ]),
    options: { enable_fp_fusion: false, num_warps: all.some((s) => s.kind === "dot") ? 8 : largest <= 512 ? 1 : 4 },
  };
}

/** A product that tl.dot does not take, for one of its extents is 1. */
const isRow = (s: Dot): boolean => s.a.rows === 1 || s.a.cols === 1 || s.dst.cols === 1;

/** Operands of products that both come, whole, from memory of one narrow dtype. */
function narrowOperands(el: Elements): ReadonlyMap<string, boolean> {
  const stmts = flatten(el.kernel.body);
  const dtype = (t: Tile): string | undefined => {
    const writers = stmts.filter((s) => tileWritten(s)?.name === t.name);
    const [load] = writers;
    if (writers.length !== 1 || load.kind !== "load" || load.fill !== 0) return undefined;
    const stored = el.buffer(load.from.buffer).dtype;
    return stored === "bf16" || stored === "e4m3" ? stored : undefined;
  };
  const products = stmts
    .filter((s) => s.kind === "dot")
    .filter((s) => !isRow(s) && dtype(s.a) !== undefined && dtype(s.a) === dtype(s.b));
  const names = new Set(products.flatMap((s) => [s.a.name, s.b.name]));
  return new Map(
    [...names].map((n) => [
      n,
      stmts.some((s) => !products.includes(s as (typeof products)[number]) && tilesRead(s).some((t) => t.name === n)),
    ]),
  );
}

class Printer {
  readonly lines: string[] = ["    wide = tl.full((), 1, tl.int64)  # offsets are 64 bits wide"];
  /** The statement that each line is of. */
  readonly owners: (Owner | undefined)[] = [undefined];
  private owner: Owner | undefined;
  readonly trees = new Map<string, string>();
  private readonly el: Elements;
  private depth = 1;
  /** Buffers both read and written. */
  private readonly shared: ReadonlySet<string>;
  /** Tiles whose loads keep the stored dtype for a product, and whether something else wants them widened too. */
  private readonly narrow: ReadonlyMap<string, boolean>;

  constructor(el: Elements) {
    this.el = el;
    this.narrow = narrowOperands(el);
    const stmts = flatten(el.kernel.body);
    const loaded = new Set(stmts.flatMap((s) => (s.kind === "load" ? [s.from.buffer] : s.kind === "scalar" ? [s.buffer] : [])));
    this.shared = new Set(stmts.flatMap((s) => (s.kind === "store" && loaded.has(s.to.buffer) ? [s.to.buffer] : [])));
  }

  private add(...lines: string[]): void {
    for (const l of lines) {
      this.lines.push("    ".repeat(this.depth) + l);
      this.owners.push(this.owner);
    }
  }

  axes(grid: Grid): void {
    const { el } = this;
    this.owner = ownerOf(grid);
    const count = (a: Grid["axes"][number]): string =>
      a.tile === 1
        ? el.index(a.extent, "*")
        : typeof a.extent === "number"
          ? String(Math.ceil(a.extent / a.tile))
          : `((${el.index(a.extent)} + ${a.tile - 1}) // ${a.tile})`;
    if (grid.axes.length > 1) this.add("cell = tl.program_id(0)");
    grid.axes.forEach((a, i) => {
      const below = grid.axes
        .slice(i + 1)
        .map(count)
        .filter((n) => n !== "1");
      let own = grid.axes.length > 1 ? "cell" : "tl.program_id(0)";
      const product = below.length > 1 ? `(${below.join(" * ")})` : below[0];
      if (below.length) own += ` // ${product}`;
      if (i > 0) own = count(a) === "1" ? "0" : `${own} % ${count(a)}`;
      const first = own.includes(" ") ? `(${own})` : own;
      const value = a.tile === 1 ? own : `${first} * ${a.tile}`;
      this.add(`${el.of(a.name)} = ${value}  # grid ${a.name} < ${el.index(a.extent)}${when(a.tile !== 1, ` by ${a.tile}`)}`);
      el.note(a.name, 0, a.extent, a.tile);
    });
  }

  body(list: readonly Stmt[]): void {
    for (const s of list) this.statement(s);
  }

  private nest(head: string, body: readonly Stmt[]): void {
    this.add(head);
    this.depth++;
    this.body(body);
    if (!body.length) this.add("pass");
    this.depth--;
  }

  /** dst = value, spread over the tile where the value is smaller than it: state carried by loops keeps one type. */
  private assign(dst: Tile, value: string, extents: readonly [number, number]): void {
    const full = extents[0] === dst.rows && extents[1] === dst.cols;
    const type = tlType(dst);
    const zeros = isSingle(dst) ? `tl.full((), 0, ${type})` : `tl.zeros(${this.el.shape(dst)}, ${type})`;
    this.add(`${this.el.tile(dst)} = ${full ? value : `${zeros} + ${value}`}`);
  }

  private statement(s: Stmt): void {
    const { el } = this;
    const { name } = el.kernel;
    const dst = tileWritten(s);
    this.owner = ownerOf(s);
    switch (s.kind) {
      case "grid":
        throw noGrid({ kernel: name });
      case "loop":
        el.note(s.name, s.from, s.to, s.step);
        return this.nest(`for ${el.of(s.name)} in range(${el.index(s.from)}, ${el.index(s.to)}, ${s.step}):`, s.body);
      case "when":
        return this.nest(
          `if ${el.index(s.a, "+")} ${{ lt: "<", le: "<=", eq: "==", ne: "!=" }[s.test]} ${el.index(s.b, "+")}:`,
          s.body,
        );
      case "scalar":
        return this.add(
          `${el.of(s.name)} = tl.load(${el.place({ buffer: s.buffer, at: s.at }, { name: "", rows: 1, cols: 1, dtype: "i32" }).pointers})`,
        );
      case "peek": {
        if (isSingle(s.from)) return this.add(`${el.of(s.name)} = ${el.tile(s.from)}`);
        const first = [
          ...(s.from.rows > 1 ? [`(${el.r(s.from)} == 0)`] : []),
          ...(s.from.cols > 1 ? [`(${el.c(s.from)} == 0)`] : []),
        ].join(" & ");
        return this.add(`${el.of(s.name)} = tl.sum(tl.where(${first}, ${el.tile(s.from)}, 0))`);
      }
      case "load":
        return this.load(s);
      case "store":
        this.add(el.stored(s.to, s.src));
        if (this.shared.has(s.to.buffer)) this.add("tl.debug_barrier()  # read again below");
        return;
      case "fill":
        return this.add(
          `${el.tile(s.dst)} = tl.full(${isSingle(s.dst) ? "()" : el.shape(s.dst)}, ${literal(s.value, s.dst.dtype)}, ${tlType(s.dst)})`,
        );
      case "iota": {
        const along = s.along === "rows" ? el.r(s.dst) : el.c(s.dst);
        const value = along === "0" ? el.index(s.from) : s.from === 0 ? along : `${el.index(s.from, "+")} + ${along}`;
        return this.assign(s.dst, value, along === "0" ? [0, 0] : s.along === "rows" ? [s.dst.rows, 1] : [1, s.dst.cols]);
      }
      case "map":
        return this.assign(s.dst, el.value(s.expr, s.dst.dtype), "t" in s.expr || "op" in s.expr ? el.extents(s.expr) : [0, 0]);
      case "accumulate":
        return this.add(`${el.tile(s.acc)} = ${el.tile(s.acc)} + ${[s.part, ...s.by].map((t) => el.tile(t)).join(" * ")}`);
      case "reduce":
        return this.add(`${el.tile(dst!)} = ${this.reduced(s)}`);
      case "dot":
        return this.dot(s);
      case "scan": {
        if (isSingle(s.src)) return this.add(`${el.tile(s.dst)} = tl.full((), 0, tl.int32)`);
        return this.add(
          `${el.tile(s.dst)} = tl.cumsum(${el.tile(s.src)}, axis=${s.src.rows > 1 || el.flat ? 0 : 1}) - ${el.tile(s.src)}`,
        );
      }
    }
  }

  private load(s: Load): void {
    const { el } = this;
    // A gather by one index, or a load that nothing moves along, gives fewer elements than the tile.
    const moves = (axis: number | undefined, extent: number): boolean => extent === 1 || axis !== undefined;
    if (!moves(s.from.rows, s.dst.rows) || !moves(s.from.cols, s.dst.cols)) {
      const why = `${printStatement(s)}: an extent above 1 lies along no axis of the buffer`;
      throw cannotSay({ kernel: el.kernel.name, kind: "load", why });
    }
    if (!this.narrow.has(s.dst.name)) return this.add(`${el.tile(s.dst)} = ${el.loaded(s.from, s.dst, s.fill)}`);
    this.add(`${el.asStored(s.dst)} = ${el.raw(s.from, s.dst)}`);
    if (this.narrow.get(s.dst.name)) this.add(`${el.tile(s.dst)} = ${el.asStored(s.dst)}.to(tl.float32)`);
  }

  private dot(s: Dot): void {
    const { el } = this;
    // tl.dot takes matrices; a row, or a column, is multiplied and added up.
    if (isRow(s)) return this.add(`${el.tile(s.dst)} = ${this.rowDot(s)}`);
    // Stored operands meet on the tensor cores as they are: products are exact, sums f32. Their loads left zeros in the padding.
    if (this.narrow.has(s.a.name) && this.narrow.has(s.b.name))
      return this.add(
        `${el.tile(s.dst)} = tl.dot(${el.asStored(s.a)}, ${s.form === "nt" ? `tl.trans(${el.asStored(s.b)})` : el.asStored(s.b)})`,
      );
    const b = this.cleared(s.b);
    this.add(
      `${el.tile(s.dst)} = tl.dot(${this.cleared(s.a)}, ${s.form === "nt" ? `tl.trans(${b})` : b}, input_precision="ieee")`,
    );
  }

  /** A tile with zeros where it is wider than its elements. */
  private cleared(t: Tile): string {
    const mask = this.el.padding(t).join(" & ");
    return mask ? `tl.where(${mask}, ${this.el.tile(t)}, 0.0)` : this.el.tile(t);
  }

  /** A product with an extent of 1: rows [1, k] lie along the other side's k, and what is multiplied is added up along it. */
  private rowDot(s: Dot): string {
    const { a, b, dst, form } = s;
    const [u, v] = [this.cleared(a), this.cleared(b)];
    const turned = (t: Tile, value: string): string => (isSingle(t) ? value : `tl.trans(${value})`);
    const back = dst.cols === 1 ? "[:, None]" : "[None, :]";
    const added = (value: string, axis: number): string =>
      isSingle(dst) ? `tl.sum(tl.reshape(${value}, (${this.el.cols(a)},)), axis=0)` : `tl.sum(${value}, axis=${axis})${back}`;
    // The outer product of a column and a row.
    if (a.cols === 1) return `${u} * ${form === "nt" ? turned(b, v) : v}`;
    if (this.el.flat) return `tl.sum(${u} * ${v}, axis=0)`;
    if (form === "nt") return added(`${u} * ${v}`, 1);
    return dst.cols === 1 ? added(`${u} * ${turned(b, v)}`, 1) : added(`${turned(a, u)} * ${v}`, 0);
  }

  private reduced(s: Reduce): string {
    const { el } = this;
    const { src, op } = s;
    const along = s.along === "cols" ? src.cols : src.rows;
    if (along === 1)
      return op === "argmax"
        ? isSingle(s.dst)
          ? "tl.full((), 0, tl.int32)"
          : `tl.zeros(${el.shape(s.dst)}, tl.int32)`
        : el.tile(src);
    const float = src.dtype === "f32";
    const neutral =
      op === "sum"
        ? literal(0, src.dtype)
        : float
          ? literal(op === "min" ? Infinity : -Infinity, "f32")
          : op === "min"
            ? "2147483647"
            : "-2147483648";
    const mask = el.padding(src).join(" & ");
    const value = mask ? `tl.where(${mask}, ${el.tile(src)}, ${neutral})` : el.tile(src);
    if (op === "sum" && float && s.along === "cols" && along <= 128) {
      const { name, text } = treeSum(el, src);
      this.trees.set(name, text);
      if (el.flat) return `${name}(${value})`;
      return src.rows === 1 ? `${name}(tl.reshape(${value}, (${el.cols(src)},)))` : `${name}(${value})[:, None]`;
    }
    const call = (v: string, axis: number): string =>
      `tl.${op}(${v}, axis=${axis}${when(op === "argmax", ", tie_break_left=True")})`;
    if (el.flat) return call(value, 0);
    if (isSingle(s.dst)) return call(`tl.reshape(${value}, (${el.rows(src) * el.cols(src)},))`, 0);
    return s.along === "cols" ? `${call(value, 1)}[:, None]` : `${call(value, 0)}[None, :]`;
  }
}
