// Facts of a tile program that every reader of it needs: the statements within a statement, what one reads and writes, and the
// type an expression has. Nothing here knows a target.
import type { BufferParam, Index, Kernel, MapExpr, Place, Stmt, Tile } from "./stmt.ts";

export type Scalar = "f32" | "i32";

const bodyOf = (s: Stmt): readonly Stmt[] => ("body" in s ? s.body : []);

/** Statements in order, nested ones after the statement that holds them. */
export const flatten = (list: readonly Stmt[]): Stmt[] => list.flatMap((s) => [s, ...flatten(bodyOf(s))]);

/** Tiles of an expression, with repeats. */
export function tilesOf(e: MapExpr): Tile[] {
  if ("t" in e) return [e.t];
  return operands(e).flatMap(tilesOf);
}

/** Operands of an expression, in order: condition, a, b. */
export function operands(e: MapExpr): MapExpr[] {
  if (!("op" in e)) return [];
  if (e.op === "select") return [(e as { if: MapExpr }).if, e.a, (e as { b: MapExpr }).b];
  return "b" in e ? [e.a, e.b] : [e.a];
}

const indexTile = (p: Place): Tile[] => (p.rowIndex ? [p.rowIndex] : []);

/** Tiles a statement reads itself, without nested bodies. */
export function tilesRead(s: Stmt): Tile[] {
  switch (s.kind) {
    case "load":
      return indexTile(s.from);
    case "store":
      return [s.src, ...indexTile(s.to)];
    case "map":
      return tilesOf(s.expr);
    case "reduce":
    case "scan":
      return [s.src];
    case "dot":
      return [s.a, s.b];
    case "accumulate":
      return [s.acc, s.part, ...s.by];
    case "peek":
      return [s.from];
    default:
      return [];
  }
}

/** The tile a statement writes. */
export const tileWritten = (s: Stmt): Tile | undefined => (s.kind === "accumulate" ? s.acc : "dst" in s ? s.dst : undefined);

/** Indices a statement evaluates itself, without nested bodies. */
export function indicesRead(s: Stmt): Index[] {
  const place = (p: Place): Index[] => [...p.at, p.rowLimit, p.colLimit].filter((i) => i !== undefined);
  switch (s.kind) {
    case "grid":
      return s.axes.map((a) => a.extent);
    case "loop":
      return [s.from, s.to];
    case "when":
      return [s.a, s.b];
    case "scalar":
      return [...s.at];
    case "load":
      return place(s.from);
    case "store":
      return place(s.to);
    case "iota":
      return [s.from];
    case "map":
      return indicesIn(s.expr);
    default:
      return [];
  }
}

const indicesIn = (e: MapExpr): Index[] => ("index" in e ? [e.index] : operands(e).flatMap(indicesIn));

/** Names of integers in an index, with repeats. */
export const namesIn = (i: Index): string[] =>
  typeof i === "object" ? [...namesIn(i.a), ...namesIn(i.b)] : typeof i === "string" ? [i] : [];

/** Whether an index mentions a name. */
export const mentions = (i: Index, name: string): boolean => namesIn(i).includes(name);

/** Every tile of a kernel once, in order of first writing. */
export function tilesIn(kernel: Kernel): Tile[] {
  return [
    ...new Map(
      flatten(kernel.body)
        .flatMap((s) => [...tilesRead(s), tileWritten(s)])
        .filter((t): t is Tile => !!t)
        .map((t) => [t.name, t]),
    ).values(),
  ];
}

/** The parameter a place or scalar names, or undefined. */
export const paramOf = (kernel: Kernel, name: string): BufferParam | undefined => kernel.params.find((p) => p.name === name);

const always: Readonly<Record<string, Scalar>> = {
  float: "f32",
  exp: "f32",
  log: "f32",
  sqrt: "f32",
  floor: "f32",
  pow2ceil: "f32",
  int: "i32",
  lt: "i32",
  le: "i32",
  eq: "i32",
  and: "i32",
  or: "i32",
};

/** Type of an expression by itself; undefined for integer constants and indices, which adopt the type of what they meet. */
export function typeOf(e: MapExpr): Scalar | undefined {
  if ("t" in e) return e.t.dtype;
  if (!("op" in e)) return "c" in e && !Number.isInteger(e.c) ? "f32" : undefined;
  if (always[e.op]) return always[e.op];
  for (const o of e.op === "select" ? operands(e).slice(1) : operands(e)) {
    const type = typeOf(o);
    if (type) return type;
  }
  return undefined;
}

/** The type in which the operands of a comparison meet. */
export const comparedAs = (a: MapExpr, b: MapExpr): Scalar => typeOf(a) ?? typeOf(b) ?? "i32";
