// nvcc and cuobjdump as the tests use them: many kernels in one call, what ptxas said of each, and the machine code of one.
// Everything happens in folders that vanish afterwards.
import { execFile, execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

export const hasNvcc = spawnSync("nvcc", ["--version"]).status === 0;

/** Whether nvcc is there and compiles for an architecture. */
export const nvccKnows = (arch: string): boolean =>
  (spawnSync("nvcc", ["--list-gpu-code"], { encoding: "utf8" }).stdout ?? "").split("\n").includes(arch);

/** What ptxas reports of one entry function; bytes a thread. */
export interface PtxasReport {
  registers: number;
  stackBytes: number;
  spillBytes: number;
}

export interface Built {
  /** By entry name. */
  reports: Map<string, PtxasReport>;
  /** Warnings, and what ptxas calls info but costs speed: wgmma made serial, waits added (C7510, C7514, C7517 and their like). */
  complaints: string[];
  /** By file. */
  cubins: Map<string, Uint8Array>;
}

const built = new Map<string, Promise<Built>>();

/**
 * Compiles files for sm_90a, a compiler each, side by side; the same files once in a process. Throws with the compiler's words when one
 * does not compile.
 */
export function build(files: ReadonlyMap<string, string>): Promise<Built> {
  const key = JSON.stringify([...files]);
  const made = built.get(key) ?? freshBuild(files);
  built.set(key, made);
  return made;
}

async function freshBuild(files: ReadonlyMap<string, string>): Promise<Built> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "dsc-nvcc-"));
  try {
    // Not one nvcc with --threads: its children's lines could mix. And not -arch=sm_90a: some versions then compile for plain
    // sm_90 as well, which lacks wgmma.
    const flags = ["-cubin", "-O3", "-std=c++17", "-gencode=arch=compute_90a,code=sm_90a", "-Xptxas", "-v"];
    const all: Built = { reports: new Map(), complaints: [], cubins: new Map() };
    const jobs = [...files].map(async ([name, text]) => {
      fs.writeFileSync(path.join(dir, `${name}.cu`), text);
      const words = await run("nvcc", [...flags, `${name}.cu`], dir);
      return { name, ...readPtxas(words), cubin: new Uint8Array(fs.readFileSync(path.join(dir, `${name}.cubin`))) };
    });
    const done = await Promise.allSettled(jobs);
    for (const d of done) {
      if (d.status === "rejected") throw d.reason;
      for (const [name, report] of d.value.reports) all.reports.set(name, report);
      all.complaints.push(...d.value.complaints);
      all.cubins.set(d.value.name, d.value.cubin);
    }
    return all;
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
}

/** All that a program says; rejects with it when the program fails. */
const run = (program: string, words: readonly string[], cwd: string): Promise<string> =>
  new Promise((resolve, reject) => {
    execFile(program, words, { cwd, maxBuffer: 1 << 26 }, (e, out, err) => {
      if (e)
        reject(
          new Error(
            `${program} failed:\n${(out + err)
              .split("\n")
              .filter((l) => !l.startsWith("ptxas info"))
              .join("\n")}`,
          ),
        );
      else resolve(out + err);
    });
  });

/**
 * Kernels as two files of about equal length, one a core: starting a compiler is most of its time. Each kernel has a namespace,
 * for their helpers share names; their own names are C's and stay as they are.
 */
export function inTwo(sources: readonly string[]): Map<string, string> {
  const files = new Map([
    ["first", ""],
    ["second", ""],
  ]);
  for (const [i, s] of sources.toSorted((a, b) => b.length - a.length).entries()) {
    const shorter = files.get("first")!.length <= files.get("second")!.length ? "first" : "second";
    files.set(shorter, `${files.get(shorter)}namespace k${i} {\n${s}}\n`);
  }
  return files;
}

/** Reads the output of `-Xptxas -v`. */
export function readPtxas(words: string): Pick<Built, "reports" | "complaints"> {
  const reports = new Map<string, PtxasReport>();
  const complaints: string[] = [];
  let name = "";
  for (const line of words.split("\n")) {
    const entry = /Compiling entry function '(\w+)'/.exec(line);
    const memory = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    const registers = /Used (\d+) registers/.exec(line);
    if (entry) reports.set((name = entry[1]), { registers: 0, stackBytes: 0, spillBytes: 0 });
    const report = reports.get(name);
    if (report && memory) [report.stackBytes, report.spillBytes] = [Number(memory[1]), Number(memory[2]) + Number(memory[3])];
    if (report && registers) report.registers = Number(registers[1]);
    if (/warning|\(C75\d\d\)|serializ/i.test(line) && !line.startsWith("Remark:")) complaints.push(line.trim());
  }
  return { reports, complaints };
}

/** A cuobjdump: on the path, or the one inside an installed Triton (DSC_PYTHON, or python3). */
export function findCuobjdump(): string | undefined {
  if (spawnSync("cuobjdump", ["--version"]).status === 0) return "cuobjdump";
  const find = 'import importlib.util as u; s = u.find_spec("triton"); print(s.submodule_search_locations[0] if s else "")';
  for (const python of [process.env.DSC_PYTHON, "python3"]) {
    const folder = python && spawnSync(python, ["-c", find], { encoding: "utf8" }).stdout?.trim();
    const tool = folder && path.join(folder, "backends/nvidia/bin/cuobjdump");
    if (tool && spawnSync(tool, ["--version"]).status === 0) return tool;
  }
  return undefined;
}

const codes = new WeakMap<Uint8Array, Map<string, string>>();

/** The machine code of a cubin: text by kernel. */
export function disassemble(cuobjdump: string, cubin: Uint8Array): Map<string, string> {
  const code = codes.get(cubin) ?? freshCode(cuobjdump, cubin);
  codes.set(cubin, code);
  return code;
}

function freshCode(cuobjdump: string, cubin: Uint8Array): Map<string, string> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "dsc-sass-"));
  try {
    fs.writeFileSync(path.join(dir, "k.cubin"), cubin);
    // cuobjdump starts nvdisasm, which lies beside it.
    const env = { ...process.env, PATH: `${path.dirname(cuobjdump)}${path.delimiter}${process.env.PATH}` };
    const text = execFileSync(cuobjdump, ["--dump-sass", "k.cubin"], { cwd: dir, env, encoding: "utf8", maxBuffer: 1 << 28 });
    return new Map(
      text
        .split(/^\s*Function : /m)
        .slice(1)
        .map((f) => [f.slice(0, f.indexOf("\n")).trim(), f]),
    );
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
}
