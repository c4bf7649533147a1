// Trials of CUDA texts without a GPU: g++ compiles them behind the machine of fibres, and every launch is a process of its own. It finds
// wrong numbers, missing barriers and waits that nothing ends; fences, registers and what a launch asks of a card it does not see.
import { execFile, execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { boundBuffers } from "../../ir/kernel/catalogue.ts";
import { sha256 } from "../../runtime/manifest-text.ts";
import { cacheFolder } from "../../runtime/user-cache.ts";
import { fibres, hostFlags } from "./host/fibres.ts";
import { bodyOf, mainOf, wordsOf, type HostText } from "./host/program.ts";
import type { Fault, Machine, Program } from "./machine.ts";
import type { Trial } from "./trial.ts";

const exec = promisify(execFile);

/** Multiprocessors that kernels are told there are: few, so that each has several blocks' work. */
const MULTIPROCESSORS = 4;
/** Bytes of operands that files and processes are sensible for. */
const MOST_BYTES = 400e6;
/** How long a launch may take: the machine is some thousand times slower than a card. */
const MOST_MS = 120_000;

/** The version of a g++ that knows the machine's types, or none. */
export function gppHere(): string | undefined {
  if (process.arch !== "x64") return undefined;
  const version = spawnSync("g++", ["-dumpfullversion"], { encoding: "utf8" }).stdout?.trim();
  return version && Number.parseInt(version, 10) >= 12 ? version : undefined;
}

/** A kernel as a program of this machine, from the user's cache where it was built before; what g++ says is thrown. */
function built(p: Program, like: string): string {
  const { params, dims, launch, workspaceBytes, entry } = p.record;
  const text: HostText = {
    name: entry,
    params,
    dims,
    launch: launch!,
    ...(workspaceBytes === undefined ? {} : { workspaceBytes }),
  };
  const source = `${fibres}\n${bodyOf(p.text, like)}${mainOf(text)}`;
  const folder = path.join(cacheFolder(), "host");
  const out = path.join(folder, sha256(`${hostFlags.join(" ")}\n${source}`).slice(0, 40));
  if (existsSync(out)) return out;
  mkdirSync(folder, { recursive: true });
  const work = mkdtempSync(path.join(folder, "build-"));
  try {
    writeFileSync(path.join(work, "kernel.cpp"), source);
    execFileSync("g++", [...hostFlags, "-o", "kernel", "kernel.cpp"], { cwd: work, stdio: ["ignore", "ignore", "pipe"] });
    renameSync(path.join(work, "kernel"), out);
    return out;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

export const onHost = (version: string): Machine => ({
  on: "host",
  where: `this machine's processor, by g++ ${version}`,
  fits: (bytes) => bytes < MOST_BYTES,
  async run(trial, programOf, originalOf): Promise<{ after: Uint8Array[]; fault?: Fault }> {
    const folder = mkdtempSync(path.join(tmpdir(), "dsc-host-"));
    const fileOf = new Map(trial.buffers.map((b, i) => [b, path.join(folder, `${i}.bin`)]));
    for (const [b, file] of fileOf) writeFileSync(file, b.data);
    const after = (): Uint8Array[] => [...fileOf.values()].map((file) => new Uint8Array(readFileSync(file)));
    try {
      for (const l of trial.launches) {
        const fault = await launched(l, programOf(l.kernel), originalOf(l.kernel), (b) => fileOf.get(b)!);
        if (fault) return { after: after(), fault };
      }
      return { after: after() };
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
});

async function launched(
  l: Trial["launches"][number],
  program: Program,
  original: Program,
  fileOf: (b: Trial["buffers"][number]) => string,
): Promise<Fault | undefined> {
  let file: string;
  try {
    file = built(program, original.text);
  } catch (e) {
    const said = (e as { stderr?: Buffer }).stderr
      ?.toString()
      .split("\n")
      .find((line) => /error/.test(line));
    return { problem: `it cannot be built for this machine: ${said ?? (e as Error).message}`, fatal: true };
  }
  const { record } = program;
  const names = boundBuffers(record.params);
  const dims = Object.fromEntries(record.dims.map((d, i) => [d, l.dims[i]]));
  const text = { ...record, name: record.entry, launch: record.launch! };
  const words = wordsOf(text, { launches: 1, dims, SMs: MULTIPROCESSORS }, (name) => fileOf(l.binds[names.indexOf(name)]));
  try {
    await exec(file, words, { timeout: MOST_MS, killSignal: "SIGKILL" });
    return undefined;
  } catch (e) {
    const { stderr, signal, code } = e as { stderr?: string; signal?: string; code?: number };
    return { problem: `it does not come to its end: ${stderr?.trim() || (signal ? `signal ${signal}` : `status ${code}`)}` };
  }
}
