// The einsums of absorbed attention as the card runs them, on the host: the form that ends in codes gives those of quantize, bit for
// bit, on what the form that writes rows wrote.
import { afterAll, expect, test } from "vitest";
import { bmmKernel, bmmSchedule, type BmmProblem, type BmmSchedule } from "../../codegen/cuda/sm90/gemm/bmm.ts";
import { bf16, e4m3Code, quantizeRow } from "../../ir/numeric.ts";
import { draw, randomOf } from "./numbers.ts";
import { nativeOnHost, type Native } from "./native-on-host.ts";
import { lacks } from "../conditions.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const built: Native[] = [];
afterAll(() => built.forEach((n) => n.close()));
const build = (p: BmmProblem): Native => {
  built.push(nativeOnHost(bmmKernel(p, bmmSchedule(p) as BmmSchedule, h200)));
  return built[built.length - 1];
};

const halves = (v: ArrayLike<number>): Uint16Array =>
  Uint16Array.from(new Uint32Array(Float32Array.from(v, (x) => bf16(x)).buffer), (w) => w >>> 16);
const bytes = (a: ArrayBufferView): Uint8Array => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

/** Heads, values of a head, latents; rows of x lie apart, weights of a head behind others. */
test.skipIf(lacks("g++ 12")).each([
  [2, 128, 512, "f32"],
  [3, 256, 256, "ue8m0"],
  [2, 128, 96, "f32"],
] as const)("%i heads of %i columns from %i: codes and scales of the rows that would be written", (h, v, r, scale) => {
  const random = randomOf(h * v + r);
  const rows: BmmProblem = {
    batch: h,
    n: v,
    k: r,
    a: [r, h * r + 8, 1],
    b: [2 * v * r, r, 1],
    y: [v, h * v, 1],
    x: "bf16",
    yType: "bf16",
  };
  const [plain, quantised] = [build(rows), build({ ...rows, scale })];
  const b = bytes(halves(draw(random, 2 * h * v * r)));
  for (const m of [1, 8, 19]) {
    const x = draw(random, m * (h * r + 8));
    // A token of zeros, whose scale is the least there is, and one of large values.
    for (let i = 0; i < h * r; i++) x[i] *= m > 1 ? 0 : 1;
    for (let i = 0; i < h * r; i++) x[(m - 1) * (h * r + 8) + i] *= 1000;
    const a = bytes(halves(x));
    const y = plain.run({ a, b, y: new Uint8Array(m * h * v * 2).fill(0xff) }, { m }, { SMs: 1, launches: 1 });
    const row = new Float32Array(Uint32Array.from(new Uint16Array(y.buffer), (w) => w << 16).buffer);
    expect(row.every(Number.isFinite)).toBe(true);
    const [codes, scales] = [new Float64Array(m * h * v), new Float64Array((m * h * v) / 128)];
    for (let i = 0; i < m; i++)
      quantizeRow(Float64Array.from(row), i * h * v, h * v, scale === "ue8m0", codes, i * h * v, scales, (i * h * v) / 128);
    const got = quantised.run(
      { a, b, codes: new Uint8Array(m * h * v).fill(0x7f), scales: new Uint8Array((m * h * v) / 32).fill(0xff) },
      { m },
      { SMs: 1, launches: 1 },
    );
    expect(new Float32Array(got.buffer)).toEqual(Float32Array.from(scales));
    expect(quantised.left("codes")).toEqual(Uint8Array.from(codes, e4m3Code));
  }
});

test("only whole scale blocks of rows as stored end in codes", () => {
  const p: BmmProblem = {
    batch: 2,
    n: 64,
    k: 256,
    a: [256, 512, 1],
    b: [64 * 256, 256, 1],
    y: [64, 128, 1],
    x: "bf16",
    yType: "bf16",
    scale: "f32",
  };
  expect(bmmSchedule(p)).toMatch(/no whole scale blocks/);
  expect(bmmSchedule({ ...p, n: 128, k: 64, a: [64, 128, 1], b: [128 * 64, 1, 128] })).toMatch(/no end in codes/);
});

/** Heads, latents, lanes of a head: R1's, GLM-4.7-Flash's, and one step of what fits; weights of a head in front of others. */
test.skipIf(lacks("g++ 12")).each([
  [2, 64, 128],
  [3, 128, 192],
  [2, 64, 160],
])("%i heads of %i columns from %i, w by columns: what float64 gives", (h, r, v) => {
  const random = randomOf(h * r + v);
  const native = build({
    batch: h,
    n: r,
    k: v,
    a: [v + 64, h * (v + 64), 1],
    b: [2 * v * r, 1, r],
    y: [r, h * r, 1],
    x: "bf16",
    yType: "bf16",
  });
  const w = draw(random, 2 * h * v * r, "bf16");
  for (const m of [1, 8, 19]) {
    const x = draw(random, m * h * (v + 64), "bf16");
    const y = native.run(
      { a: bytes(halves(x)), b: bytes(halves(w)), y: new Uint8Array(m * h * r * 2).fill(0xff) },
      { m },
      { SMs: 1, launches: 1 },
    );
    const got = new Float32Array(Uint32Array.from(new Uint16Array(y.buffer), (word) => word << 16).buffer);
    let [wrong, norm] = [0, 0];
    for (let i = 0; i < m; i++)
      for (let z = 0; z < h; z++)
        for (let j = 0; j < r; j++) {
          let sum = 0;
          for (let p = 0; p < v; p++) sum += x[(i * h + z) * (v + 64) + p] * w[z * 2 * v * r + p * r + j];
          [wrong, norm] = [wrong + (got[(i * h + z) * r + j] - sum) ** 2, norm + sum ** 2];
        }
    expect(Math.sqrt(wrong / norm)).toBeLessThan(4e-3);
  }
});
