// Runs tile programs as C, or by TVM, on this machine: all of them in one library, over one shared buffer, watched as in run-wasm.ts. Kernels are
// asked for first, so that the compiler runs once for a file of tests.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { libraryFiles } from "../../codegen/c/library.ts";
import { printC } from "../../codegen/c/print.ts";
import { cellsOf } from "../../codegen/cpu/indices.ts";
import { lowerToLoops } from "../../codegen/loops/lower.ts";
import type { LoopKernel } from "../../codegen/loops/ir.ts";
import type { Processor } from "../../codegen/loops/processor.ts";
import { scheduleOf } from "../../codegen/loops/schedule.ts";
import { lowerToTir } from "../../codegen/tir/lower.ts";
import { services } from "../../codegen/tir/services.ts";
import { fuses, targetFor } from "../../codegen/tir/target.ts";
import { nativeLibrary } from "../../compiler/artifact/native-library.ts";
import { thisProcessor } from "../../compiler/driver/processor.ts";
import { tvmLibrary } from "../../compiler/tvm/library.ts";
import type { KernelRecord } from "../../ir/artifact.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { NativeLibrary } from "../../runtime/devices/native/library.ts";
import type { Ready } from "./run-wasm.ts";

const buffer = new SharedArrayBuffer(96 << 20);
const memory: Ready["memory"] = {
  buffer,
  grow() {
    throw new RangeError("the buffer of run-c.ts is too small");
  },
} as never;

type Lowered = readonly { kernel: Kernel; loops: LoopKernel }[];

function inC(kernels: Lowered, processor: Processor): Uint8Array {
  const files = new Map<string, string>();
  const records: Record<string, KernelRecord> = {};
  for (const [i, { kernel, loops }] of kernels.entries()) {
    files.set(`kernels/k${i}.c`, printC(loops, []).toString());
    records[`k${i}`] = {
      text: "",
      entry: kernel.name,
      family: "",
      params: kernel.params.map((p) => ({ kind: "buffer", name: p.name, dtype: p.dtype, access: p.access })),
      dims: [...kernel.dims],
    };
  }
  for (const [name, text] of libraryFiles(records, processor)) files.set(name, text);
  return nativeLibrary(files, processor).bytes;
}

function byTvm(kernels: Lowered, processor: Processor): Uint8Array {
  const functions = kernels.map(({ kernel, loops }, i) => [`k${i}`, lowerToTir(loops, kernel, fuses(processor))] as const);
  return tvmLibrary({ services, target: targetFor(processor) }, functions).bytes;
}

const makers = { c: inC, tvm: byTvm };

/** Compiles kernels for a processor, this machine unless said; ready to be launched, in their order. */
export function instantiate(
  language: keyof typeof makers,
  kernels: readonly Kernel[],
  processor: Processor = thisProcessor()!,
): Ready[] {
  const schedule = scheduleOf(processor);
  const lowered = kernels.map((kernel) => ({ kernel, loops: lowerToLoops(kernel, schedule) }));
  const facts = lowered.map(({ kernel, loops: { scratchBytes } }) => {
    const grid = kernel.body[0];
    return { cells: grid.kind === "grid" ? cellsOf(grid.axes) : 1, scratchBytes };
  });
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-run-c-"));
  try {
    const file = path.join(folder, "library.so");
    writeFileSync(file, makers[language](lowered, processor));
    const library = new NativeLibrary(file);
    const base = library.addressOf(buffer);
    return kernels.map((kernel, i) => {
      const launch = library.launcher(`k${i}`);
      const run = (from: number, to: number, scratch: number, ...args: number[]): void =>
        launch(
          Float64Array.from(args, (a, n) => (n < kernel.params.length ? base + a : a)),
          0,
          from,
          to,
          base + scratch,
        );
      return { kernel, lowered: facts[i], memory, run, cornered: true };
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
