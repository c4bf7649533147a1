// The query's launch on the host: the rotated query and the appended row are the tile programs' bit for bit, the product is bf16's rounding
// away from float64.
import { afterAll, expect, test } from "vitest";
import { mlaQuery, mlaQueryNative } from "../../codegen/cuda/sm90/attention/mla-query.ts";
import type { MlaQueryProblem } from "../../codegen/cuda/sm90/attention/mla-query-problem.ts";
import { families } from "../../codegen/kernels/index.ts";
import { interpretKernel } from "../../ir/kernel/interpret.ts";
import type { Problem, Site } from "../../ir/kernel/catalogue.ts";
import { nativeOnHost, type Native } from "./native-on-host.ts";
import { randomOf } from "./numbers.ts";
import { lacks } from "../conditions.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const built: Native[] = [];
afterAll(() => built.forEach((n) => n.close()));

const [T, P, heads, n, k, d, r] = [3, 2, 4, 64, 32, 16, 512];
const [token, head] = [heads * (k + d), k + d];
const problem: MlaQueryProblem = {
  batch: heads,
  n,
  k,
  a: [head, token, 1],
  b: [2 * k * n, 1, n],
  y: [n, heads * n, 1],
  x: "bf16",
  yType: "bf16",
  d,
  xStrides: [token, head],
  maxPositions: 200,
  r,
  cStride: r + d,
  krStride: r + d,
  gain: "bf16",
  eps: 1e-6,
  pageRows: 64,
};

const word = new Float32Array(1);
const bits = new Uint32Array(word.buffer);
const fromBf16 = (code: number): number => {
  bits[0] = code << 16;
  return word[0];
};
/** Cut, not rounded: the values are random anyway. */
const toBf16 = (v: number): number => {
  word[0] = v;
  return bits[0] >>> 16;
};

const bytes = (a: ArrayBufferView): Uint8Array => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

test.skipIf(lacks("g++ 12"))("a launch rotates the query, appends the row and multiplies", () => {
  const random = randomOf(5);
  const draw = (count: number): Uint16Array => Uint16Array.from({ length: count }, () => toBf16(random() * 2 - 1));
  const q = draw(T * token);
  const latents = draw(T * (r + d));
  const tables = {
    table: Float32Array.from({ length: 200 * d }, () => random() * 2 - 1),
    positions: Int32Array.of(70, 3, 127),
    sequence: Int32Array.of(0, 1, 1),
    pages: Int32Array.of(2, 0, 3, 1),
  };
  const w = draw(heads * 2 * k * n);
  const buffers = {
    qc: q,
    qr: q.slice(k),
    w_uk: w,
    ql: new Uint16Array(T * heads * n),
    qp: new Uint16Array(T * heads * d),
    cache: draw(4 * 64 * (r + d)),
    c: latents,
    kr: latents.slice(r),
    gain: draw(r),
    ...tables,
  };
  const want = { qp: new Uint16Array(T * heads * d), cache: buffers.cache.slice() };
  const rotation = { heads, d, xStrides: [token, head], interleaved: true, maxPositions: 200, act: "bf16" } as unknown as Problem;
  interpretKernel(families.rope.kernel(rotation), { x: buffers.qr, ...tables, y: want.qp }, { T });
  const append = {
    r,
    d,
    pageRows: 64,
    cStride: r + d,
    krStride: r + d,
    gain: "bf16",
    eps: 1e-6,
    interleaved: true,
    maxPositions: 200,
    act: "bf16",
  } as Problem;
  interpretKernel(
    families.rope_append.kernel(append),
    { cache: want.cache, c: buffers.c, kr: buffers.kr, gain: buffers.gain, ...tables },
    { T, P },
  );
  const native = nativeOnHost(mlaQuery(problem, h200));
  built.push(native);
  native.run(Object.fromEntries(Object.entries(buffers).map(([name, values]) => [name, bytes(values)])), { T, P }, { SMs: 1 });
  expect(native.left("qp")).toEqual(bytes(want.qp));
  expect(native.left("cache")).toEqual(bytes(want.cache));
  const ql = new Uint16Array(native.left("ql").buffer);
  for (let t = 0; t < T; t++)
    for (let h = 0; h < heads; h++)
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let i = 0; i < k; i++) sum += fromBf16(q[t * token + h * head + i]) * fromBf16(w[(h * 2 * k + i) * n + j]);
        expect(Math.abs(fromBf16(ql[(t * heads + h) * n + j]) - sum), `ql[${t}, ${h}, ${j}]`).toBeLessThan(
          0.01 * Math.max(1, Math.abs(sum)),
        );
      }
});

test("what the launch does not take goes in parts", () => {
  const view = (shape: (number | string)[], strides: (number | string)[], dtype: "bf16" | "f32" = "bf16") =>
    ({ dtype, shape, strides }) as Site["ins"][0];
  const site = (lanes: number, interleaved: boolean): Site => ({
    op: "mla_query",
    attrs: { eps: 1e-6, interleaved },
    caches: [{ name: "latent", width: lanes + d, pageRows: 64 }],
    ins: [
      view(["T", heads, k], [token, head, 1]),
      view([heads, k, n], [2 * k * n, n, 1]),
      view(["T", heads, d], [token, head, 1]),
      view(["T", lanes], [lanes + d, 1]),
      view(["T", d], [lanes + d, 1]),
      view([lanes], [1]),
      view([200, d], [d, 1], "f32"),
    ],
    outs: [view(["T", heads, n], [heads * n, n, 1]), view(["T", heads, d], [heads * d, d, 1])],
  });
  expect(mlaQueryNative.match(site(512, true), h200)).toMatchObject({ rows: "T", dims: ["T", "P"] });
  expect(mlaQueryNative.match(site(640, true), h200)).toEqual({ reason: "a latent row is no multiple of 512 lanes" });
  expect(mlaQueryNative.match(site(512, false), h200)).toEqual({ reason: "pairs are not side by side" });
});
