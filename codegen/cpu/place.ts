// Memory: where element (r, c) of a tile lies in a buffer, and moving one or four of them with widening and rounding.
import type { BufferParam, Place } from "../../ir/kernel/stmt.ts";
import { index, type Env } from "./indices.ts";
import { codeE4m3, keep, packBf16, roundBf16, valueE4m3, type Temps } from "./math.ts";
import { constant, i32, ins, load, plus, splatI, store, times, withImm, type Expr, type Stmt } from "./wasm.ts";

const elementBytes: Record<BufferParam["dtype"], number> = { f32: 4, bf16: 2, e4m3: 1, i32: 4 };

/** A buffer at run time. */
export interface Buffer {
  param: BufferParam;
  base: Expr;
}

const stride = (env: Env, b: Buffer, axis: number): Expr => index(env, b.param.strides[axis]);

/** Byte address of element (row, col), where row is the absolute index along the rows axis. */
export function address(env: Env, b: Buffer, p: Place, row: Expr | undefined, col: Expr | undefined): Expr {
  let elements: Expr = i32(0);
  for (const [axis, at] of p.at.entries()) {
    let i = axis === p.rows && row ? row : index(env, at);
    if (axis === p.cols && col) i = plus(i, col);
    elements = plus(elements, times(i, stride(env, b, axis)));
  }
  return plus(b.base, times(elements, i32(elementBytes[b.param.dtype])));
}

/** Whether neighbouring columns are neighbours in memory. */
export const unitStride = (b: Buffer, p: Place): boolean => p.cols !== undefined && b.param.strides[p.cols] === 1;

/** Four consecutive elements, widened to f32 or i32 lanes. */
export function load4(o: Temps, dtype: BufferParam["dtype"], at: Expr): Expr {
  if (dtype === "bf16") return ins("i32x4.shl", load("v128.load16x4_u", at), i32(16));
  if (dtype === "e4m3") {
    const bytes = ins("i16x8.extend_low_i8x16_u", load("v128.load32_zero", at));
    return valueE4m3(keep(o, ins("i32x4.extend_low_i16x8_u", bytes), "code"));
  }
  return load("v128.load", at);
}

/** One element, in every lane. */
export function load1(o: Temps, dtype: BufferParam["dtype"], at: Expr): Expr {
  if (dtype === "bf16") return ins("i32x4.splat", ins("i32.shl", load("i32.load16_u", at), i32(16)));
  if (dtype === "e4m3") return valueE4m3(keep(o, ins("i32x4.splat", load("i32.load8_u", at)), "code"));
  return load("v128.load32_splat", at);
}

/** Stores four lanes, rounded to the buffer's type. */
export function store4(o: Temps, dtype: BufferParam["dtype"], at: Expr, value: Expr): Stmt {
  if (dtype === "bf16") return { kind: "do", value: withImm("v128.store64_lane", [0, 0], at, packBf16(roundBf16(o, value))) };
  if (dtype === "e4m3") {
    const words = keep(o, ins("i16x8.narrow_i32x4_u", codeE4m3(o, value), splatI(0)), "codes");
    return { kind: "do", value: withImm("v128.store32_lane", [0, 0], at, ins("i8x16.narrow_i16x8_u", words, words)) };
  }
  return store("v128.store", at, value);
}

/** Stores the first lane. */
export function store1(o: Temps, dtype: BufferParam["dtype"], at: Expr, value: Expr): Stmt {
  const lane = (e: Expr): Expr => withImm("i32x4.extract_lane", [0], e);
  if (dtype === "bf16") return store("i32.store16", at, ins("i32.shr_u", lane(roundBf16(o, value)), i32(16)));
  if (dtype === "e4m3") return store("i32.store8", at, lane(codeE4m3(o, value)));
  return store("i32.store", at, lane(value));
}

/** Whether a masked axis can be shown to be inside when compiling. */
export function surelyInside(at: Expr, limit: Expr, extent: number): boolean {
  const [a, l] = [constant(at), constant(limit)];
  return a !== undefined && l !== undefined && a + extent <= l;
}
