// Printed Triton kernels compiled ahead of time to cubins for sm_90, by the machine's own Python; Node then launches them like
// any other kernel. Triton's kernels take two scratch pointers after their arguments: here they are dims that are always 0.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { TritonText } from "../../codegen/triton/print.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";

const script = `
import importlib.util, json, re, sys
import triton
from triton.compiler import ASTSource
from triton.backends.compiler import GPUTarget
for job in json.load(open("jobs.json")):
    spec = importlib.util.spec_from_file_location(job["name"], job["source"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Allocations are aligned to 16 bytes and more.
    aligned = {(i,): [["tt.divisibility", 16]] for i, t in enumerate(job["signature"].values()) if t[0] == "*"}
    source = ASTSource(fn=getattr(module, job["name"]), signature=job["signature"], constexprs={}, attrs=aligned)
    kernel = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=job["options"])
    entry = re.search(r"[.]visible [.]entry\\s+\\w+\\s*\\((.*?)\\)", kernel.asm["ptx"], re.S).group(1)
    if entry.count(".param") != len(job["signature"]) + 2 or kernel.metadata.global_scratch_size:
        sys.exit("unexpected parameters: " + entry)
    open(job["out"], "wb").write(kernel.asm["cubin"])
    json.dump({"shared": kernel.metadata.shared, "triton": triton.__version__}, open(job["out"] + ".json", "w"))
`;

export interface TritonCubin {
  cubin: Uint8Array;
  /** What the launcher needs; pass 0 for the two scratch dims (`SCRATCH`). */
  text: KernelText;
  /** Version of the Triton that compiled it. */
  triton: string;
}

/** Values of the two extra dims of every compiled Triton kernel. */
export const SCRATCH = { global_scratch: 0, profile_scratch: 0 } as const;

/** Compiles with DSC_PYTHON, or python3; throws what Python says. */
export function compileTriton(texts: readonly TritonText[]): TritonCubin[] {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "dsc-triton-"));
  try {
    const jobs = texts.map((t, i) => {
      fs.writeFileSync(path.join(dir, `k${i}.py`), t.source);
      return { name: t.name, source: `k${i}.py`, signature: t.signature, options: t.options, out: `k${i}.cubin` };
    });
    fs.writeFileSync(path.join(dir, "jobs.json"), JSON.stringify(jobs));
    fs.writeFileSync(path.join(dir, "compile.py"), script);
    execFileSync(process.env.DSC_PYTHON ?? "python3", ["compile.py"], {
      cwd: dir,
      env: { ...process.env, TRITON_CACHE_DIR: path.join(dir, "cache") },
      stdio: ["ignore", "ignore", "pipe"],
    });
    return texts.map((t, i) => {
      const meta = JSON.parse(fs.readFileSync(path.join(dir, `k${i}.cubin.json`), "utf8")) as { shared: number; triton: string };
      return {
        cubin: new Uint8Array(fs.readFileSync(path.join(dir, `k${i}.cubin`))),
        triton: meta.triton,
        text: {
          name: t.name,
          language: "triton",
          source: t.source,
          params: t.params,
          dims: [...t.dims, ...Object.keys(SCRATCH)],
          launch: { grid: [t.grid, 1, 1], block: 32 * t.options.num_warps, sharedBytes: meta.shared },
        },
      };
    });
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
}
