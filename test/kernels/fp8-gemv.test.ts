// The FP8 product of one to four rows, on the host: against float64, at sizes where tiles end inside blocks of scales and k is cut
// unevenly; with a norm before it, bit for bit what the norm alone and the product alone give; with a residual, the sum of both.
import { scheduleFor } from "../../codegen/cuda/select.ts";
import { afterAll, describe, expect, test } from "vitest";
import { gemv } from "../../codegen/cuda/sm90/gemm/fp8-gemv.ts";
import {
  gemvSchedulesOf,
  gemvIllegal,
  type GemvRowsProblem,
  type GemvShape,
} from "../../codegen/cuda/sm90/gemm/fp8-gemv-schedule.ts";
import { bf16, e4m3Values } from "../../ir/numeric.ts";
import { interpretKernel } from "../../ir/kernel/interpret.ts";
import { draw, drawScales, randomOf } from "./numbers.ts";
import { nativeOnHost, type Native } from "./native-on-host.ts";
import { buffersOf, kernelOf } from "./problems.ts";
import { lacks } from "../conditions.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const built = new Map<string, Native>();
afterAll(() => built.forEach((n) => n.close()));
const build = (p: GemvRowsProblem, s: GemvShape): Native => {
  const key = JSON.stringify([p, s]);
  if (!built.has(key)) built.set(key, nativeOnHost(gemv(p, s, h200)));
  return built.get(key)!;
};

const bytes = (a: ArrayBufferView): Uint8Array => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);
const halves = (v: ArrayLike<number>): Uint16Array =>
  Uint16Array.from(new Uint32Array(Float32Array.from(v, (x) => bf16(x)).buffer), (w) => w >>> 16);
const floats = (y: Uint8Array<ArrayBuffer>): Float32Array =>
  new Float32Array(Uint32Array.from(new Uint16Array(y.buffer), (w) => w << 16).buffer);
const someCodes = (random: () => number, n: number): Uint8Array =>
  Uint8Array.from({ length: n }, () => (Math.floor(random() * 40) + 36) | (random() < 0.5 ? 0x80 : 0));

const cases: readonly [string, GemvRowsProblem, GemvShape, number][] = [
  [
    "one row, rows of w that end inside a block of scales",
    { n: 200, k: 512, maxRows: 1 },
    { warpgroups: 1, rowsPerWarpgroup: 56, kGroups: 2, split: 1, stages: 2 },
    1,
  ],
  [
    "three of four rows, two teams, k cut in two parts of unequal length",
    { n: 136, k: 640, maxRows: 4 },
    { warpgroups: 2, rowsPerWarpgroup: 24, kGroups: 1, split: 2, stages: 3 },
    3,
  ],
  [
    "two rows, whole teams, k cut in four",
    { n: 64, k: 1024, maxRows: 2 },
    { warpgroups: 1, rowsPerWarpgroup: 64, kGroups: 2, split: 4, stages: 2 },
    2,
  ],
  [
    "one row, teams that end where blocks of scales do, and beyond the last row",
    { n: 312, k: 256, maxRows: 1 },
    { warpgroups: 3, rowsPerWarpgroup: 32, kGroups: 1, split: 1, stages: 2 },
    1,
  ],
  [
    "four rows, five teams over four blocks of scales",
    { n: 560, k: 256, maxRows: 4 },
    { warpgroups: 5, rowsPerWarpgroup: 56, kGroups: 1, split: 1, stages: 2 },
    4,
  ],
];

describe.skipIf(lacks("g++ 12")).each(cases)("%s", (_, p, s, m) => {
  const { n, k } = p;
  const random = randomOf(n + k);
  const w = someCodes(random, n * k);
  const w_scale = Float32Array.from(drawScales(random, Math.ceil(n / 128) * (k / 128)));
  const weight = (c: number, i: number): number =>
    e4m3Values[w[c * k + i]] * w_scale[Math.floor(c / 128) * (k / 128) + Math.floor(i / 128)];
  const y = new Uint8Array(2 * m * n).fill(0xff);
  const residual = halves(draw(random, m * n));
  const x = someCodes(random, m * k);
  const x_scale = Float32Array.from(drawScales(random, m * (k / 128)));
  const plain = (codes: Uint8Array, scales: Float32Array): Uint8Array<ArrayBuffer> =>
    build(p, s).run({ x: codes, w, x_scale: bytes(scales), w_scale: bytes(w_scale), y }, { m }, { SMs: 1 });

  test("the product", () => {
    const got = floats(plain(x, x_scale));
    let [error, norm] = [0, 0];
    for (let r = 0; r < m; r++)
      for (let c = 0; c < n; c++) {
        let want = 0;
        for (let i = 0; i < k; i++)
          want += e4m3Values[x[r * k + i]] * x_scale[r * (k / 128) + Math.floor(i / 128)] * weight(c, i);
        [error, norm] = [error + (got[r * n + c] - want) ** 2, norm + want ** 2];
      }
    expect(Math.sqrt(error / norm)).toBeLessThan(4e-3);
  });

  test("onto a residual", () => {
    const alone = floats(plain(x, x_scale));
    const before = floats(new Uint8Array(bytes(residual)));
    const got = build({ ...p, residual: true }, s).run(
      { x, w, x_scale: bytes(x_scale), w_scale: bytes(w_scale), residual: bytes(residual), y },
      { m },
      { SMs: 1 },
    );
    expect(floats(got)).toEqual(alone.map((v, i) => bf16(Math.fround(before[i] + v))));
  });

  test("of rows that are normalised and quantised on the way", () => {
    const ue8m0 = m === 2;
    const norm = { eps: 1e-6, gain: "bf16", xStride: k + 8, ue8m0 } as const;
    const kernel = kernelOf({
      family: "norm_quant",
      problem: { d: k, xStride: k + 8, yStride: 0, eps: 1e-6, gain: "bf16", act: "bf16", ue8m0 },
      dims: { m },
    });
    const rows = buffersOf(kernel, { m });
    interpretKernel(kernel, rows, { m });
    const want = plain(bytes(rows.codes as Uint8Array), rows.scales as Float32Array);
    const got = build({ ...p, norm }, s).run(
      { x: bytes(rows.x as Uint16Array), w, gain: bytes(rows.gain as Uint16Array), w_scale: bytes(w_scale), y },
      { m },
      { SMs: 1 },
    );
    expect(floats(want).every(Number.isFinite)).toBe(true);
    expect(got).toEqual(want);
  });
});

test("R1's matrices have a schedule, and every multiprocessor the same to read", () => {
  for (const [n, k] of [
    [2112, 7168],
    [24576, 1536],
    [7168, 16384],
    [36864, 7168],
    [7168, 18432],
  ] as const)
    for (const maxRows of [1, 2, 4] as const) {
      const s = scheduleFor(gemvSchedulesOf(maxRows), { n, k }, maxRows, h200);
      if ("reason" in s) throw new Error(s.reason);
      expect(gemvIllegal({ n, k, maxRows }, s, h200)).toBeNull();
      const blocks = Math.ceil(n / (s.warpgroups * s.rowsPerWarpgroup)) * s.split;
      expect(blocks / 132).toBeGreaterThan(0.96);
      expect(blocks).toBeLessThanOrEqual(132);
    }
});
