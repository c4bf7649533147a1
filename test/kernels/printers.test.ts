// The interpreter of tile programs against the CPU lowering, and printed CUDA and Triton against the interpreter.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { printCuda } from "../../codegen/cuda/printed/print.ts";
import { printTriton } from "../../codegen/triton/print.ts";
import { families } from "../../codegen/kernels/index.ts";
import { interpretKernel, type HostBuffer } from "../../ir/kernel/interpret.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { runOnHost } from "./cuda-on-host.ts";
import { runOnCpu } from "./on-cpu.ts";
import { buffersOf, cases, kernelOf, narrow, type Case } from "./problems.ts";
import { findTriton, interpretTriton } from "./triton-on-host.ts";
import { lacks } from "../conditions.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const clone = <T extends Record<string, { slice(): unknown }>>(b: T): T =>
  Object.fromEntries(Object.entries(b).map(([k, v]) => [k, v.slice()])) as T;

/** Sign and magnitude bits as a number on one line, where both zeros are 0. */
const ordered = (bits: number): number => (bits & 0x8000 ? -(bits & 0x7fff) : bits);

/** Largest difference, relative to the largest value; codes may be one apart where exp differs in its last bit. */
function worst(x: HostBuffer, y: HostBuffer, codes: boolean): number {
  let [apart, size] = [0, 1];
  const at = x instanceof Uint16Array ? ordered : (v: number): number => v;
  for (let i = 0; i < x.length; i++) {
    apart = Math.max(apart, Math.abs(at(x[i]) - at(y[i])));
    size = Math.max(size, Math.abs(y[i]));
  }
  return codes ? Math.max(0, apart - 1) : apart / size;
}

test.each([7168, 128, 130, 1, 576].flatMap((d) => [false, true].map((ue8m0) => ({ d, ue8m0 }))))(
  "norm_quant d $d ue8m0 $ue8m0: interpreter and WebAssembly agree in every bit",
  ({ d, ue8m0 }) => {
    const kernel = families.norm_quant.kernel({ d, xStride: d, yStride: 0, eps: 1e-6, gain: d % 2 ? "f32" : "bf16", ue8m0 });
    const dims = { m: 5 };
    const a = buffersOf(kernel, dims, {}, d + 17);
    (a.x as Float32Array).fill(0, d, 2 * d);
    const b = clone(a);
    interpretKernel(kernel, a, dims);
    runOnCpu(kernel, b, dims);
    expect(Buffer.compare(Buffer.from(a.codes.buffer), Buffer.from(b.codes.buffer))).toBe(0);
    expect(Buffer.compare(Buffer.from(a.scales.buffer), Buffer.from(b.scales.buffer))).toBe(0);
  },
);

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

/** Families without exp or a product of many terms: their results are equal in every bit. */
const exact = new Set<string>([
  "embed",
  "rms_norm",
  "norm_quant",
  "quantize",
  "dequantize_rows",
  "dequantize_blocks",
  "add_bias",
  "rope",
  "cache_append",
  "rope_append",
  "cache_rows",
  "sort_experts",
  "gather_rows",
  "combine",
  "last_rows",
  "copy",
]);

/** Every case with buffers to run on and what the interpreter makes of them. */
const expected = [...cases, ...narrow].map((c) => {
  const tile = kernelOf(c);
  const want = buffersOf(tile, { ...c.dims, ...c.extents }, c.ints);
  const buffers = clone(want);
  interpretKernel(tile, want, c.dims);
  return { c, tile, want, buffers, dims: c.dims };
});

function compare(
  { c, tile, want }: { c: Case; tile: Kernel; want: Record<string, HostBuffer> },
  got: Record<string, HostBuffer>,
  truncates = false,
): void {
  const outs = tile.params.filter((p) => p.access !== "in");
  // One cut result is read again and moves the others.
  const cut = truncates && outs.some((p) => p.dtype === "bf16");
  for (const p of outs) {
    const far = worst(want[p.name], got[p.name], (p.dtype === "e4m3" || p.dtype === "bf16") && (!exact.has(c.family) || cut));
    expect(far, `${tile.name} ${p.name}`).toBeLessThanOrEqual(
      cut ? (p.dtype === "f32" ? 1e-2 : 2) : exact.has(c.family) ? 0 : 2e-6,
    );
  }
}

test.skipIf(lacks("g++")).each([false, true])(
  "printed CUDA computes what the interpreter does; threads backwards: %s",
  (backwards) => {
    const runs = expected.map((e) => ({ ...e, kernel: printCuda(e.tile, h200), buffers: clone(e.buffers) }));
    runOnHost(runs, backwards);
    for (const r of runs) compare(r, r.buffers);
  },
);

const python = findTriton();
test.skipIf(lacks("triton"))("printed Triton computes what the interpreter does", () => {
  const runs = expected.map((e) => ({ ...e, text: printTriton(e.tile), buffers: clone(e.buffers) }));
  interpretTriton(python!, runs);
  // The interpreter narrows f32 to bf16 by cutting bits off; compiled kernels round.
  for (const r of runs) compare(r, r.buffers, true);
});

test.skipIf(lacks("nvcc"))("nvcc compiles every family for sm_90a", () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "dsc-nvcc-"));
  // One file, a namespace a kernel: nvcc's start-up is most of its time.
  const text = cases
    .map((c, i) => `namespace k${i} {\n${printCuda(kernelOf(c), h200).source.replace('extern "C" ', "")}}\n`)
    .join("");
  fs.writeFileSync(path.join(dir, "all.cu"), text);
  try {
    execFileSync(
      "nvcc",
      ["-cubin", "-gencode=arch=compute_90a,code=sm_90a", "-Werror", "all-warnings", "-o", "all.cubin", "all.cu"],
      { cwd: dir, stdio: ["ignore", "pipe", "pipe"] },
    );
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
});
