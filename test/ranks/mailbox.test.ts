// The mailbox kernels with ranks as threads of one process (ranks.cpp): sums bit for bit in rank order through many rounds at random
// times, and the rules that keep them so, each with a text in which it is broken or a rank that breaks it.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { pushGatherKernel } from "../../codegen/cuda/mailbox/gather.ts";
import { reduceNorm } from "../../codegen/cuda/mailbox/norm.ts";
import { pushReduceKernel, pushReducePartsKernel } from "../../codegen/cuda/mailbox/reduce.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import { evaluate } from "../../ir/size.ts";
import { compileCuda } from "../../runtime/devices/cuda/compiler.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { lacks } from "../conditions.ts";
import { hostBuild } from "../kernels/host-compiler.ts";
import { fibres, hostFlags } from "../../compiler/edit/host/fibres.ts";
import { bodyOf } from "../../compiler/edit/host/program.ts";

const pointers = { f32: "float*", bf16: "u16*", e4m3: "u8*", i32: "int*" } as const;

/** A kernel's library: `run` takes the addresses of its arguments and how many blocks there are. */
function libraryOf(text: KernelText, edit: (source: string) => string = (s) => s): string {
  const types = text.params.map((p) => (p.kind === "scalar" ? (p.dtype === "f32" ? "float" : "int") : pointers[p.dtype]));
  const all = [...types, ...text.dims.map(() => "int")];
  const [x, y, z] = text.launch.cluster ?? [1, 1, 1];
  const run = `extern "C" void run(void** p, int blocks) {
  launch({blocks, 1, 1}, ${text.launch.block}, {${x}, ${y}, ${z}}, 0, [=] { ${text.name}(${all.map((t, i) => `*(${t}*)p[${i}]`).join(", ")}); });
}
`;
  return hostBuild({ text: edit(bodyOf(text.source)) + run, header: fibres, flags: [...hostFlags, "-fPIC", "-shared"] });
}

const program = (): string =>
  hostBuild({
    text: fs.readFileSync(path.join(import.meta.dirname, "ranks.cpp"), "utf8"),
    flags: ["-O1", "-std=c++17", "-ffp-contract=off", "-w", "-pthread"],
    libraries: ["-ldl"],
  });

interface Run {
  kind: "reduce" | "gather" | "norm";
  ranks: number;
  rounds: number;
  bf16?: boolean;
  sizes: readonly [number, number, number];
  limit?: number;
  word?: "missing" | "other" | "stop";
}

function said(library: string, { kind, ranks, rounds, bf16 = false, sizes, limit = 60000, word }: Run): string[] {
  const words = [library, kind, ranks, rounds, Number(bf16), ...sizes, limit, ...(word ? [word] : [])].map(String);
  return spawnSync(program(), words, { encoding: "utf8" }).stdout.trim().split("\n");
}

const BLOCK = 32;
const right = (ranks: number): string[] => [`wrong 0 finished ${ranks}`];
/** Rounds of the common case; more of them with DSC_ALL. */
const ROUNDS = 10_000;

test.skipIf(lacks("g++ 12"))("one-shot: 10^4 rounds of two ranks, and fewer of more, odd sizes, bf16", () => {
  const library = libraryOf(pushReduceKernel(BLOCK));
  expect(said(library, { kind: "reduce", ranks: 2, rounds: ROUNDS, sizes: [33, 0, 0] })).toEqual(right(2));
  expect(said(library, { kind: "reduce", ranks: 3, rounds: 500, sizes: [1, 0, 0] })).toEqual(right(3));
  expect(said(library, { kind: "reduce", ranks: 8, rounds: 40, sizes: [257, 0, 0], bf16: true })).toEqual(right(8));
});

test.skipIf(lacks("g++ 12"))("two-shot: the same sums, with parts that are empty", () => {
  const library = libraryOf(pushReducePartsKernel(BLOCK));
  for (const [ranks, rounds, words, bf16] of [
    [2, 400, 65, false],
    [4, 200, 3, false],
    [8, 30, 331, true],
  ] as const)
    expect(said(library, { kind: "reduce", ranks, rounds, sizes: [words, 0, 0], bf16 })).toEqual(right(ranks));
});

test.skipIf(lacks("g++ 12"))("gather: runs of every rank in their places, in pieces", () => {
  const library = libraryOf(pushGatherKernel(BLOCK));
  for (const [ranks, sizes, bf16] of [
    [2, [3, 5, 15], false],
    [4, [2, 33, 17], true],
  ] as const)
    expect(said(library, { kind: "gather", ranks, rounds: 100, sizes, bf16 })).toEqual(right(ranks));
});

test.skipIf(lacks("g++ 12"))("sum, residual, norm and codes in one launch", () => {
  const p = { wire: "f32", act: "f32", gain: "f32", eps: 1e-6, gives: "both", ue8m0: false } as const;
  for (const [ranks, rows, d, cluster] of [
    [2, 1, 256, 2],
    [4, 2, 384, 3],
  ] as const)
    expect(said(libraryOf(reduceNorm({ ...p, d })), { kind: "norm", ranks, rounds: 50, sizes: [rows, d, cluster] })).toEqual(
      right(ranks),
    );
});

test.skipIf(lacks("nvcc"))("nvcc compiles the fused kernel in all its forms", () => {
  const [of, sources] = [{ d: 7168, gain: "bf16", eps: 1e-6, ue8m0: true } as const, [] as string[]];
  for (const gives of ["row", "codes", "both"] as const)
    for (const dtype of ["f32", "bf16"] as const) {
      const { name, source } = reduceNorm({ ...of, gives, wire: dtype, act: dtype });
      sources.push(`namespace ${name}_own {\n${source}\n}`);
    }
  expect(() => compileCuda("push_reduce_norm", sources.join("\n"), h200.arch, "nvcc")).not.toThrow();
});

// The rules, in the order of docs/parallel.md. That one exchange is under way at a time, and buffers that never move, are the transport's
// (transport.test.ts); sums in rank order, and numbers that the device counts, are in every run above.
const rule = libraryOf.bind(undefined, pushReduceKernel(BLOCK));
const many: Run = { kind: "reduce", ranks: 2, rounds: 2000, sizes: [33, 0, 0], limit: 1500 };

test.skipIf(lacks("g++ 12"))("a word without its own tag is taken while it is half there", () => {
  const torn = (s: string): string =>
    s.replace(" && (u32)(b >> 32) == e.tag", "").replace("__atomic_store_n(to + 1", "sched_yield(); __atomic_store_n(to + 1");
  expect(said(rule(torn), many).at(-1)).toMatch(/^wrong [1-9]/);
});

test.skipIf(lacks("g++ 12"))("one half instead of two is written while a slow rank still reads", () => {
  const slow = "for (int k = 0; e.rank == 1 && k < 200; k++) sched_yield();\n  u64* const from = slot(";
  const torn = (s: string): string => s.replace("HALVES = 2", "HALVES = 1").replace("u64* const from = slot(", slow);
  expect(said(rule(torn), many)).not.toEqual(right(2));
  expect(
    said(
      rule((s) => s.replace("u64* const from = slot(", slow)),
      { ...many, rounds: 20, limit: 60000 },
    ),
  ).toEqual(right(2));
});

test.skipIf(lacks("g++ 12"))(
  "a rank that never comes, one that comes to something else, and a host that gives up end the wait",
  () => {
    const library = rule();
    const word = (w: Run["word"], limit: number): string => said(library, { ...many, ranks: 3, rounds: 1, word: w, limit })[0];
    expect(word("missing", 200)).toMatch(/^why 1 rank [01] peer 2 epoch 0 what 7 seen 0$/);
    expect(word("other", 60000)).toMatch(/^why 2 rank \d peer \d epoch 0 what (7|9) seen (9|7)$/);
    expect(word("stop", 60000)).toMatch(/^why 3 rank [01] peer 2 epoch 0 what 7 seen 0$/);
  },
);

test("texts: nothing begins before an exchange has ended, lanes meet before they shuffle, blocks are few enough to wait together", () => {
  const norm = reduceNorm({ d: 7168, wire: "f32", act: "f32", gain: "bf16", eps: 1e-6, gives: "codes", ue8m0: false });
  for (const text of [pushReduceKernel(), pushReducePartsKernel(), pushGatherKernel(), norm]) {
    expect(text.source).not.toContain("release_next");
    expect(text.source.indexOf("await_previous();")).toBeLessThan(text.source.indexOf("= enter("));
  }
  const [waits, meets, shuffles] = ["received(e, r", "__syncwarp();", "= warp_tree_sum_wide"].map((t) =>
    norm.source.lastIndexOf(t),
  );
  expect(waits).toBeLessThan(meets);
  expect(meets).toBeLessThan(shuffles);
  for (const { launch } of [pushReduceKernel(), pushReducePartsKernel()])
    expect(evaluate(launch.grid[0], { words: 1 << 20 }) * launch.block).toBeLessThanOrEqual(16 * 512);
});
