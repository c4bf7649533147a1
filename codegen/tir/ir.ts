// TIR as far as kernels need it: TVM's tensor IR after its own lowering, flat buffers, explicit vectors, no blocks. Plain data, so that one
// value is printed as TVMScript (script.ts) and built from TVM's constructors in another process (compiler/tvm/nodes.ts).
import type { Owner } from "../../ir/kernel/owner.ts";

/** A TVM dtype: "float32x16", "int64", "boolx8". */
export type DType = string;

/** Operators, by the names of TVM's constructors. They are applied as written; nothing is folded. */
export type Binary =
  | "Add"
  | "Sub"
  | "Mul"
  | "Div"
  | "Mod"
  | "Min"
  | "Max"
  | "LT"
  | "LE"
  | "EQ"
  | "NE"
  | "And"
  | "Or"
  | "left_shift"
  | "right_shift"
  | "bitwise_and"
  | "bitwise_or";

/** A flat array of `extent` elements. */
export interface Buffer {
  name: string;
  dtype: DType;
  extent: TirExpr;
}

export type TirExpr =
  | { kind: "const"; value: number; dtype: DType }
  | { kind: "var"; name: string; dtype: DType }
  /** The value of a register now. */
  | { kind: "register"; name: string; dtype: DType }
  /** Div and Mod of integers truncate. */
  | { kind: "binary"; op: Binary; a: TirExpr; b: TirExpr; dtype: DType }
  | { kind: "not"; a: TirExpr; dtype: DType }
  | { kind: "cast" | "reinterpret"; a: TirExpr; dtype: DType }
  | { kind: "select"; cond: TirExpr; a: TirExpr; b: TirExpr; dtype: DType }
  | { kind: "broadcast"; a: TirExpr; lanes: number; dtype: DType }
  | { kind: "ramp"; from: TirExpr; stride: TirExpr; lanes: number; dtype: DType }
  /** Lanes picked of vectors laid side by side; one lane is a scalar. */
  | { kind: "shuffle"; vectors: TirExpr[]; lanes: number[]; dtype: DType }
  | { kind: "load"; from: string; at: TirExpr; dtype: DType }
  /** A pure intrinsic of LLVM, by its name without the types: "llvm.fma". */
  | { kind: "intrinsic"; name: string; args: TirExpr[]; dtype: DType };

export type TirStmt =
  /** A name for a value. */
  | { kind: "bind"; name: string; value: TirExpr }
  /** A variable with its first value. */
  | { kind: "register"; name: string; value: TirExpr }
  | { kind: "set"; name: string; value: TirExpr }
  /** An array at an address. */
  | { kind: "buffer"; buffer: Buffer; address: TirExpr }
  | { kind: "store"; to: string; at: TirExpr; value: TirExpr }
  | { kind: "for"; name: string; from: TirExpr; to: TirExpr; step: number; body: TirStmt[] }
  | { kind: "if"; cond: TirExpr; then: TirStmt[]; else: TirStmt[] }
  /** A comment; `tile` is the statement of the tile program that begins there. */
  | { kind: "note"; text: string; tile?: Owner };

/** A function that gives nothing; parameters are scalars. */
export interface TirFunction {
  name: string;
  params: { name: string; dtype: DType }[];
  body: TirStmt[];
}

const lanesIn = (dtype: DType): number => Number(/x(\d+)$/.exec(dtype)?.[1] ?? 1);
/** A dtype with so many lanes. */
export const withLanes = (dtype: DType, lanes: number): DType => {
  const scalar = dtype.replace(/x\d+$/, "");
  return lanes === 1 ? scalar : `${scalar}x${lanes}`;
};

/** A number, in every lane. */
export const imm = (value: number, dtype: DType): TirExpr => {
  const lanes = lanesIn(dtype);
  const scalar: TirExpr = { kind: "const", value, dtype: withLanes(dtype, 1) };
  return lanes === 1 ? scalar : { kind: "broadcast", a: scalar, lanes, dtype };
};
export const int64 = (value: number): TirExpr => imm(value, "int64");
export const variable = (name: string, dtype: DType): TirExpr => ({ kind: "var", name, dtype });
const compares = new Set<Binary>(["LT", "LE", "EQ", "NE"]);

/** The number in every lane; undefined where it is not known. */
const known = (e: TirExpr): number | undefined => {
  if (e.kind === "broadcast") return known(e.a);
  return e.kind === "const" ? e.value : undefined;
};

/** What TVM's parser makes simpler as it reads: the text and what is compiled are the same. */
function folded(op: Binary, a: TirExpr, b: TirExpr): TirExpr | undefined {
  const [x, y] = [known(a), known(b)];
  if (y === 0 && (op === "Add" || op === "Sub")) return a;
  if (x === 0 && op === "Add") return b;
  if (y === 1 && (op === "Mul" || op === "Div")) return a;
  if (x === 1 && op === "Mul") return b;
  if (x === undefined || y === undefined || a.dtype !== "int64") return undefined;
  if (op === "LT") return imm(Number(x < y), "bool");
  if (op === "LE") return imm(Number(x <= y), "bool");
  return undefined;
}

/** An operation. Neutral elements leave it out. */
export const binary = (op: Binary, a: TirExpr, b: TirExpr): TirExpr =>
  folded(op, a, b) ?? {
    kind: "binary",
    op,
    a,
    b,
    dtype: compares.has(op) ? withLanes("bool", lanesIn(a.dtype)) : a.dtype,
  };
export const cast = (dtype: DType, a: TirExpr): TirExpr => ({ kind: "cast", a, dtype });
export const reinterpret = (dtype: DType, a: TirExpr): TirExpr => ({ kind: "reinterpret", a, dtype });
export const select = (cond: TirExpr, a: TirExpr, b: TirExpr): TirExpr => ({ kind: "select", cond, a, b, dtype: a.dtype });
export const not = (a: TirExpr): TirExpr => ({ kind: "not", a, dtype: a.dtype });
export const intrinsic = (name: string, dtype: DType, ...args: TirExpr[]): TirExpr => ({ kind: "intrinsic", name, args, dtype });
/** Elements side by side from `at` on. */
export const load = (from: string, at: TirExpr, dtype: DType): TirExpr => ({
  kind: "load",
  from,
  at: across(at, lanesIn(dtype)),
  dtype,
});
/** The index of so many elements, `stride` apart. */
export const across = (at: TirExpr, lanes: number, stride: TirExpr = int64(1)): TirExpr =>
  lanes === 1 ? at : { kind: "ramp", from: at, stride, lanes, dtype: `int64x${lanes}` };
