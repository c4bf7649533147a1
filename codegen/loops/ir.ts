// Loops over vectors: what a tile program is lowered to for a processor, before it is printed as C or built as TIR. Few kinds of
// expression and statement, every expression typed; memory is named arrays of stored elements, so that a load widens and a store
// rounds as in a tile program. Names are given a value once (`let`) or are registers (`var`); nothing here knows a language.
import type { Owner } from "../../ir/kernel/owner.ts";

/** What the lanes of a value hold. A `bool` of several lanes is a mask. */
export type Of = "f32" | "i32" | "i64" | "bool";
export interface Type {
  of: Of;
  /** 1: a scalar. */
  lanes: number;
}

/** What an array holds. */
export type Element = "f32" | "bf16" | "e4m3" | "i32";

/** An array: a buffer of the kernel, or a part of the thread's scratch from byte `scratch` on. */
export interface Memory {
  name: string;
  element: Element;
  scratch?: number;
}

/**
 * Operations, with the lanes of their operands unless said. div of i32 and i64 floors, and mod is what that leaves. min and max of f32
 * give NaN where either operand is NaN. round is to nearest even. toI32 truncates and saturates; NaN gives 0. asF32 and asI32 keep the
 * bits. low and high are halves; lane is the first lane as a scalar; splat makes lanes of a scalar. fma rounds once where the machine
 * can, so no promise is made about its bits. and, or are of bool; the other bit operations of i32.
 */
export type Op =
  | "add"
  | "sub"
  | "mul"
  | "div"
  | "mod"
  | "min"
  | "max"
  | "neg"
  | "abs"
  | "sqrt"
  | "floor"
  | "round"
  | "fma"
  | "lt"
  | "le"
  | "eq"
  | "ne"
  | "and"
  | "or"
  | "bitand"
  | "bitor"
  | "shl"
  | "shr"
  | "toF32"
  | "toI32"
  | "toI64"
  | "asF32"
  | "asI32"
  | "select"
  | "splat"
  | "low"
  | "high"
  | "lane";

export type Expr =
  | { kind: "const"; value: number; type: Type }
  | { kind: "name"; name: string; type: Type }
  | { kind: "op"; op: Op; args: readonly Expr[]; type: Type }
  /** A function of vectors (functions.ts), by name. */
  | { kind: "call"; name: string; args: readonly Expr[]; type: Type }
  /** 0, 1, 2 ... */
  | { kind: "iota"; type: Type }
  /** Lanes picked of two vectors of the same type: below their lanes of the first, from there on of the second. */
  | { kind: "shuffle"; args: readonly [Expr, Expr]; lanes: readonly number[]; type: Type }
  /**
   * Elements from `at` on, widened, `stride` elements apart (1 unless said). `pinned`: into a register, where a compiler would rather read
   * memory again at each of several uses.
   */
  | { kind: "load"; from: Memory; at: Expr; stride?: Expr; pinned?: true; type: Type };

export type Stmt =
  | { kind: "let" | "var" | "set"; name: string; value: Expr }
  /** Rounds to the element of the memory. */
  | { kind: "store"; to: Memory; at: Expr; value: Expr }
  | { kind: "for"; name: string; from: Expr; to: Expr; step: number; body: readonly Stmt[] }
  | { kind: "if"; cond: Expr; then: readonly Stmt[]; else: readonly Stmt[] }
  /** Row `row` of a panel of b in tiles (matrix.ts): `columns` elements of bf16. Of processors with registers of tiles. */
  | { kind: "matrixRow"; to: Memory; from: Memory; at: Expr; row: Expr; columns: Expr; tiles: number }
  /** sums[i, j] += a[i] b[j] over such panels, for i < m and j < n, both up to a multiple of 32. */
  | { kind: "matrixProduct"; a: Memory; b: Memory; sums: Memory; stride: number; m: Expr; n: Expr; columns: Expr; tiles: number }
  /** Asks for the line of an element before it is needed. */
  | { kind: "prefetch"; from: Memory; at: Expr }
  /** A comment; `tile` is a statement of the tile program, by its text. */
  | { kind: "note"; text: string; tile?: Owner };

/** A pure function of vectors: lets, then a result. */
export interface VectorFunction {
  name: string;
  summary: string;
  params: readonly (Expr & { kind: "name" })[];
  body: readonly Stmt[];
  result: Expr;
}

/** A kernel as one function over grid cells [begin, end). Any thread may take any cells; scratch is the thread's own. */
export interface LoopKernel {
  name: string;
  summary: string;
  buffers: readonly (Memory & { access: "in" | "out" | "inout" })[];
  /** Sizes known at run time, i64. */
  dims: readonly string[];
  /** Parts of scratch. */
  scratch: readonly Memory[];
  scratchBytes: number;
  body: readonly Stmt[];
}

export const f32 = (lanes = 1): Type => ({ of: "f32", lanes });
export const i32 = (lanes = 1): Type => ({ of: "i32", lanes });
export const i64: Type = { of: "i64", lanes: 1 };

export const constantOf = (value: number, type: Type): Expr => ({ kind: "const", value, type });
/** An index. */
export const int = (value: number): Expr => constantOf(value, i64);
export const named = (name: string, type: Type): Expr & { kind: "name" } => ({ kind: "name", name, type });

/** The value of a constant, else undefined. */
export const known = (e: Expr): number | undefined => (e.kind === "const" ? e.value : undefined);

const same = (a: Type, b: Type): boolean => a.of === b.of && a.lanes === b.lanes;

/** Types of results that are not those of the first operand. */
function resultOf(op: Op, args: readonly Expr[]): Type {
  const { of, lanes } = args[0].type;
  switch (op) {
    case "lt":
    case "le":
    case "eq":
    case "ne":
      return { of: "bool", lanes };
    case "toF32":
    case "asF32":
      return f32(lanes);
    case "toI32":
    case "asI32":
      return i32(lanes);
    case "toI64":
      return { of: "i64", lanes };
    case "select":
      return args[1].type;
    case "low":
    case "high":
      return { of, lanes: lanes / 2 };
    case "lane":
      return { of, lanes: 1 };
    default:
      return { of, lanes };
  }
}

/** An operation. Operands that do not go together are a fault in the lowering, not in its input. */
export function op(name: Exclude<Op, "splat">, ...args: Expr[]): Expr {
  const [first, ...rest] = name === "select" ? args.slice(1) : args;
  if (name !== "shl" && name !== "shr" && rest.some((a) => !same(a.type, first.type)))
    throw new TypeError(`${name} of ${args.map((a) => `${a.type.of}x${a.type.lanes}`).join(", ")}`);
  return { kind: "op", op: name, args, type: resultOf(name, args) };
}

/** A scalar in every lane. */
export const splat = (e: Expr, lanes: number): Expr =>
  lanes === 1
    ? e
    : e.kind === "const"
      ? constantOf(e.value, { ...e.type, lanes })
      : { kind: "op", op: "splat", args: [e], type: { ...e.type, lanes } };

/** a + b of indices, constants folded and kept on the right. */
export function plus(a: Expr, b: Expr): Expr {
  const [x, y] = [known(a), known(b)];
  if (x !== undefined && y !== undefined) return int(x + y);
  if (x === 0) return b;
  if (y === 0) return a;
  if (x !== undefined) return plus(b, a);
  if (y !== undefined && a.kind === "op" && a.op === "add") {
    const inner = known(a.args[1]);
    if (inner !== undefined) return plus(a.args[0], int(inner + y));
  }
  return op("add", a, b);
}

/** a - b of indices. */
export function minus(a: Expr, b: Expr): Expr {
  const y = known(b);
  return y === undefined ? op("sub", a, b) : plus(a, int(-y));
}

/** a * b of indices. */
export function times(a: Expr, b: Expr): Expr {
  const [x, y] = [known(a), known(b)];
  if (x !== undefined && y !== undefined) return int(x * y);
  if (x !== undefined) return times(b, a);
  if (y === 0) return int(0);
  return y === 1 ? a : op("mul", a, b);
}

/** Flooring division, or what it leaves. */
export function divide(name: "div" | "mod", a: Expr, b: Expr): Expr {
  const [x, y] = [known(a), known(b)];
  if (x !== undefined && y) return int(name === "div" ? Math.floor(x / y) : x - y * Math.floor(x / y));
  if (y === 1) return name === "div" ? a : int(0);
  return op(name, a, b);
}

export function lesser(a: Expr, b: Expr): Expr {
  const [x, y] = [known(a), known(b)];
  return x !== undefined && y !== undefined ? int(Math.min(x, y)) : op("min", a, b);
}

export function greater(a: Expr, b: Expr): Expr {
  const [x, y] = [known(a), known(b)];
  return x !== undefined && y !== undefined ? int(Math.max(x, y)) : op("max", a, b);
}

/** The greatest multiple of a power of two that is no greater. */
export const wholes = (a: Expr, step: number): Expr => times(divide("div", a, int(step)), int(step));

/** A load of f32 lanes. */
export const loadF32 = (from: Memory, at: Expr, lanes = 1): Expr => ({ kind: "load", from, at, type: f32(lanes) });
