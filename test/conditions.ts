// What a test may need that a machine may lack. A test that skips says so by `lacks`, which prints the reason once a file; run as a
// program this module prints all reasons that hold here, as CI does. Nothing else may decide about a skip (conditions.test.ts).
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { freemem } from "node:os";
import path from "node:path";
import { findChromium } from "./report/browser.ts";
import { thisProcessor } from "../compiler/driver/processor.ts";
import { findTvmCompiler, PINNED } from "../compiler/tvm/version.ts";
import { findCompiler } from "../compiler/export/c-compiler.ts";
import { hasOnnxruntime } from "../compiler/export/onnxruntime.ts";
import { findTvm } from "../runtime/tvm/find.ts";
import { about } from "../runtime/tvm/index.ts";
import { hasNvrtc } from "../runtime/devices/cuda/compiler.ts";
import { hasCompiler } from "./kernels/cuda-on-host.ts";
import { hasGpp } from "./kernels/native-on-host.ts";
import { findCuobjdump, hasNvcc, nvccKnows } from "./kernels/nvcc.ts";
import { findTriton } from "./kernels/triton-on-host.ts";

interface Condition {
  /** What does not run without it. */
  tests: string;
  /** Why this machine does not meet it, or nothing. */
  missing(): string | undefined;
}

function hasCCompiler(): boolean {
  try {
    findCompiler();
    return thisProcessor() !== undefined;
  } catch {
    return false;
  }
}

function hasTvm(): boolean {
  try {
    return about().path !== "";
  } catch {
    return false;
  }
}

/** Compilers before the one that builds dsc, installed by another name. */
export const olderCompilers = (): string[] =>
  ["5.4", "5.9", "6.0"]
    // From the sources, and from dist.
    .flatMap((v) => ["..", "../.."].map((up) => path.resolve(import.meta.dirname, up, `node_modules/typescript-${v}/bin/tsc`)))
    .filter((file) => existsSync(file));

const unless = (met: boolean, why: string): string | undefined => (met ? undefined : why);
const answers = (program: string, script: string): boolean => spawnSync(program, ["-c", script]).status === 0;
const memory = (gigabytes: number): string | undefined =>
  unless(freemem() > gigabytes * 1e9, `${(freemem() / 1e9).toFixed(1)} GB of memory are free now, ${gigabytes} GB are needed`);
const python = process.env.DSC_PYTHON ?? "python3";
// Not imported: that takes a second and more.
const pythonHasFfi = (): boolean => answers(python, "import tvm_ffi, numpy");
const pythonHasTvm = (): boolean => answers(python, "import importlib.util as u; u.find_spec('tvm') or 1/0");

export const conditions = {
  "C compiler": {
    tests: "kernels in C: --target c",
    missing: () => unless(hasCCompiler(), "no C compiler (CC, cc, gcc or clang), or a processor that C is not printed for"),
  },
  "g++": {
    tests: "printed CUDA, rows, routing and whole models on the stand-in for a GPU's driver",
    missing: () => unless(hasCompiler(), "no g++ on the path"),
  },
  "g++ 12": { tests: "native CUDA kernels on the host", missing: () => unless(hasGpp, "no g++ 12 or later for x64") },
  nvcc: { tests: "compiling CUDA kernels for sm_90a", missing: () => unless(hasNvcc, "no nvcc on the path") },
  "nvcc for sm_100": {
    tests: "compiling printed kernels for sm_100a",
    missing: () => unless(nvccKnows("sm_100"), "no nvcc on the path that lists sm_100 (CUDA 12.8 or later)"),
  },
  "nvcc or NVRTC": {
    tests: "cubins in an artifact",
    missing: () => unless(hasNvcc || hasNvrtc(), "neither nvcc nor NVRTC is there"),
  },
  cuobjdump: {
    tests: "reading the machine code of CUDA kernels",
    missing: () => unless(findCuobjdump() !== undefined, "no cuobjdump on the path, nor in a Triton (DSC_PYTHON names a Python)"),
  },
  triton: {
    tests: "running printed Triton in its interpreter, and compiling it",
    missing: () => unless(findTriton() !== undefined, "no Python with triton, torch and numpy below 2.4 (DSC_PYTHON names one)"),
  },
  torch: {
    tests: "refmodel.py beside the graph",
    missing: () =>
      unless(
        answers(python, "import torch, numpy; torch.float8_e4m3fn"),
        `${python} has no torch that knows float8 (DSC_PYTHON names another)`,
      ),
  },
  transformers: {
    tests: "whole small models beside transformers",
    missing: () =>
      unless(
        answers(python, "import torch, safetensors, transformers; from transformers import Glm4MoeLiteConfig"),
        `${python} has no torch and transformers 5 (DSC_PYTHON names another)`,
      ),
  },
  "tokenizer libraries": {
    tests: "ten thousand texts beside Python's tokenizers and tiktoken",
    missing: () =>
      unless(
        answers(python, "import tokenizers, tiktoken"),
        `${python} has no tokenizers and tiktoken (DSC_PYTHON names another)`,
      ),
  },
  "onnxruntime-node": {
    tests: "exported graphs in onnxruntime",
    missing: () =>
      unless(hasOnnxruntime(), "no onnxruntime-node (ONNXRUNTIME_NODE_INSTALL=skip npm install --no-save onnxruntime-node)"),
  },
  "no onnxruntime-node": {
    tests: "what is said where onnxruntime-node is not installed",
    missing: () => unless(!hasOnnxruntime(), "onnxruntime-node is installed"),
  },
  "onnx of Python": {
    tests: "exported graphs in onnx.checker",
    missing: () =>
      unless(
        answers(python, "import onnx; onnx.defs.onnx_opset_version() >= 23 or 1/0"),
        `${python} has no onnx with opset 23 (DSC_PYTHON names another)`,
      ),
  },
  "older compilers": {
    tests: "the package's types under TypeScript 5.4, 5.9 and 6.0",
    missing: () =>
      unless(
        olderCompilers().length === 3,
        "no typescript-5.4, -5.9 and -6.0 (npm install --no-save typescript-5.4@npm:typescript@5.4 and so on)",
      ),
  },
  "tvm-ffi": {
    tests: "calling libraries by tvm-ffi's ABI",
    missing: () => unless(hasTvm(), "no libtvm_ffi (pip install apache-tvm-ffi; DSC_TVM or DSC_PYTHON names it)"),
  },
  "tvm-ffi of Python": {
    tests: "exported kernels in C called over numpy's arrays",
    missing: () => unless(pythonHasFfi(), `${python} has no tvm_ffi and numpy (DSC_PYTHON names another)`),
  },
  TVM: {
    tests: "libraries and programs that TVM's own compiler makes",
    missing: () => unless(findTvm() !== undefined && pythonHasTvm(), "no Python with apache-tvm (DSC_PYTHON names one)"),
  },
  "TVM compiler": {
    tests: "kernels by TVM: --target tvm",
    missing: () =>
      unless(
        "libraries" in findTvmCompiler() && thisProcessor() !== undefined,
        `no TVM ${PINNED} with its compiler (DSC_TVM or DSC_PYTHON names one)`,
      ),
  },
  Chromium: {
    tests: "the page of dsc report in a real browser",
    missing: () => unless(findChromium() !== undefined, "no Chromium on the path (DSC_CHROMIUM names one)"),
  },
  POSIX: {
    tests: "what a FIFO in a model folder does",
    missing: () => unless(process.platform !== "win32", "Windows has no FIFOs"),
  },
  Linux: {
    tests: "FIFOs, devices and what the system refuses, through the command line",
    missing: () => unless(process.platform === "linux", "it needs /dev and limits as Linux has them"),
  },
  "pseudo-terminal": {
    tests: "a conversation in a terminal",
    missing: () => unless(answers("python3", "import os, pty; os.waitstatus_to_exitcode"), "no python3 with its pty module"),
  },
  fish: { tests: "completion in fish", missing: () => unless(!spawnSync("fish", ["--version"]).error, "no fish on the path") },
  "3 GB": { tests: "the printed model of 698,789,888 parameters", missing: () => memory(3) },
  "6 GB": {
    tests: "the refusal of a weight that no WebAssembly memory holds",
    missing: () => memory(6),
  },
  DSC_ALL: {
    tests: "the other dtype of every fixture on the stand-in for a GPU's driver; a weight of more than 4 GiB with kernels in C",
    missing: () => unless(!!process.env.DSC_ALL, "it doubles the time; DSC_ALL=1 runs both"),
  },
  "no GPU": {
    tests: "what a machine without a driver is told",
    missing: () => unless(!existsSync("/dev/nvidia0"), "there is a GPU"),
  },
} as const satisfies Record<string, Condition>;

const said = new Set<string>();

/** Whether any of these is not met; says which, once. */
export function lacks(...names: (keyof typeof conditions)[]): boolean {
  const missing = names.flatMap((n) => conditions[n].missing() ?? []);
  for (const why of missing)
    if (!said.has(why)) {
      said.add(why);
      console.log(`skipped: ${why}`);
    }
  return missing.length > 0;
}

if (process.argv[1] && path.resolve(process.argv[1]) === import.meta.filename)
  for (const { tests, missing } of Object.values(conditions)) {
    const why = missing();
    if (why) console.log(`skipped: ${tests} (${why})`);
  }
