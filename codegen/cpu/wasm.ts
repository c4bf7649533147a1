// A WebAssembly module as data: functions, locals, expression trees and structured statements.
// `encode.ts` turns it into bytes and `wat.ts` into text, so what ships to be read is what runs.
import { opcodes, type Immediate, type ValType } from "./opcodes.ts";

export type { ValType } from "./opcodes.ts";

export interface Local {
  name: string;
  type: ValType;
  /** Position among parameters and locals of its function. */
  index: number;
}

/** An expression tree; `type` null for stores. `imm`: [offset] for memory, lanes, or the constant's value (16 bytes for v128). */
export type Expr =
  | { op: "local.get"; local: Local; type: ValType }
  | { op: "select"; args: [Expr, Expr, Expr]; type: ValType }
  | { op: string; imm: readonly number[]; args: Expr[]; type: ValType | null };

export type Stmt =
  | { kind: "set"; local: Local; value: Expr }
  | { kind: "do"; value: Expr }
  | { kind: "block" | "loop"; label: string; body: Stmt[] }
  | { kind: "if"; cond: Expr; then: Stmt[]; else: Stmt[] }
  | { kind: "br"; label: string; cond?: Expr }
  | { kind: "return"; value: Expr }
  /** Comments; of a statement of the tile program whose they are. */
  | { kind: "note"; text: string; ops?: readonly string[] };

export interface WasmFunc {
  name: string;
  params: Local[];
  result: ValType | null;
  locals: Local[];
  body: Stmt[];
  exported: boolean;
}

/** `memory`: the imported shared memory env.memory; its largest size, in 64 KiB pages, is the whole 4 GiB. */
export interface WasmModule {
  header: string[];
  funcs: WasmFunc[];
}

/**
 * An instruction by name: `ins("f32x4.add", a, b)`. Refuses a wrong number or type of operands: a fault in the lowering, not in its
 * input.
 */
export function ins(op: string, ...args: Expr[]): Expr {
  return withImm(op, [], ...args);
}

/** A load, with its constant byte offset. */
export const load = (op: string, at: Expr, offset = 0): Expr => withImm(op, [offset], at);

/** A store, with its constant byte offset. */
export const store = (op: string, at: Expr, value: Expr, offset = 0): Stmt => ({
  kind: "do",
  value: withImm(op, [offset], at, value),
});

/** An instruction with immediates. */
export function withImm(op: string, imm: readonly number[], ...args: Expr[]): Expr {
  const o = opcodes[op];
  if (!o) throw new TypeError(`no such instruction: ${op}`);
  const needs: Record<Immediate, number[]> = { none: [0], mem: [1], lane: [1], "mem lane": [2], const: [1, 16], shuffle: [16] };
  const types = args.map((a) => a.type).join(" ");
  if (types !== o.ins.join(" ") || !needs[o.imm].includes(imm.length))
    throw new TypeError(`${op} takes (${o.ins.join(" ")}), got (${types})`);
  return { op, imm, args, type: o.out };
}

export const get = (local: Local): Expr => ({ op: "local.get", local, type: local.type });
export const set = (local: Local, value: Expr): Stmt => {
  if (local.type !== value.type) throw new TypeError(`$${local.name} is ${local.type}, not ${value.type}`);
  return { kind: "set", local, value };
};
export const i32 = (n: number): Expr => withImm("i32.const", [n | 0]);
export const f32 = (n: number): Expr => withImm("f32.const", [n]);
export const select = (cond: Expr, yes: Expr, no: Expr): Expr => ({ op: "select", args: [yes, no, cond], type: yes.type! });

/** The value of an i32 constant, else undefined. */
export const constant = (e: Expr): number | undefined =>
  e.op === "i32.const" ? (e as { imm: readonly number[] }).imm[0] : undefined;

/** a + b, folding constants; sums keep their constant on the right, where loads take it as an offset. */
export function plus(a: Expr, b: Expr): Expr {
  const [x, y] = [constant(a), constant(b)];
  if (x !== undefined && y !== undefined) return i32(x + y);
  if (x === 0) return b;
  if (y === 0) return a;
  if (x !== undefined) return plus(b, a);
  return ins("i32.add", a, b);
}

/** a * b, folding constants and powers of two. */
export function times(a: Expr, b: Expr): Expr {
  const [x, y] = [constant(a), constant(b)];
  if (x !== undefined && y !== undefined) return i32(Math.imul(x, y));
  if (x !== undefined) return times(b, a);
  if (y === 0) return i32(0);
  if (y === 1) return a;
  if (y !== undefined && y > 0 && (y & (y - 1)) === 0) return ins("i32.shl", a, i32(31 - Math.clz32(y)));
  return ins("i32.mul", a, b);
}

/** All four lanes the same f32. */
export function splat(n: number): Expr {
  const bits = new Uint8Array(Float32Array.of(n, n, n, n).buffer);
  return withImm("v128.const", [...bits]);
}

/** All four lanes the same i32. */
export function splatI(n: number): Expr {
  return withImm("v128.const", [...new Uint8Array(Int32Array.of(n, n, n, n).buffer)]);
}
