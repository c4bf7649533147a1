// Runs printed Triton kernels in Triton's own CPU interpreter, all in one Python process: start-up is most of its time.
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { interpreter } from "../../compiler/edit/host/triton-interpreter.ts";
import type { TritonText } from "../../codegen/triton/print.ts";
import type { HostBuffer } from "../../ir/kernel/interpret.ts";
import { evaluate } from "../../ir/size.ts";

/** Triton's interpreter of today makes scalars of arrays in a way that numpy 2.4 and later refuse. */
const probe = "import triton, torch, numpy, sys; sys.exit(tuple(map(int, numpy.__version__.split('.')[:2])) >= (2, 4))";

/** A python with triton, torch and a numpy that suits both: DSC_PYTHON, or python3. */
export function findTriton(): string | undefined {
  return [process.env.DSC_PYTHON, "python3"].find((p) => p && spawnSync(p, ["-c", probe]).status === 0);
}

export interface TritonLaunch {
  text: TritonText;
  buffers: Record<string, HostBuffer>;
  dims: Record<string, number>;
}

/** Runs each launch; buffers are overwritten with what the kernels leave. */
export function interpretTriton(python: string, launches: readonly TritonLaunch[]): void {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "dsc-triton-"));
  const bytes = (b: HostBuffer): Uint8Array => new Uint8Array(b.buffer, b.byteOffset, b.byteLength);
  try {
    const jobs = launches.map(({ text, buffers, dims }, i) => {
      fs.writeFileSync(path.join(dir, `k${i}.py`), text.source);
      return {
        name: text.name,
        source: `k${i}.py`,
        grid: evaluate(text.grid, dims),
        dims: text.dims.map((d) => dims[d]),
        buffers: text.params.flatMap((p) => {
          if (p.kind !== "buffer") return [];
          fs.writeFileSync(path.join(dir, `${i}.${p.name}`), bytes(buffers[p.name]));
          return [{ file: `${i}.${p.name}`, dtype: p.dtype }];
        }),
      };
    });
    fs.writeFileSync(path.join(dir, "jobs.json"), JSON.stringify(jobs));
    fs.writeFileSync(path.join(dir, "run.py"), interpreter);
    execFileSync(python, ["run.py"], {
      cwd: dir,
      env: { ...process.env, TRITON_INTERPRET: "1" },
      stdio: ["ignore", "ignore", "pipe"],
    });
    launches.forEach(({ buffers }, i) =>
      Object.entries(buffers).forEach(([name, b]) => bytes(b).set(fs.readFileSync(path.join(dir, `${i}.${name}`)))),
    );
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
}
