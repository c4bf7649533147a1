// Element functions that processors have no instruction for, as expressions over lanes: exp, log, the roundings of bf16 and e4m3. They
// are those of codegen/cpu/math.ts, operation for operation, so that codes are the same bits in every target.
import { constantOf, f32, i32, named, op, type Expr, type Stmt, type VectorFunction } from "./ir.ts";

type Write = (keep: (hint: string, value: Expr) => Expr, lanes: number) => (x: Expr) => Expr;

const F = (v: number, like: Expr): Expr => constantOf(v, f32(like.type.lanes));
const I = (v: number, like: Expr): Expr => constantOf(v, i32(like.type.lanes));
const poly = (x: Expr, coefficients: readonly number[]): Expr =>
  coefficients.slice(1).reduce((sum, c) => op("add", op("mul", sum, x), F(c, x)), F(coefficients[0], x));

/** e^x: x = n ln2 + r with |r| <= ln2/2, a degree-7 polynomial in r, and 2^n in two halves so that subnormal results round once. */
const exp: Write = (keep) => (x) => {
  // Beyond these the result is 0 or infinity anyway; NaN passes through min and max.
  const c = keep("c", op("min", op("max", x, F(-104, x)), F(89, x)));
  const n = keep("n", op("round", op("mul", c, F(Math.LOG2E, x))));
  // ln2 in two parts; the first has few bits, so that n times it is exact.
  const r = keep("r", op("sub", op("sub", c, op("mul", n, F(0.693359375, x))), op("mul", n, F(-0.00021219444005469057, x))));
  // (e^r - 1 - r) / r^2, fitted for least relative error of e^r: 5e-11.
  const q = poly(r, [0.00019790236993, 0.00139447589718, 0.00833349768912, 0.041666293628, 0.166666658645, 0.500000006804]);
  const r2 = keep("r2", op("mul", r, r));
  const e = keep("e", op("add", op("add", op("mul", q, r2), r), F(1, x)));
  const k = keep("k", op("toI32", n));
  const half = keep("half", op("shr", k, I(1, x)));
  const power = (i: Expr): Expr => op("asF32", op("shl", op("add", i, I(127, x)), I(23, x)));
  return op("mul", op("mul", e, power(half)), power(op("sub", k, half)));
};

/** Natural logarithm: -inf at 0, NaN below. x = 2^n m with m in [sqrt 1/2, sqrt 2), then log m = 2 atanh(f / (2 + f)), f = m - 1. */
const log: Write = (keep) => (x) => {
  // Subnormals are scaled up by 2^23 first.
  const tiny = keep("tiny", op("lt", x, F(1.1754943508222875e-38, x)));
  const up = keep("up", op("select", tiny, op("mul", x, F(8388608, x)), x));
  const biased = keep("biased", op("sub", op("asI32", up), I(0x3f3504f3, x)));
  const n = op("sub", op("shr", biased, I(23, x)), op("select", tiny, I(23, x), I(0, x)));
  const m = op("asF32", op("add", op("bitand", biased, I(0x007fffff, x)), I(0x3f3504f3, x)));
  const e = keep("e", op("toF32", n));
  const f = keep("f", op("sub", m, F(1, x)));
  const s = keep("s", op("div", f, op("add", f, F(2, x))));
  const z = keep("z", op("mul", s, s));
  const tail = keep("tail", op("mul", z, poly(z, [2 / 9, 2 / 7, 2 / 5, 2 / 3])));
  const h = keep("h", op("mul", F(0.5, x), op("mul", f, f)));
  // f - (h - s (h + tail)) loses no bits of f to the division.
  const low = op("sub", h, op("add", op("mul", s, op("add", h, tail)), op("mul", e, F(-0.00021219444005469057, x))));
  const result = keep("result", op("add", op("mul", e, F(0.693359375, x)), op("sub", f, low)));
  const special = op("select", op("eq", x, F(0, x)), F(-Infinity, x), F(NaN, x));
  const positive = op("select", op("eq", x, F(Infinity, x)), x, result);
  return op("select", op("lt", F(0, x), x), positive, special);
};

/** The 16 bits of bf16 of f32 lanes, one per i32 lane, to nearest even; NaN stays NaN. */
const codeBf16: Write = (keep) => (x) => {
  const bits = keep("bits", op("asI32", x));
  const odd = op("bitand", op("shr", bits, I(16, x)), I(1, x));
  const up = op("shr", op("add", bits, op("add", odd, I(0x7fff, x))), I(16, x));
  return op("bitand", op("select", op("eq", x, x), up, I(0x7fc0, x)), I(0xffff, x));
};

/** e4m3fn codes of f32 lanes, one per i32 lane: to nearest even, saturating at 448; NaN is 0x7f. */
const codeE4m3: Write = (keep) => (x) => {
  const a = keep("a", op("min", op("abs", x), F(448, x)));
  const bits = keep("bits", op("asI32", a));
  // Normal: drop 20 mantissa bits, rounding, and rebias by 120. Below 2^-6 the grid is uniform: adding 2^14 aligns its step with the
  // last bit.
  const odd = op("bitand", op("shr", bits, I(20, x)), I(1, x));
  const normal = op("sub", op("shr", op("add", bits, op("add", odd, I(0x7ffff, x))), I(20, x)), I(120 << 3, x));
  const small = op("sub", op("asI32", op("add", a, F(16384, x))), I(0x46800000, x));
  const code = op("select", op("lt", a, F(2 ** -6, x)), small, normal);
  const signed = op("bitor", code, op("bitand", op("shr", op("asI32", x), I(24, x)), I(0x80, x)));
  return op("select", op("eq", x, x), signed, I(0x7f, x));
};

/**
 * f32 values of e4m3fn codes, one per i32 lane. NaN codes read as 480: the runtime refuses weights that hold them, and activations that
 * are NaN have a scale that is NaN.
 */
const valueE4m3: Write = () => (c) => {
  const magnitude = op("shl", op("bitand", c, I(0x7f, c)), I(20, c));
  const sign = op("shl", op("bitand", c, I(0x80, c)), I(24, c));
  return op("mul", op("asF32", op("bitor", magnitude, sign)), F(2 ** 120, c));
};

/** The smallest power of two that is at least s, for s > 0; NaN stays NaN. */
const powerCeil: Write = () => (s) => {
  const up = op("bitand", op("add", op("asI32", s), I(0x7fffff, s)), I(0xff800000 | 0, s));
  return op("select", op("eq", s, s), op("asF32", up), s);
};

const table = {
  exp: { of: "f32", write: exp, summary: "e^x, within 2 ulp" },
  log: { of: "f32", write: log, summary: "natural logarithm, within 2 ulp" },
  code_bf16: { of: "f32", write: codeBf16, summary: "bf16 codes, rounded to nearest even" },
  code_e4m3: { of: "f32", write: codeE4m3, summary: "e4m3 codes, rounded to nearest even, saturating at 448" },
  value_e4m3: { of: "i32", write: valueE4m3, summary: "values of e4m3 codes" },
  pow2ceil: { of: "f32", write: powerCeil, summary: "the least power of two not below" },
} as const satisfies Record<string, { of: "f32" | "i32"; write: Write; summary: string }>;

export type FunctionName = keyof typeof table;
const results: Readonly<Partial<Record<FunctionName, "i32">>> = { code_bf16: "i32", code_e4m3: "i32" };

/** A call of a function over the lanes of its operand. */
export const call = (name: FunctionName, x: Expr): Expr => ({
  kind: "call",
  name,
  args: [x],
  type: { of: results[name] ?? "f32", lanes: x.type.lanes },
});

/** The function over so many lanes. */
export function functionOf(name: FunctionName, lanes: number): VectorFunction {
  const { of, write, summary } = table[name];
  const body: Stmt[] = [];
  const x = named("x", { of, lanes });
  const keep = (hint: string, value: Expr): Expr => {
    body.push({ kind: "let", name: hint, value });
    return named(hint, value.type);
  };
  const result = write(keep, lanes)(x);
  return { name, summary, params: [x], body, result };
}
