// Products of few rows through a ring, with what they take in: the kernels' own text run by g++ (compiler/edit/host). Rows are made bit
// for bit as the kernels make them that do nothing else, so a fused product differs from a plain one of such rows in no bit.
import { afterAll, describe, expect, test } from "vitest";
import { ringLinear } from "../../codegen/cuda/sm90/gemm/ring-linear.ts";
import { ringSchedule, illegalRing, type RingProblem, type RingSchedule } from "../../codegen/cuda/sm90/gemm/ring-schedule.ts";
import { bf16 } from "../../ir/numeric.ts";
import { interpretKernel, type HostBuffer } from "../../ir/kernel/interpret.ts";
import { families } from "../../codegen/kernels/index.ts";
import { draw, randomOf } from "./numbers.ts";
import { nativeOnHost } from "./native-on-host.ts";
import { lacks } from "../conditions.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const bits = (values: ArrayLike<number>): Uint8Array => {
  const f = Float32Array.from(values);
  return new Uint8Array(Uint16Array.from(new Uint32Array(f.buffer), (w) => w >>> 16).buffer);
};
const wordsOf = (values: ArrayLike<number>): Uint16Array => new Uint16Array(bits(values).buffer);
const numbersOf = (words: Uint16Array): Float32Array => new Float32Array(Uint32Array.from(words, (w) => w << 16).buffer);

/** The rows that the product multiplies: as the tile program of the norm or the gate leaves them. */
function rowsOf(p: RingProblem, x: Uint16Array, gain: Uint16Array, m: number): Float32Array {
  const y = new Uint16Array(m * p.k);
  if (!p.rows) {
    for (let r = 0; r < m; r++) y.set(x.subarray(r * p.xStride, r * p.xStride + p.k), r * p.k);
    return numbersOf(y);
  }
  const kernel =
    p.rows === "rms_norm"
      ? families.rms_norm.kernel({ d: p.k, xStride: p.xStride, yStride: p.k, eps: p.eps!, gain: "bf16", act: "bf16" })
      : families.gated_pair.kernel({ n: p.k, xStride: p.xStride, yStride: p.k, act: "bf16" });
  const buffers: Record<string, HostBuffer> = { x, gain, y };
  interpretKernel(kernel, buffers, { m });
  return numbersOf(y);
}

const close: (() => void)[] = [];
afterAll(() => close.forEach((c) => c()));

interface Case {
  /** Rows of w, columns, blocks. */
  n: number;
  k: number;
  blocks: number;
  rows?: RingProblem["rows"];
  add?: boolean;
  y?: "f32";
  x?: RingSchedule["x"];
  /** A smaller ring than there is room for: stages come round again. */
  kilobytes?: number;
}

const cases: readonly Case[] = [
  { n: 37, k: 256, blocks: 3, x: "staged" },
  { n: 37, k: 256, blocks: 3, x: "staged", add: true, kilobytes: 40 },
  { n: 50, k: 1088, blocks: 4, x: "resident", add: true },
  { n: 33, k: 384, blocks: 2, rows: "rms_norm" },
  { n: 40, k: 2304, blocks: 2, rows: "rms_norm", y: "f32", kilobytes: 60 },
  { n: 210, k: 512, blocks: 2, rows: "rms_norm", add: true },
  { n: 29, k: 64, blocks: 2, rows: "silu_mul", add: true },
  { n: 150, k: 1856, blocks: 2, rows: "silu_mul", add: true, kilobytes: 80 },
];

describe.skipIf(lacks("g++ 12"))("products of few rows with their neighbours inside", () => {
  test.each(cases.map((c) => [`${c.rows ?? c.x} ${c.n} x ${c.k}${c.add ? " + residual" : ""}`, c] as const))("%s", (_, c) => {
    const random = randomOf(c.n + c.k);
    const y = c.y ?? "bf16";
    const problem: RingProblem = {
      n: c.n,
      k: c.k,
      xStride: (c.rows === "silu_mul" ? 2 : 1) * c.k + 8,
      yStride: c.n + 3,
      x: "bf16",
      y,
      ...(c.rows ? { rows: c.rows } : {}),
      ...(c.rows === "rms_norm" ? { eps: 1e-6 } : {}),
      ...(c.add ? { residualStride: c.n + 1 } : {}),
    };
    for (const tokens of c.rows ? ([1, 2, 4] as const) : ([1, 4, 8, 16] as const)) {
      expect(illegalRing(problem, h200, tokens)).toBeNull();
      const s = ringSchedule(
        problem,
        tokens,
        { ...h200, multiprocessors: c.blocks, ...(c.kilobytes ? { ringBytes: c.kilobytes * 1024 } : {}) },
        c.x,
      );
      const native = nativeOnHost(ringLinear(problem, s, h200));
      close.push(native.close);
      // As few as came before, and as many as fit.
      for (const m of new Set([Math.floor(tokens / 2) + 1, tokens])) {
        const [x, w, gain, residual] = [m * problem.xStride, c.n * c.k, c.k, m * (c.n + 1)].map((count) =>
          wordsOf(draw(random, count, "bf16")),
        );
        const bytes = (a: Uint16Array): Uint8Array => new Uint8Array(a.buffer);
        const out = native.run(
          {
            x: bytes(x),
            w: bytes(w),
            gain: bytes(gain),
            residual: bytes(residual),
            y: new Uint8Array(m * problem.yStride * (y === "f32" ? 4 : 2)).fill(0xff),
          },
          { m },
          { SMs: c.blocks },
        );
        const got = y === "f32" ? new Float32Array(out.buffer) : numbersOf(new Uint16Array(out.buffer));
        const [rows, weights, added] = [rowsOf(problem, x, gain, m), numbersOf(w), numbersOf(residual)];
        let worst = 0;
        for (let r = 0; r < m; r++)
          for (let j = 0; j < c.n; j++) {
            let sum = 0;
            let size = 0;
            for (let i = 0; i < c.k; i++) {
              sum += rows[r * c.k + i] * weights[j * c.k + i];
              size += Math.abs(rows[r * c.k + i] * weights[j * c.k + i]);
            }
            // The order of the f32 sums is free; then both roundings are a function of the sum.
            const want = c.add ? bf16(bf16(sum) + added[r * (c.n + 1) + j]) : sum;
            const step = y === "f32" ? 0 : 2 ** -7 * (Math.abs(want) + Math.abs(sum));
            const apart = Math.abs(got[r * problem.yStride + j] - want) / (size * 2 ** -20 + step);
            worst = Number.isNaN(apart) ? Infinity : Math.max(worst, apart);
          }
        expect(worst, `${tokens} tokens, ${m} rows`).toBeLessThan(1);
      }
    }
  });

  test("a norm inside gives the bits of a norm before", () => {
    const random = randomOf(3);
    const [n, k, m] = [40, 1536, 3];
    const plain: RingProblem = { n, k, xStride: k, yStride: n, x: "bf16", y: "f32" };
    const fused: RingProblem = { ...plain, rows: "rms_norm", eps: 1e-6 };
    const limits = { ...h200, multiprocessors: 2 };
    const [x, w, gain] = [m * k, n * k, k].map((count) => wordsOf(draw(random, count, "bf16", 3)));
    const normed = wordsOf(rowsOf(fused, x, gain, m));
    const y = new Uint8Array(m * n * 4).fill(0xff);
    const bytes = (a: Uint16Array): Uint8Array => new Uint8Array(a.buffer);
    const [one, other] = [
      ringLinear(fused, ringSchedule(fused, 4, limits), h200),
      ringLinear(plain, ringSchedule(plain, 4, limits, "staged"), h200),
    ].map((text) => nativeOnHost(text));
    close.push(one.close, other.close);
    const inside = one.run({ x: bytes(x), w: bytes(w), gain: bytes(gain), y }, { m }, { SMs: 2 });
    const before = other.run({ x: bytes(normed), w: bytes(w), y }, { m }, { SMs: 2 });
    expect(Buffer.compare(inside, before)).toBe(0);
  });
});

test("what the ring form cannot run is said", () => {
  const p: RingProblem = { n: 64, k: 1600, xStride: 1600, yStride: 64, x: "bf16", y: "bf16", rows: "rms_norm", eps: 1e-6 };
  expect(illegalRing(p, h200)).toBe("1600 columns are no whole blocks of 128, by which norms add up");
  expect(illegalRing({ ...p, k: 7168, xStride: 7168 }, h200, 8)).toBe(
    "8 rows of 7168 columns leave too little of shared memory to the ring",
  );
});
