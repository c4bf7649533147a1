// What a tile program guarantees before any target sees it:
//   the grid is its first statement, and its only one; every name has a value where it is used
//   a place has as many indices as its buffer has axes, and its tile lies along them; what is `in` is not written, what is `out` is
//   tiles have the dtypes and extents that their statement needs
import { DiagnosticError, didYouMean, lineSpan, type Diagnostic, type Span } from "../diagnostic.ts";
import { brokenKernel, noGrid, noSuchBuffer, unbound, unwritten } from "./diagnostics.ts";
import { printKernel } from "./print.ts";
import type { BufferParam, Index, Kernel, Place, Stmt, Tile } from "./stmt.ts";
import { flatten, indicesRead, namesIn, tileWritten, tilesIn, tilesOf, tilesRead } from "./walk.ts";

/** The place of a word of a statement; of the statement, where no word is given; of the kernel's head, where neither is. */
export type SpanOf = (s: Stmt | undefined, word?: string) => Span;

/**
 * Throws a DiagnosticError listing what is broken, up to ten findings. Without `spanOf`, places are lines of the kernel's
 * printed text.
 */
export function verifyKernel(kernel: Kernel, spanOf: SpanOf = printedSpans(kernel)): void {
  const found = new Verifier(kernel, spanOf).findings();
  if (found.length) throw new DiagnosticError(found.slice(0, 10));
}

/** Places in the text that printKernel makes: a line for the summary, one for the head, one a parameter, one for the dims. */
function printedSpans(kernel: Kernel): SpanOf {
  const head = 1;
  const places = new Map(flatten(kernel.body).map((s, i) => [s, kernel.params.length + 3 + i]));
  let lines: string[] | undefined;
  return (s, word) => {
    lines ??= printKernel(kernel).split("\n");
    const line = (s && places.get(s)) ?? head;
    return lineSpan(`kernel ${kernel.name}`, line + 1, lines[line] ?? "", word);
  };
}

/** Names that have a value at a statement. */
interface Known {
  integers: Set<string>;
  tiles: Set<string>;
}

class Verifier {
  readonly #kernel: Kernel;
  readonly #spanOf: SpanOf;
  readonly #params: ReadonlyMap<string, BufferParam>;
  readonly #found: Diagnostic[] = [];

  constructor(kernel: Kernel, spanOf: SpanOf) {
    [this.#kernel, this.#spanOf] = [kernel, spanOf];
    this.#params = new Map(kernel.params.map((p) => [p.name, p]));
  }

  findings(): Diagnostic[] {
    const { name, params, dims, body } = this.#kernel;
    const twice = [...params.map((p) => p.name), ...dims].find((n, i, all) => all.indexOf(n) !== i);
    if (twice !== undefined) this.#say(undefined, `${twice} is declared twice`, "parameters and dims have names of their own");
    for (const p of params)
      if (p.shape.length !== p.strides.length)
        this.#say(
          undefined,
          `${p.name} has ${p.shape.length} axes and ${p.strides.length} strides`,
          "give one stride an axis",
          p.name,
        );
    if (body[0]?.kind !== "grid") this.#found.push(...noGrid({ kernel: name }, this.#spanOf(body[0])).diagnostics);
    for (const s of flatten(body).slice(body[0]?.kind === "grid" ? 1 : 0))
      if (s.kind === "grid") this.#say(s, "there is a second grid", "the grid is the first statement, and its only one");
    this.#block(body, { integers: new Set(dims), tiles: new Set() });
    this.#extents();
    const written = new Set(flatten(body).flatMap((s) => (s.kind === "store" ? [s.to.buffer] : [])));
    for (const p of params)
      if (p.access === "out" && !written.has(p.name))
        this.#say(undefined, `nothing is stored in out ${p.name}`, "store a tile in it, or declare it without out");
    return this.#found;
  }

  #say(s: Stmt | undefined, problem: string, help: string, word?: string): void {
    this.#found.push(brokenKernel({ kernel: this.#kernel.name, problem, help }, this.#spanOf(s, word)));
  }

  #block(list: readonly Stmt[], known: Known): void {
    for (const s of list) {
      this.#names(s, known);
      this.#statement(s);
      const written = tileWritten(s);
      if (written) known.tiles.add(written.name);
      if (s.kind === "scalar" || s.kind === "peek") known.integers.add(s.name);
      if (s.kind === "grid") for (const a of s.axes) known.integers.add(a.name);
      if (s.kind === "loop" && known.integers.has(s.name))
        this.#say(s, `the loop's ${s.name} has a value already`, "give the loop another name", s.name);
      if ("body" in s)
        this.#block(s.body, {
          integers: new Set(s.kind === "loop" ? [...known.integers, s.name] : known.integers),
          tiles: new Set(known.tiles),
        });
    }
  }

  /** Names without a value. */
  #names(s: Stmt, known: Known): void {
    for (const i of indicesRead(s))
      for (const n of namesIn(i))
        if (!known.integers.has(n))
          this.#found.push(
            ...unbound({ kernel: this.#kernel.name, name: n, known: [...known.integers] }, this.#spanOf(s, n)).diagnostics,
          );
    for (const t of tilesRead(s))
      if (!known.tiles.has(t.name))
        this.#found.push(
          ...unwritten(
            { kernel: this.#kernel.name, tile: t.name, near: didYouMean(t.name, known.tiles) },
            this.#spanOf(s, t.name),
          ).diagnostics,
        );
  }

  /** A name is one tile: one pair of extents, one dtype. */
  #extents(): void {
    const first = new Map<string, Tile>(tilesIn(this.#kernel).map((t) => [t.name, t]));
    for (const s of flatten(this.#kernel.body))
      for (const t of [...tilesRead(s), tileWritten(s)]) {
        const f = t && first.get(t.name);
        if (t && f && printed(t) !== printed(f))
          this.#say(
            s,
            `${t.name} is ${printed(t)} here and ${printed(f)} elsewhere`,
            "a tile keeps its extents and its dtype",
            t.name,
          );
      }
  }

  #statement(s: Stmt): void {
    switch (s.kind) {
      case "grid":
        for (const a of s.axes) this.#whole(s, a.tile, a.name);
        return;
      case "loop":
        return this.#whole(s, s.step, s.name);
      case "scalar":
        return this.#scalar(s);
      case "peek":
        return this.#dtype(s, s.from, "i32", "an index is made of");
      case "load":
        return this.#place(s, s.from, s.dst);
      case "store":
        return this.#place(s, s.to, s.src);
      case "iota":
        return this.#dtype(s, s.dst, "i32", "iota makes");
      case "map":
        for (const t of tilesOf(s.expr)) this.#broadcast(s, t, s.dst);
        return;
      case "reduce":
        return this.#same(
          s,
          s.dst,
          s.along === "cols" ? [s.src.rows, 1] : [1, s.src.cols],
          `what is left of ${printed(s.src)} along ${s.along}`,
        );
      case "dot":
        return this.#dot(s);
      case "accumulate":
        for (const t of [s.acc, s.part, ...s.by]) this.#dtype(s, t, "f32", "an accumulation adds");
        this.#same(s, s.part, [s.acc.rows, s.acc.cols], `what is added to ${printed(s.acc)}`);
        for (const t of s.by) this.#broadcast(s, t, s.part);
        return;
      case "scan":
        if (s.src.rows > 1 && s.src.cols > 1)
          this.#say(
            s,
            `${s.src.name} is ${printed(s.src)}; a running sum is of one row or one column`,
            "sum a row [1, n] or a column [n, 1]",
            s.src.name,
          );
        this.#dtype(s, s.src, "i32", "a running sum is of");
        return this.#same(s, s.dst, [s.src.rows, s.src.cols], `the running sum of ${printed(s.src)}`);
    }
  }

  #whole(s: Stmt, step: number, name: string): void {
    if (!Number.isSafeInteger(step) || step < 1)
      this.#say(s, `${name} advances by ${step}`, "a step is a whole number of at least 1", name);
  }

  #dtype(s: Stmt, t: Tile, want: Tile["dtype"], what: string): void {
    if (t.dtype !== want)
      this.#say(
        s,
        `${what} ${want}, and ${t.name} is ${t.dtype}`,
        want === "f32" ? "float(x) makes f32 of i32" : "int(x) makes i32 of f32",
        t.name,
      );
  }

  #same(s: Stmt, t: Tile, [rows, cols]: readonly [number, number], what: string): void {
    if (t.rows !== rows || t.cols !== cols)
      this.#say(
        s,
        `${what} is [${rows}, ${cols}], and ${t.name} is [${t.rows}, ${t.cols}]`,
        `${t.name} has to be [${rows}, ${cols}]`,
        t.name,
      );
  }

  #broadcast(s: Stmt, t: Tile, to: Tile): void {
    const fits = (a: number, b: number): boolean => a === 1 || a === b;
    if (!fits(t.rows, to.rows) || !fits(t.cols, to.cols))
      this.#say(
        s,
        `${t.name} is [${t.rows}, ${t.cols}] and does not spread over [${to.rows}, ${to.cols}]`,
        "extents are alike, or 1",
        t.name,
      );
  }

  #buffer(s: Stmt, name: string): BufferParam | undefined {
    const p = this.#params.get(name);
    if (!p)
      this.#found.push(noSuchBuffer({ kernel: this.#kernel.name, name, known: [...this.#params.keys()] }, this.#spanOf(s, name)));
    return p;
  }

  #rank(s: Stmt, p: BufferParam, at: readonly Index[]): boolean {
    if (at.length !== p.shape.length)
      this.#say(
        s,
        `${p.name} has ${p.shape.length} axes, and ${at.length} are given`,
        `give ${p.shape.length === 1 ? "one index" : `${p.shape.length} indices, one an axis`}`,
        p.name,
      );
    return at.length === p.shape.length;
  }

  #scalar(s: Stmt & { kind: "scalar" }): void {
    const p = this.#buffer(s, s.buffer);
    if (!p || !this.#rank(s, p, s.at)) return;
    if (p.dtype !== "i32") this.#say(s, `an index is read from i32, and ${p.name} is ${p.dtype}`, "load a tile from it", p.name);
    if (p.access === "out")
      this.#say(s, `${p.name} is out, and is read`, "declare it inout where it holds something before", p.name);
  }

  #place(s: Stmt & { kind: "load" | "store" }, where: Place, t: Tile): void {
    const p = this.#buffer(s, where.buffer);
    if (!p || !this.#rank(s, p, where.at)) return;
    for (const [axis, extent, name] of [
      [where.rows, t.rows, "rows"],
      [where.cols, t.cols, "columns"],
    ] as const) {
      if (axis === undefined ? extent > 1 : axis >= p.shape.length)
        this.#say(
          s,
          `the ${extent} ${name} of ${t.name} lie along no axis of ${p.name}`,
          `${p.name} has ${p.shape.length} axes`,
          p.name,
        );
    }
    if (where.rows !== undefined && where.rows === where.cols)
      this.#say(s, `rows and columns of ${t.name} lie along one axis of ${p.name}`, "they need an axis each", p.name);
    const { rowIndex } = where;
    if (rowIndex) {
      this.#dtype(s, rowIndex, "i32", "row numbers are");
      this.#same(s, rowIndex, [t.rows, 1], `a column of the ${t.rows} row numbers`);
    }
    const want = p.dtype === "i32" ? "i32" : "f32";
    if (t.dtype !== want)
      this.#say(
        s,
        `${p.name} is ${p.dtype}, and ${t.name} is ${t.dtype}`,
        want === "f32" ? "float(x) makes f32 of i32" : "int(x) makes i32 of f32",
        t.name,
      );
    if (s.kind === "store" && p.access === "in")
      this.#say(s, `${p.name} is only read, and is stored in`, `declare it out ${p.name}`, p.name);
    if (s.kind === "load" && p.access === "out")
      this.#say(s, `${p.name} is out, and is read`, "declare it inout where it holds something before", p.name);
  }

  #dot(s: Stmt & { kind: "dot" }): void {
    for (const t of [s.a, s.b]) this.#dtype(s, t, "f32", "a dot is of");
    const [n, k] = s.form === "nt" ? [s.b.rows, s.b.cols] : [s.b.cols, s.b.rows];
    if (s.a.cols !== k)
      this.#say(
        s,
        `${s.a.name} has ${s.a.cols} columns, ${s.b.name} contracts ${k}`,
        "a [m, k] meets b [n, k]^T or b [k, n]",
        s.b.name,
      );
    this.#same(s, s.dst, [s.a.rows, n], "their dot");
  }
}

const printed = (t: Tile): string => `[${t.rows}, ${t.cols}] ${t.dtype}`;
