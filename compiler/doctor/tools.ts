// Compilers and interpreters of this machine that dsc starts.
import { spawnSync } from "node:child_process";
import { variable } from "../../runtime/user-cache.ts";
import { notHere } from "../artifact/triton.ts";
import { findCompiler } from "../export/c-compiler.ts";
import type { Probe, Seen } from "./probe.ts";

export const toolProbes: readonly Probe[] = [
  {
    part: "nvcc",
    looked: "the path, /usr/local/cuda/bin",
    needed: "compiling kernels where NVRTC is missing, and the checks of every CUDA kernel in npm test",
    look: nvcc,
  },
  {
    part: "C compiler",
    looked: "CC; cc, gcc, clang on the path",
    needed: "libraries of kernels: --target c, dsc export tvm",
    look: compiler,
  },
  {
    part: "Python with Triton",
    looked: "DSC_PYTHON; python3 on the path",
    needed: "--target triton ahead of time, and running printed Triton in npm test; never at run time",
    look: triton,
  },
];

function nvcc(): Seen {
  for (const name of ["nvcc", "/usr/local/cuda/bin/nvcc"]) {
    const run = spawnSync(name, ["--version"], { encoding: "utf8", timeout: 120_000 });
    if (run.status !== 0) continue;
    const version = /release ([\d.]+)/.exec(run.stdout)?.[1];
    return { good: true, found: version === undefined ? "there" : `release ${version}`, ...(version ? { version } : {}) };
  }
  return { good: false, found: "not on the path" };
}

function compiler(): Seen {
  const { command, version } = findCompiler();
  return { good: true, found: `${command.join(" ")}: ${version}`, version: /\d+\.\d+(\.\d+)?/.exec(version)?.[0] ?? version };
}

function triton(): Seen {
  const name = variable("DSC_PYTHON") ?? "python3";
  const run = spawnSync(
    name,
    ["-c", `${notHere}import triton, torch; print(sys.version.split()[0], triton.__version__, torch.__version__)`],
    { encoding: "utf8", timeout: 300_000 },
  );
  const [py, version, torch] = (run.stdout ?? "").trim().split(" ");
  if (run.status === 0) return { good: true, version, found: `${name}: Python ${py}, triton ${version}, torch ${torch}` };
  const why = run.error
    ? `${name} is not on the path`
    : `${name}: ${(run.stderr ?? "").trim().split("\n").at(-1) || "it does not answer"}`;
  return { good: false, found: `${why}; DSC_PYTHON names another` };
}
