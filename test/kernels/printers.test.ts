// The interpreter of tile programs against the CPU lowering.
import { expect, test } from "vitest";
import { families } from "../../codegen/kernels/index.ts";
import { interpretKernel, type HostBuffer } from "../../ir/kernel/interpret.ts";
import { runOnCpu } from "./on-cpu.ts";
import { buffersOf, cases, kernelOf } from "./problems.ts";

const clone = <T extends Record<string, { slice(): unknown }>>(b: T): T => Object.fromEntries(Object.entries(b).map(([k, v]) => [k, v.slice()])) as T;

/** Largest difference, relative to the largest value; codes may be one apart where exp differs in its last bit. */
function worst(x: HostBuffer, y: HostBuffer, codes: boolean): number {
  let [apart, size] = [0, 1];
  for (let i = 0; i < x.length; i++) {
    apart = Math.max(apart, Math.abs(x[i] - y[i]));
    size = Math.max(size, Math.abs(y[i]));
  }
  return codes ? Math.max(0, apart - 1) : apart / size;
}

test.each([7168, 128, 130, 1, 576].flatMap((d) => [false, true].map((ue8m0) => ({ d, ue8m0 }))))("norm_quant d $d ue8m0 $ue8m0: interpreter and WebAssembly agree in every bit", ({ d, ue8m0 }) => {
  const kernel = families.norm_quant({ d, xStride: d, yStride: 0, eps: 1e-6, gain: d % 2 ? "f32" : "bf16", ue8m0 });
  const dims = { m: 5 };
  const a = buffersOf(kernel, dims, {}, d + 17);
  (a.x as Float32Array).fill(0, d, 2 * d);
  const b = clone(a);
  interpretKernel(kernel, a, dims);
  runOnCpu(kernel, b, dims);
  expect(Buffer.compare(Buffer.from(a.codes.buffer), Buffer.from(b.codes.buffer))).toBe(0);
  expect(Buffer.compare(Buffer.from(a.scales.buffer), Buffer.from(b.scales.buffer))).toBe(0);
});

test.each(cases)("$family: interpreter and WebAssembly agree", (c) => {
  const kernel = kernelOf(c);
  const a = buffersOf(kernel, { ...c.dims, ...c.extents }, c.ints);
  const b = clone(a);
  interpretKernel(kernel, a, c.dims);
  runOnCpu(kernel, b, c.dims);
  for (const p of kernel.params.filter((p) => p.access !== "in")) {
    const [x, y] = [a[p.name], b[p.name]];
    expect(worst(x, y, p.dtype === "e4m3"), p.name).toBeLessThan(1e-5);
  }
});
