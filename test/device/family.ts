// 200 random members of the family on the card, in f32 and bf16, with all passes and with none; a tenth of them through Triton as well.
// Every answer is compared with the float64 reference at the routes it took (family-judge.ts). npm run device -- --only family
// --steps check --limit 570; DSC_FAMILY=n tries other seeds, DSC_FAMILY_COUNT other numbers, DSC_FAMILY_SEEDS=a,b,c just those. Workers, one a core, compile kernels that many models
// share through one folder and run the models; what is not done in time is said, not left out.
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import fs from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { familyConfig } from "../fuzz/family.ts";
import type { Row } from "./device.ts";

/** Models that share widths, and so most kernels, come this far apart: at once they would compile the same ones. */
const WIDTHS = 24;

/** The config of model n. */
export const modelOf = (n: number): Record<string, unknown> => familyConfig(n, n % WIDTHS);

export interface Job {
  seed: number;
  target: "cuda" | "triton";
  /** The first of the ways to run: after a fault a new process goes on with the next. */
  from: number;
}

/** Seconds a worker may be silent: a kernel that does not end ends nothing else. */
const SILENCE = 150;

/** What a tenth of the models is run by on Triton: every second pair of the four ways. */
export const waysOf = <T>(job: Job, all: readonly T[]): readonly T[] =>
  job.target === "cuda" ? all : all.filter((_, i) => i % 2 === (job.seed >> 1) % 2);

/** A worker on one core, where there is a program that pins it: compilers count cores. */
function worker(core: number, folder: string): ChildProcess {
  const words = [process.execPath, path.join(import.meta.dirname, "family-worker.js"), folder];
  const pinned = spawnSync("taskset", ["--version"]).status === 0 ? ["taskset", "-c", String(core), ...words] : words;
  return spawn(pinned[0], pinned.slice(1), { stdio: ["ignore", "ignore", "inherit", "ipc"] });
}

export async function check(): Promise<Row[]> {
  const began = performance.now();
  const [first, count, seconds] = [
    Number(process.env.DSC_FAMILY ?? 0),
    Number(process.env.DSC_FAMILY_COUNT ?? 200),
    Number(process.env.DSC_FAMILY_SECONDS ?? 500),
  ];
  const seeds = process.env.DSC_FAMILY_SEEDS?.split(",").map(Number) ?? Array.from({ length: count }, (_, i) => first + i);
  const queue: Job[] = [
    ...seeds.map((seed) => ({ seed, target: "cuda" as const, from: 0 })),
    ...seeds.filter((s) => s % 10 === 3).map((seed) => ({ seed, target: "triton" as const, from: 0 })),
  ];
  const folder = fs.mkdtempSync(path.join(tmpdir(), "dsc-family-"));
  const rows: Row[] = [];
  const lane = async (core: number): Promise<void> => {
    let child: ChildProcess | undefined;
    for (let job = queue.shift(); job; job = queue.shift()) {
      if (performance.now() - began > seconds * 1000) {
        rows.push({ seed: job.seed, target: job.target, verdict: "not done in time", ok: false });
        continue;
      }
      child ??= worker(core, folder);
      const got = await answer(child, job);
      rows.push(...got);
      if (!got.some((r) => r.fatal)) continue;
      // A fault of a kernel ends everything in its process, and the rest of this model goes on in a new one.
      child.kill("SIGKILL");
      child = undefined;
      if (job.from + got.length < waysOf(job, [0, 1, 2, 3]).length) queue.unshift({ ...job, from: job.from + got.length });
    }
    child?.disconnect();
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), queue.length) }, (_, core) => lane(core)));
  fs.rmSync(folder, { recursive: true, force: true });
  return [...summary(rows, (performance.now() - began) / 1000), ...rows.toSorted((a, b) => Number(a.seed) - Number(b.seed))];
}

/** The rows of a job; of a worker that ends or says nothing, one that says so. */
function answer(child: ChildProcess, job: Job): Promise<Row[]> {
  return new Promise((resolve) => {
    const done = (rows: Row[]): void => {
      clearTimeout(late);
      child.removeAllListeners();
      resolve(rows);
    };
    const fatal = (verdict: string): void =>
      done([{ seed: job.seed, target: job.target, way: job.from, verdict, fatal: true, ok: false }]);
    const late = setTimeout(() => fatal(`no answer in ${SILENCE} s`), SILENCE * 1000);
    child.once("exit", (code, signal) => fatal(`the worker ended with ${code ?? signal}`));
    child.once("message", (rows: Row[]) => done(rows));
    child.send(job);
  });
}

/** A line for each way, counted by verdict. */
function summary(rows: readonly Row[], seconds: number): Row[] {
  const out: Row[] = [];
  const groups = new Map<string, Row[]>();
  for (const r of rows) {
    const key = `${r.target} ${r.activations ?? ""} ${r.passes ?? ""}${r.quantised ? " FP8 rows" : ""}`;
    groups.set(key, [...(groups.get(key) ?? []), r]);
  }
  for (const [key, group] of [...groups].toSorted()) {
    const verdicts = [...new Set(group.map((r) => String(r.verdict)))].toSorted();
    const most = (k: string): number => Math.max(0, ...group.map((r) => Number(r[k] ?? 0)));
    out.push({
      summary: key,
      models: group.length,
      ...Object.fromEntries(verdicts.map((v) => [v, group.filter((r) => r.verdict === v).length])),
      most_apart: most("apart"),
      most_ratio: most("ratio"),
      with_flips: group.filter((r) => Number(r.flips) > 0).length,
      bad: group.filter((r) => !r.ok).length,
    });
  }
  const sum = (k: string): number => rows.reduce((n, r) => n + Number(r[k] ?? 0), 0);
  out.push({
    summary: "all",
    rows: rows.length,
    bad: rows.filter((r) => !r.ok).length,
    seconds,
    kernels_compiled: sum("fresh"),
    compile_s: sum("kernels_ms") / 1000,
    dsc_s: sum("compile_ms") / 1000,
    run_s: sum("run_ms") / 1000,
    judge_s: sum("judge_ms") / 1000,
  });
  return out;
}
