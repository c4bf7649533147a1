// A norm and the product of its row with a small matrix, run on the host: the row has the bits of the norm alone, the product is the op's.
import { expect, test } from "vitest";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { normLinear, normLinearNative } from "../../codegen/cuda/sm90/rows/norm-linear.ts";
import { normRows, normRowsProblem } from "../../codegen/cuda/sm90/rows/norm-rows.ts";
import { lacks } from "../conditions.ts";
import { nativeOnHost } from "./native-on-host.ts";
import { refer, tensor } from "./families/cases.ts";
import { close, draw, randomOf } from "./numbers.ts";

const bits = (v: ArrayLike<number>): Uint8Array<ArrayBuffer> =>
  new Uint8Array(Uint16Array.from(new Uint32Array(Float32Array.from(v).buffer), (w) => w >>> 16).buffer);

test.skipIf(lacks("g++ 12")).each([
  [5, 256, 256, 1],
  [64, 512, 520, 3],
  [33, 1024, 1024, 2],
])("%i rows of %i columns, x %i apart, %i tokens", (n, k, xStride, m) => {
  const random = randomOf(61);
  const [x, w, gain] = [draw(random, m * xStride, "bf16"), draw(random, n * k, "bf16"), draw(random, k, "bf16")];
  const given = {
    x: bits(x),
    w: bits(w),
    gain: bits(gain),
    z: new Uint8Array(2 * m * k).fill(0xff),
    y: new Uint8Array(4 * m * n).fill(0xff),
  };
  const native = nativeOnHost(normLinear({ n, k, xStride, eps: 1e-6 }));
  const y = new Float32Array(native.run(given, { m }, { SMs: 132 }).buffer);
  const z = native.left("z");
  native.close();
  const norm = nativeOnHost(
    normRows(normRowsProblem("rms_norm", { d: k, eps: 1e-6, gain: "bf16", act: "bf16", xStride, yStride: k })),
  );
  expect(z).toEqual(norm.run({ x: given.x, gain: given.gain, y: given.z }, { m }, { SMs: 132 }));
  norm.close();
  const rows = Float64Array.from({ length: m * k }, (_, i) => x[Math.floor(i / k) * xStride + (i % k)]);
  const want = refer(
    "norm_linear_both",
    { x: tensor([m, k], rows), w: tensor([n, k], w), gain: tensor([k], gain) },
    { dtype: "f32" },
  );
  const size = Array.from({ length: m * n }, (_, i) =>
    want.z.data
      .slice(Math.floor(i / n) * k, (Math.floor(i / n) + 1) * k)
      .reduce((a, v, j) => a + Math.abs(v * w[(i % n) * k + j]), 0),
  );
  close(y, want.y.data, "logits", 4e-3, size);
});

test("other matrices are left to the norm and the product", () => {
  const illegal = (p: Partial<Parameters<typeof normLinear>[0]>): string | null =>
    normLinearNative.schedules.illegal(
      { n: 64, k: 2048, xStride: 2048, eps: 1e-6, ...p },
      { form: "warp-per-row", warps: 4 },
      h200,
    );
  expect(illegal({})).toBeNull();
  expect(illegal({ k: 7168 })).toMatch(/7168 columns/);
  expect(illegal({ k: 2056 })).toMatch(/2056 columns/);
  expect(illegal({ n: 4096 })).toMatch(/4096 rows/);
  expect(illegal({ xStride: 2050 })).toMatch(/2050 bf16 apart/);
});
