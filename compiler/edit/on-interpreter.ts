// Trials of Triton texts without a GPU: Triton's own CPU interpreter, in a Python that has it (DSC_PYTHON, or python3). All launches of
// a trial are one process.
import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { evaluate } from "../../ir/size.ts";
import { variable } from "../../runtime/user-cache.ts";
import { notHere } from "../artifact/triton.ts";
import { interpreter } from "./host/triton-interpreter.ts";
import type { Fault, Machine } from "./machine.ts";

const exec = promisify(execFile);

const MOST_BYTES = 100e6;

/** Triton's interpreter of today makes scalars of arrays in a way that numpy 2.4 and later refuse. */
const probe = `${notHere}import triton, torch, numpy
major, minor = numpy.__version__.split(".")[:2]
print(triton.__version__ if (int(major), int(minor)) < (2, 4) else "")`;

export function interpreterHere(): Machine | undefined {
  const python = variable("DSC_PYTHON") ?? "python3";
  const { status, stdout } = spawnSync(python, ["-c", probe], { encoding: "utf8" });
  const version = status === 0 ? stdout.trim() : "";
  if (version === "") return undefined;
  return {
    on: "host",
    where: `the interpreter of Triton ${version}`,
    fits: (bytes) => bytes < MOST_BYTES,
    async run(trial, programOf): Promise<{ after: Uint8Array[]; fault?: Fault }> {
      const folder = mkdtempSync(path.join(tmpdir(), "dsc-triton-"));
      const files = trial.buffers.map((b, i) => {
        writeFileSync(path.join(folder, `${i}.bin`), b.data);
        return `${i}.bin`;
      });
      const jobs = trial.launches.map((l, i) => {
        const { record, text } = programOf(l.kernel);
        writeFileSync(path.join(folder, `k${i}.py`), text);
        return {
          name: record.entry,
          source: `k${i}.py`,
          grid: evaluate(record.launch!.grid[0], { ...Object.fromEntries(record.dims.map((d, j) => [d, l.dims[j]])), SMs: 1 }),
          dims: l.dims,
          buffers: l.binds.map((b) => ({ file: files[trial.buffers.indexOf(b)], dtype: b.dtype })),
        };
      });
      try {
        writeFileSync(path.join(folder, "jobs.json"), JSON.stringify(jobs));
        writeFileSync(path.join(folder, "run.py"), interpreter);
        let fault: Fault | undefined;
        await exec(python, ["run.py"], { cwd: folder, env: { ...process.env, TRITON_INTERPRET: "1" } }).catch(
          (e: { stderr?: string }) => {
            fault = { problem: `it ends in an error: ${(e.stderr ?? "").trim().split("\n").at(-1)}` };
          },
        );
        return { after: files.map((f) => new Uint8Array(readFileSync(path.join(folder, f)))), ...(fault ? { fault } : {}) };
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  };
}
