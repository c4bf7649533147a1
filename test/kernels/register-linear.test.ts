// Products that stream bf16 weights through registers, as the card runs them, on the host: rows of x further apart than they are long,
// rows of w that start anywhere, more rows of w than blocks share evenly.
import { afterAll, expect, test } from "vitest";
import { registerLinear } from "../../codegen/cuda/sm90/gemm/register-linear.ts";
import { registerSchedule, type Bf16Problem } from "../../codegen/cuda/sm90/gemm/register-schedule.ts";
import { bf16 } from "../../ir/numeric.ts";
import { draw, randomOf } from "./numbers.ts";
import { nativeOnHost, type Native } from "./native-on-host.ts";
import { lacks } from "../conditions.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const built: Native[] = [];
afterAll(() => built.forEach((n) => n.close()));

const halves = (v: ArrayLike<number>): Uint8Array =>
  new Uint8Array(Uint16Array.from(new Uint32Array(Float32Array.from(v).buffer), (w) => w >>> 16).buffer);
const numbers = (bytes: Uint8Array<ArrayBuffer>, type: "f32" | "bf16"): Float32Array =>
  type === "f32"
    ? new Float32Array(bytes.buffer)
    : new Float32Array(Uint32Array.from(new Uint16Array(bytes.buffer), (w) => w << 16).buffer);

const cases: readonly Bf16Problem[] = [
  { n: 50, k: 256, xStride: 264, yStride: 53, x: "bf16", y: "bf16" },
  { n: 40, k: 131, xStride: 150, yStride: 40, x: "bf16", y: "f32" },
  { n: 36, k: 96, xStride: 104, yStride: 36, x: "f32", y: "f32" },
];

test
  .skipIf(lacks("g++ 12"))
  .each(
    cases.flatMap((p) =>
      ([8, 16] as const).map(
        (tokens) => [`${p.n} x ${p.k} of ${p.x}, rows ${p.xStride} apart, ${tokens} at once`, p, tokens] as const,
      ),
    ),
  )("%s", (_, p, tokens) => {
  const random = randomOf(p.n + p.k);
  const native = nativeOnHost(registerLinear(p, registerSchedule(p, tokens, { ...h200, multiprocessors: 3 }), h200));
  built.push(native);
  for (const m of [1, tokens - 1]) {
    const [x, w] = [draw(random, m * p.xStride, p.x), draw(random, p.n * p.k, "bf16")];
    const wide = p.y === "f32" ? 4 : 2;
    const y = native.run(
      {
        x: p.x === "f32" ? new Uint8Array(Float32Array.from(x).buffer) : halves(x),
        w: halves(w),
        y: new Uint8Array(((m - 1) * p.yStride + p.n) * wide).fill(0xff),
      },
      { m },
      { SMs: 3 },
    );
    const got = numbers(y, p.y);
    for (let t = 0; t < m; t++)
      for (let i = 0; i < p.n; i++) {
        let [want, size] = [0, 0];
        for (let j = 0; j < p.k; j++) {
          want += x[t * p.xStride + j] * w[i * p.k + j];
          size += Math.abs(x[t * p.xStride + j] * w[i * p.k + j]);
        }
        const limit = p.y === "f32" ? size * 1e-6 : size * 1e-6 + Math.abs(want) * 2 ** -8;
        expect(
          Math.abs(got[t * p.yStride + i] - (p.y === "f32" ? want : bf16(want))),
          `row ${t}, column ${i}`,
        ).toBeLessThanOrEqual(limit);
      }
  }
});
