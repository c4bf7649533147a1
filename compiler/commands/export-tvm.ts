// dsc export tvm OUT -o kernels.so: the kernels of an artifact in CUDA or C, each behind a function that Python, C++ and PyTorch call.
import { readFileSync } from "node:fs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { readArtifact } from "../../runtime/index.ts";
import { compileOptionOnArtifact, usage } from "../diagnostics.ts";
import { isArtifact } from "../export/graph.ts";
import { checkOut, writeFile } from "../export/out.ts";
import { exportTvm } from "../export/tvm.ts";
import { progressLine } from "../progress.ts";
import { size } from "../report/summary.ts";
import { typed } from "./effects.ts";

/** What is of a graph only. */
const graphOptions = [
  "after",
  "portable",
  "weights",
  "act-quant",
  "attention",
  "set",
  "layers",
  "shrink",
  "plugin",
  "pass-option",
];

/** A library of dsc has the function that lists what it has. */
const isExport = (file: string): boolean => readFileSync(file).includes("__tvm_ffi_dsc_kernels");

export async function exportKernels(
  src: string,
  out: string,
  { kernel, json }: { kernel: readonly string[]; json: boolean },
): Promise<void> {
  if (!isArtifact(src))
    throw new DiagnosticError(
      usage({
        problem: "kernels are exported of an artifact",
        help: `dsc compile ${src} --target cuda (or c) -o OUT, then dsc export tvm OUT`,
        word: src,
      }),
    );
  const given = typed(graphOptions);
  if (given.length) throw new DiagnosticError(compileOptionOnArtifact({ options: given.map((n) => `--${n}`) }));
  checkOut(out, isExport);
  const artifact = await readArtifact(src, (name) => name.startsWith("kernels/"));
  const progress = progressLine();
  try {
    const made = await exportTvm(src, artifact, kernel, (doing) => progress.show(doing));
    writeFile(out, made.bytes);
    const { bytes, ...facts } = made;
    const text = json
      ? JSON.stringify({ out, bytes: bytes.length, ...facts })
      : `${out}: ${size(bytes.length)}, ${made.kernels.length} functions for ${made.arch}, ` +
        "each with its arguments checked; module.get_function_doc(NAME) says what it takes";
    progress.end();
    process.stdout.write(`${text}\n`);
  } finally {
    progress.end();
  }
}
