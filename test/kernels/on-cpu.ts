// Runs a tile program as WebAssembly in this process: the CPU target's own lowering on plain typed arrays.
import { lowerToWasm } from "../../codegen/cpu/lower.ts";
import type { HostBuffer } from "../../ir/kernel/interpret.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { evaluate } from "../../ir/size.ts";

const align = (n: number): number => Math.ceil(n / 64) * 64;

/** Lowers, runs every cell, and copies the buffers back in place. */
export function runOnCpu(kernel: Kernel, buffers: Record<string, HostBuffer>, dims: Record<string, number>): void {
  const { wasm, cells, scratchBytes } = lowerToWasm(kernel);
  const at: number[] = [];
  let end = 64;
  for (const p of kernel.params) {
    at.push(end);
    end = align(end + buffers[p.name].byteLength + 64);
  }
  const pages = Math.ceil((end + scratchBytes) / 65536) + 1;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const bytes = (i: number): Uint8Array => new Uint8Array(memory.buffer, at[i], buffers[kernel.params[i].name].byteLength);
  const own = (i: number): Uint8Array => {
    const b = buffers[kernel.params[i].name];
    return new Uint8Array(b.buffer, b.byteOffset, b.byteLength);
  };
  kernel.params.forEach((_, i) => bytes(i).set(own(i)));
  const run = new WebAssembly.Instance(new WebAssembly.Module(wasm as BufferSource), { env: { memory } }).exports.run as (
    ...x: number[]
  ) => void;
  run(0, evaluate(cells, dims), end, ...at, ...kernel.dims.map((d) => dims[d]));
  kernel.params.forEach((_, i) => own(i).set(bytes(i)));
}
