// npm run bench -- --only tvm: what a call of a library by tvm-ffi's ABI costs the host, and a soak of a million calls of every kind that
// watches references and the process's memory. Libraries are made here by g++ with the headers of tvm-ffi's wheel; without them it says so.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import * as tvm from "../../runtime/tvm/index.ts";
import { median } from "./measure.ts";
import type { Row } from "./cases.ts";

const CALLS = 100_000;
const SOAK = 1_000_000;
const sources = path.resolve(import.meta.dirname, "../../../test/tvm");

function made(work: string, compiler: string, source: string): tvm.TvmModule {
  const out = path.join(work, `${source}.so`);
  const include = path.resolve(path.dirname(tvm.about().path), "../include");
  const words = ["-O2", "-shared", "-fPIC", ...(compiler === "g++" ? ["-std=c++17", `-I${include}`] : [])];
  const { status, stderr } = spawnSync(compiler, [...words, "-o", out, path.join(sources, source)], { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return tvm.loadModule(out);
}

/** Calls by what goes in and comes out. */
function calls(work: string): Record<string, () => unknown> {
  const [macro, plain] = [made(work, "g++", "macro.cpp"), made(work, "gcc", "plain.c")];
  const tensor = (): tvm.Tensor => new tvm.Tensor(new Float32Array(4), [4], "float32");
  const [x, y] = [tensor(), tensor()];
  const [positive, total, maybe, add] = [macro.get("positive"), macro.get("total"), macro.get("maybe"), plain.get("add_scalar")];
  return {
    "an int to an int": () => positive.call(3),
    "a tensor to a float": () => total.call(x),
    "two tensors and a float to an int": () => add.call(x, y, 0.5),
    "a bool to a string": () => maybe.call(true),
    "a bool to null": () => maybe.call(false),
  };
}

/** Nanoseconds a call, and bytes that a million calls of every kind leave behind. */
export async function tvmCalls(rounds: number): Promise<Row[]> {
  const work = mkdtempSync(path.join(tmpdir(), "dsc-bench-tvm-"));
  try {
    const kinds = calls(work);
    const rows: Row[] = [];
    for (const [name, call] of Object.entries(kinds)) {
      const times = Array.from({ length: rounds + 1 }, () => {
        const from = performance.now();
        for (let i = 0; i < CALLS; i++) call();
        return ((performance.now() - from) / CALLS) * 1e6;
      }).slice(1);
      rows.push({ name: `a call, ${name}`, value: median(times), unit: "ns", best: Math.min(...times), most: 1000 });
    }
    const all = Object.values(kinds);
    const round = (n: number): void => {
      for (let i = 0; i < n; i++) for (const call of all) call();
    };
    round(SOAK / 20);
    const [held, before] = [tvm.heldReferences(), process.memoryUsage().rss];
    round(SOAK);
    const grown = (process.memoryUsage().rss - before) / 1e6;
    rows.push({ name: `memory after ${(SOAK * all.length) / 1e6} million calls more`, value: grown, unit: "MB", most: 64 });
    rows.push({ name: "references held more", value: tvm.heldReferences() - held, unit: "", most: 1 });
    return rows;
  } finally {
    rmSync(work, { recursive: true });
  }
}
