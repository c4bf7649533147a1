// Triton kernels to cubins, by the user's own Python (DSC_PYTHON, or python3) when its Triton is there. Each kernel is
// compiled once: cubins are kept in the user's cache under a digest of text, options and Triton's version. Without Triton the
// artifact holds sources only, with a warning; the runtime refuses to run those.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import type { Built } from "../../codegen/backend.ts";
import type { KernelRecord } from "../../ir/artifact.ts";
import { DiagnosticError, type Diagnostic } from "../../ir/diagnostic.ts";
import { writeWhole } from "../../runtime/files.ts";
import { sha256 } from "../../runtime/manifest-text.ts";
import { cacheFolder, variable } from "../../runtime/user-cache.ts";
import { noTriton, tritonFailed } from "../diagnostics.ts";

/** One kernel: `entry` is the function in `text`. */
export interface TritonJob {
  name: string;
  entry: string;
  text: string;
  aot: NonNullable<Built["aot"]>;
}

const worker = `
import importlib.util, json, os, re, sys
from concurrent.futures import ProcessPoolExecutor

def build(job):
    import triton
    from triton.compiler import ASTSource
    from triton.backends.compiler import GPUTarget
    try:
        spec = importlib.util.spec_from_file_location("m" + job["key"], job["key"] + ".py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        # Allocations of the runtime are aligned to 16 bytes and more.
        aligned = {(i,): [["tt.divisibility", 16]] for i, t in enumerate(job["signature"].values()) if t[0] == "*"}
        source = ASTSource(fn=getattr(module, job["entry"]), signature=job["signature"], constexprs={}, attrs=aligned)
        kernel = triton.compile(source, target=GPUTarget("cuda", job["capability"], 32), options=job["options"])
        entry = re.search(r"[.]visible [.]entry\\s+\\w+\\s*\\((.*?)\\)", kernel.asm["ptx"], re.S).group(1)
        if entry.count(".param") != len(job["signature"]) + 2 or kernel.metadata.global_scratch_size:
            return {"key": job["key"], "error": "unexpected parameters: " + entry}
        with open(job["key"] + ".cubin", "wb") as f:
            f.write(kernel.asm["cubin"])
        return {"key": job["key"], "shared": kernel.metadata.shared}
    except Exception as e:
        return {"key": job["key"], "error": type(e).__name__ + ": " + str(e)}

if __name__ == "__main__":
    jobs = json.load(open("jobs.json"))
    with ProcessPoolExecutor(int(sys.argv[1])) as pool:
        json.dump(list(pool.map(build, jobs)), open("done.json", "w"))
`;

/** Python looks for modules in the working directory first; where that is a model folder, its files would run as triton or torch. */
export const notHere = "import sys; sys.path[:] = [p for p in sys.path if p not in ('', '.')]; ";

/** "sm_90a" as Triton names it: 90. */
const numberOf = (arch: string): number => Number(/\d+/.exec(arch)![0]);

const python = (): string => variable("DSC_PYTHON") ?? "python3";

/** Triton's version in the user's Python, or undefined. Reads package metadata only: importing Triton takes a second. */
function tritonVersion(): string | undefined {
  const run = spawnSync(python(), ["-c", `${notHere}import importlib.metadata as m; print(m.version('triton'))`], {
    encoding: "utf8",
  });
  return run.status === 0 ? run.stdout.trim() : undefined;
}

/** Adds cubins to `files` and completes the records of `kernels`; gives warnings. Throws DSC6021 for a kernel Triton refuses. */
export function compileTriton(
  jobs: readonly TritonJob[],
  arch: string,
  kernels: Record<string, KernelRecord>,
  files: Map<string, string | Uint8Array>,
): Diagnostic[] {
  const version = tritonVersion();
  if (version === undefined) return [noTriton({ python: python() })];
  const store = path.join(cacheFolder(), "triton");
  const keyed = jobs.map((j) => ({
    ...j,
    capability: numberOf(arch),
    key: sha256(JSON.stringify([version, arch, j.entry, j.text, j.aot])).slice(0, 32),
  }));
  const fresh = keyed.filter((j) => !existsSync(path.join(store, `${j.key}.json`)));
  const built = fresh.length ? build(fresh, store) : new Map<string, Cubin>();
  for (const j of keyed) {
    const record = kernels[j.name];
    const { shared, cubin } = built.get(j.key) ?? stored(store, j.key);
    record.binary = `kernels/${j.name}.cubin`;
    record.launch = { ...record.launch!, sharedBytes: shared };
    files.set(record.binary, cubin);
  }
  return [];
}

/** A compiled kernel, and the bytes of shared memory it asks for. */
interface Cubin {
  cubin: Uint8Array;
  shared: number;
}

const stored = (store: string, key: string): Cubin => ({
  cubin: new Uint8Array(readFileSync(path.join(store, `${key}.cubin`))),
  ...(JSON.parse(readFileSync(path.join(store, `${key}.json`), "utf8")) as { shared: number }),
});

/** Compiles kernels, and keeps them where the store can be written: one that cannot costs time, not the compile. */
function build(jobs: readonly (TritonJob & { key: string; capability: number })[], store: string): Map<string, Cubin> {
  const work = mkdtempSync(path.join(tmpdir(), "dsc-triton-"));
  try {
    for (const j of jobs) writeFileSync(path.join(work, `${j.key}.py`), j.text);
    writeFileSync(
      path.join(work, "jobs.json"),
      JSON.stringify(jobs.map((j) => ({ key: j.key, entry: j.entry, capability: j.capability, ...j.aot }))),
    );
    writeFileSync(path.join(work, "build.py"), worker);
    const env = { ...process.env, TRITON_CACHE_DIR: path.join(work, "cache") };
    const run = spawnSync(python(), ["build.py", String(Math.max(1, Math.min(jobs.length, availableParallelism())))], {
      cwd: work,
      env,
      encoding: "utf8",
    });
    if (run.status !== 0)
      throw new DiagnosticError(tritonFailed({ kernel: "the kernels", log: run.stderr || (run.error?.message ?? "") }));
    const done = JSON.parse(readFileSync(path.join(work, "done.json"), "utf8")) as {
      key: string;
      shared?: number;
      error?: string;
    }[];
    const failed = done.find((d) => d.error !== undefined);
    if (failed)
      throw new DiagnosticError(tritonFailed({ kernel: jobs.find((j) => j.key === failed.key)!.name, log: failed.error! }));
    const built = new Map(
      done.map((d) => [d.key, { cubin: new Uint8Array(readFileSync(path.join(work, `${d.key}.cubin`))), shared: d.shared! }]),
    );
    try {
      mkdirSync(store, { recursive: true });
      for (const [key, { cubin, shared }] of built) {
        // The record moves last: who sees it finds the cubin.
        writeWhole(path.join(store, `${key}.cubin`), cubin);
        writeWhole(path.join(store, `${key}.json`), JSON.stringify({ shared }));
      }
    } catch {
      // Compiled again next time.
    }
    return built;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
