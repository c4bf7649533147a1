// Lane arithmetic that WebAssembly has no instruction for, four lanes at a time: exp, log, and the number formats.
// exp and log are within 2 ulp in f32 over the whole range, infinities, zeros and subnormals included; conversions are exact.
// Every function takes a `Temps` to keep intermediate values in locals, because an expression tree would repeat them.
import { get, i32, ins, set, splat, splatI, type Expr, type Local, type Stmt, type ValType } from "./wasm.ts";

/** Where lowered code goes: a statement list and a supply of locals. */
export interface Temps {
  push(...stmts: Stmt[]): void;
  local(type: ValType, hint: string): Local;
}

/** Evaluates an expression once. */
export function keep(o: Temps, value: Expr, hint = "t"): Expr {
  if (value.op === "local.get" || value.op === "v128.const" || value.op === "i32.const" || value.op === "f32.const") return value;
  const local = o.local(value.type!, hint);
  o.push(set(local, value));
  return get(local);
}

const add = (a: Expr, b: Expr): Expr => ins("f32x4.add", a, b);
const sub = (a: Expr, b: Expr): Expr => ins("f32x4.sub", a, b);
const mul = (a: Expr, b: Expr): Expr => ins("f32x4.mul", a, b);
const poly = (x: Expr, coefficients: number[]): Expr =>
  coefficients.slice(1).reduce((sum, c) => add(mul(sum, x), splat(c)), splat(coefficients[0]));

/** e^x: x = n ln2 + r with |r| <= ln2/2, a degree-7 polynomial in r, and 2^n in two halves so that subnormal results round once. */
export function exp(o: Temps, x: Expr): Expr {
  // Beyond these the result is 0 or infinity anyway; NaN passes through min and max.
  const c = keep(o, ins("f32x4.min", ins("f32x4.max", x, splat(-104)), splat(89)), "x");
  const n = keep(o, ins("f32x4.nearest", mul(c, splat(Math.LOG2E))), "n");
  // ln2 in two parts; the first has few bits, so that n times it is exact.
  const r = keep(o, sub(sub(c, mul(n, splat(0.693359375))), mul(n, splat(-0.00021219444005469057))), "r");
  // (e^r - 1 - r) / r^2, fitted for least relative error of e^r: 5e-11.
  const q = poly(r, [0.00019790236993, 0.00139447589718, 0.00833349768912, 0.041666293628, 0.166666658645, 0.500000006804]);
  const e = keep(o, add(add(mul(q, keep(o, mul(r, r), "r2")), r), splat(1)), "e");
  const k = keep(o, ins("i32x4.trunc_sat_f32x4_s", n), "k");
  const half = keep(o, ins("i32x4.shr_s", k, i32(1)), "half");
  const power = (i: Expr): Expr => ins("i32x4.shl", ins("i32x4.add", i, splatI(127)), i32(23));
  return keep(o, mul(mul(e, power(half)), power(ins("i32x4.sub", k, half))), "exp");
}

/** Natural logarithm: -inf at 0, NaN below. x = 2^n m with m in [sqrt 1/2, sqrt 2), then log m = 2 atanh(f / (2 + f)), f = m - 1. */
export function log(o: Temps, value: Expr): Expr {
  const x = keep(o, value, "x");
  // Subnormals are scaled up by 2^23 first.
  const tiny = keep(o, ins("f32x4.lt", x, splat(1.1754943508222875e-38)), "tiny");
  const up = keep(o, ins("v128.bitselect", mul(x, splat(8388608)), x, tiny), "up");
  const biased = keep(o, ins("i32x4.sub", up, splatI(0x3f3504f3)), "biased");
  const n = ins("i32x4.sub", ins("i32x4.shr_s", biased, i32(23)), ins("v128.and", tiny, splatI(23)));
  const m = ins("i32x4.add", ins("v128.and", biased, splatI(0x007fffff)), splatI(0x3f3504f3));
  const e = keep(o, ins("f32x4.convert_i32x4_s", n), "e");
  const f = keep(o, sub(m, splat(1)), "f");
  const s = keep(o, ins("f32x4.div", f, add(f, splat(2))), "s");
  const z = keep(o, mul(s, s), "z");
  const tail = keep(o, mul(z, poly(z, [2 / 9, 2 / 7, 2 / 5, 2 / 3])), "tail");
  const h = keep(o, mul(splat(0.5), mul(f, f)), "h");
  // f - (h - s (h + tail)) loses no bits of f to the division.
  const low = sub(h, add(mul(s, add(h, tail)), mul(e, splat(-0.00021219444005469057))));
  const result = keep(o, add(mul(e, splat(0.693359375)), sub(f, low)), "log");
  const special = ins("v128.bitselect", splat(-Infinity), splat(NaN), ins("f32x4.eq", x, splat(0)));
  const positive = ins("v128.bitselect", x, result, ins("f32x4.eq", x, splat(Infinity)));
  return keep(o, ins("v128.bitselect", positive, special, ins("f32x4.gt", x, splat(0))), "log");
}

/** f32 lanes rounded to bf16, to nearest even, still as f32; NaN stays NaN. */
export function roundBf16(o: Temps, value: Expr): Expr {
  const x = keep(o, value, "x");
  const odd = ins("v128.and", ins("i32x4.shr_u", x, i32(16)), splatI(1));
  const up = ins("i32x4.add", x, ins("i32x4.add", odd, splatI(0x7fff)));
  return keep(o, ins("v128.bitselect", ins("v128.and", up, splatI(-65536)), splatI(0x7fc00000), ins("f32x4.eq", x, x)), "bf");
}

/** The four bf16 codes of already rounded lanes, packed in the low 64 bits. */
export function packBf16(rounded: Expr): Expr {
  return ins("i16x8.narrow_i32x4_s", ins("i32x4.shr_s", rounded, i32(16)), splatI(0));
}

/** e4m3fn codes of f32 lanes, one per i32 lane: to nearest even, saturating at 448; NaN is 0x7f. */
export function codeE4m3(o: Temps, value: Expr): Expr {
  const x = keep(o, value, "x");
  const a = keep(o, ins("f32x4.min", ins("f32x4.abs", x), splat(448)), "a");
  // Normal: drop 20 mantissa bits, rounding, and rebias by 120. Below 2^-6 the grid is uniform: adding 2^14 aligns its step with the
  // last bit.
  const odd = ins("v128.and", ins("i32x4.shr_u", a, i32(20)), splatI(1));
  const normal = ins(
    "i32x4.sub",
    ins("i32x4.shr_u", ins("i32x4.add", a, ins("i32x4.add", odd, splatI(0x7ffff))), i32(20)),
    splatI(120 << 3),
  );
  const small = ins("i32x4.sub", add(a, splat(16384)), splat(16384));
  const code = ins("v128.bitselect", small, normal, ins("f32x4.lt", a, splat(2 ** -6)));
  const signed = ins("v128.or", code, ins("v128.and", ins("i32x4.shr_u", x, i32(24)), splatI(0x80)));
  return keep(o, ins("v128.bitselect", signed, splatI(0x7f), ins("f32x4.eq", x, x)), "code");
}

/**
 * f32 values of e4m3fn codes held one per i32 lane (upper bits ignored). NaN codes read as 480: the runtime refuses weights that hold
 * them, and activations that are NaN have a scale that is NaN.
 */
export function valueE4m3(code: Expr): Expr {
  const c = code;
  const magnitude = ins("i32x4.shl", ins("v128.and", c, splatI(0x7f)), i32(20));
  const sign = ins("i32x4.shl", ins("v128.and", c, splatI(0x80)), i32(24));
  return mul(ins("v128.or", magnitude, sign), splat(2 ** 120));
}

/** The smallest power of two that is at least s, for s > 0; NaN stays NaN, all bits set. */
export function powerCeil(o: Temps, value: Expr): Expr {
  const s = keep(o, value, "s");
  return ins("v128.or", ins("v128.and", ins("i32x4.add", s, splatI(0x7fffff)), splatI(0xff800000 | 0)), ins("f32x4.ne", s, s));
}

/** Sum of four lanes, as (0 + 2) + (1 + 3). */
export function sumLanes(o: Temps, value: Expr): Expr {
  return fold(o, value, "f32x4.add", "f32.add");
}

export const maxLanes = (o: Temps, value: Expr): Expr => fold(o, value, "f32x4.max", "f32.max");
export const minLanes = (o: Temps, value: Expr): Expr => fold(o, value, "f32x4.min", "f32.min");

function fold(o: Temps, value: Expr, vector: string, scalar: string): Expr {
  const x = keep(o, value, "x");
  const swapped: Expr = {
    op: "i8x16.shuffle",
    imm: [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7],
    args: [x, x],
    type: "v128",
  };
  const y = keep(o, ins(vector, x, swapped), "pair");
  const lane = (i: number): Expr => ({ op: "f32x4.extract_lane", imm: [i], args: [y], type: "f32" });
  return ins(scalar, lane(0), lane(1));
}
