// The lane arithmetic of the CPU target against float64 and the exact format definitions, on dense samples of all f32 bit patterns.
import { expect, test } from "vitest";
import { encode } from "../../codegen/cpu/encode.ts";
import * as math from "../../codegen/cpu/math.ts";
import { i32, load, plus, store, times, type Expr } from "../../codegen/cpu/wasm.ts";
import { wat } from "../../codegen/cpu/wat.ts";
import { Writer } from "../../codegen/cpu/writer.ts";
import { bf16, e4m3Code, e4m3Values, pow2ceil } from "../../ir/numeric.ts";

/** Applies a lane function to an array, four at a time, in WebAssembly. */
function apply(f: (w: Writer, x: Expr) => Expr, input: Float32Array): ArrayBuffer {
  const w = new Writer("run", [
    ["n", "i32"],
    ["from", "i32"],
    ["to", "i32"],
  ]);
  w.loop("i", i32(0), w.param(0), 4, (i) => {
    const at = times(i, i32(4));
    w.push(store("v128.store", plus(w.param(2), at), f(w, load("v128.load", plus(w.param(1), at)))));
  });
  const module = { header: ["test"], funcs: [w.func] };
  expect(String(wat(module))).toContain('(import "env" "memory" (memory 1 65536 shared))');
  const pages = Math.ceil((input.length * 8) / 65536) + 1;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const run = new WebAssembly.Instance(new WebAssembly.Module(encode(module)), { env: { memory } }).exports.run as (
    ...a: number[]
  ) => void;
  new Float32Array(memory.buffer, 0, input.length).set(input);
  run(input.length, 0, input.length * 4);
  const out = new ArrayBuffer(input.length * 4);
  new Uint8Array(out).set(new Uint8Array(memory.buffer, input.length * 4, input.length * 4));
  return out;
}

/** Every 4099th bit pattern: all exponents, both signs, NaNs, plus a few special values. */
const all = (() => {
  const bits = Uint32Array.from({ length: 1047552 }, (_, i) => i * 4099);
  const out = new Float32Array(bits.buffer);
  out.set(
    [
      0,
      -0,
      1,
      -1,
      Infinity,
      -Infinity,
      NaN,
      448,
      449,
      464,
      465,
      1e-4,
      2 ** -9,
      2 ** -10,
      2 ** -10 * 1.5,
      88.7,
      88.73,
      -103.9,
      -87.4,
    ],
    0,
  );
  return out;
})();

function ulps(got: number, want: number): number {
  if (Object.is(got, want) || (got !== got && want !== want) || (got === 0 && want === 0)) return 0;
  const f = Math.fround(want);
  if (got === f) return 0;
  const step = Math.max(2 ** (Math.floor(Math.log2(Math.abs(f))) - 23), 2 ** -149);
  return Math.abs(got - want) / step;
}

function worst(f: (w: Writer, x: Expr) => Expr, want: (x: number) => number, input: Float32Array): number {
  const got = new Float32Array(apply(f, input));
  return input.reduce((max, x, i) => {
    const u = ulps(got[i], want(x));
    return u > max || u !== u ? u : max;
  }, 0);
}

test("exp is within 2 ulp", () => {
  expect(worst(math.exp, Math.exp, all)).toBeLessThan(2);
  expect(
    worst(
      math.exp,
      Math.exp,
      Float32Array.from({ length: 400000 }, (_, i) => -20 + i / 10000),
    ),
  ).toBeLessThan(1.5);
});

test("log is within 2 ulp", () => {
  expect(worst(math.log, Math.log, all)).toBeLessThan(2);
  expect(
    worst(
      math.log,
      Math.log,
      Float32Array.from({ length: 400000 }, (_, i) => 0.5 + i / 200000),
    ),
  ).toBeLessThan(2);
});

test("bf16 rounds to nearest even", () => {
  const got = new Float32Array(apply(math.roundBf16, all));
  all.forEach((x, i) => {
    if (!Object.is(got[i], bf16(x))) expect([x, got[i]]).toEqual([x, bf16(x)]);
  });
});

test("scales round up to powers of two as the reference rounds them; NaN and infinity stay what they are", () => {
  const positive = all.filter((x) => !(x <= 0));
  const got = new Float32Array(apply((w, x) => math.powerCeil(w, x), positive));
  positive.forEach((x, i) => {
    const want = pow2ceil(x);
    if (!Object.is(got[i], want)) expect([x, got[i]]).toEqual([x, want]);
  });
  expect([pow2ceil(NaN), pow2ceil(Infinity), pow2ceil(3), pow2ceil(0.25)]).toEqual([NaN, Infinity, 4, 0.25]);
});

test("e4m3 codes are exact and saturate; values come back", () => {
  const got = new Int32Array(apply(math.codeE4m3, all));
  all.forEach((x, i) => {
    if (got[i] !== e4m3Code(x)) expect([x, got[i]]).toEqual([x, e4m3Code(x)]);
  });
  const codes = Uint32Array.from({ length: 256 }, (_, i) => i);
  const values = new Float32Array(apply((_, x) => math.valueE4m3(x), new Float32Array(codes.buffer)));
  for (let c = 0; c < 256; c++) if ((c & 0x7f) !== 0x7f) expect(Object.is(values[c], e4m3Values[c])).toBe(true);
});
