// What is measured, each as a rate and its ratio to a ceiling of the same process, the same threads and the same memory.
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { cacheArtifact } from "../../compiler/artifact/write.ts";
import { compile, defaults, type CompileOptions } from "../../compiler/compile.ts";
import { inside, type Step } from "../../ir/artifact.ts";
import { evaluate } from "../../ir/size.ts";
import { load, readArtifact } from "../../runtime/index.ts";
import { CpuDevice, type CpuKernel } from "../../runtime/devices/cpu.ts";
import { LAUNCH } from "../../runtime/devices/program.ts";
import { Model as LoadedModel, memoryNeed } from "../../runtime/model.ts";
import { instanceBytes, layersOf, partBytes, weightsUsed } from "../../runtime/weights.ts";
import { ADD_CELL, READ_CELL, addLoop, cReadLoop, readLoop } from "./ceilings.ts";
import { median, ratio, time, turns } from "./measure.ts";
import { peakOf } from "./peak.ts";

type Model = LoadedModel<CpuDevice>;

/**
 * One line of the result. `ratio` is the median over the rounds of value over ceiling in that round; `best` the best value over the
 * best ceiling, which other work on the machine disturbs least. `wanted` is the ratio, or where there is none the value, that the
 * project holds itself to; `most` a value it stays below.
 */
export interface Row {
  name: string;
  value: number;
  unit: string;
  over?: string;
  ceiling?: number;
  ratio?: number;
  best?: number;
  wanted?: number;
  most?: number;
}

export const over = (
  name: string,
  unit: string,
  ours: readonly number[],
  list: readonly number[],
  what: string,
  wanted?: number,
): Row => ({
  name,
  value: median(ours),
  unit,
  over: what,
  ceiling: median(list),
  ratio: ratio(ours, list),
  best: Math.max(...ours) / Math.max(...list),
  ...(wanted === undefined ? {} : { wanted }),
});

export const THREADS = 2;

/** The repository: from dist/test/bench, or from test/bench. */
const root = path.resolve(
  fileURLToPath(new URL(".", import.meta.url)).replace(/dist[\\/]test[\\/]bench[\\/]$/, "test/bench/"),
  "../..",
);
export const printed = path.join(root, "examples/printed-model");
const tiny = path.join(root, "examples/tiny-r1");

export const artifactOf = (src: string, target: CompileOptions["target"] = "cpu"): string =>
  cacheArtifact(compile(src, { ...defaults, target }));

/** The printed model with the loops that measure ceilings among its kernels. */
export async function openPrinted(weights: string): Promise<Model> {
  const { manifest, files } = await readArtifact(artifactOf(printed), (p) => p.endsWith(".wasm"));
  const own = Object.entries(manifest.kernels).map(([name, k]): CpuKernel => ({
    name,
    binary: files.get(k.binary!)!,
    entry: k.entry,
    scratchBytes: k.scratchBytes ?? 0,
  }));
  return LoadedModel.open(manifest, await CpuDevice.open(manifest, [...own, readLoop(), addLoop()], { threads: THREADS }), {
    weights,
  });
}

const launch = (model: Model, kernel: string, cells: number, values: readonly number[]): Promise<void> =>
  model.device.execute({
    words: Int32Array.from([LAUNCH, model.device.kernels.get(kernel)!, 0, -1, 0, cells, values.length, ...values]),
    sites: [kernel],
  });

/** Where the resident weights lie, and the bytes of them that a decode step reads: all but the embedding, of which it reads a row. */
export function weightsOf(model: Model): { from: number; bytes: number; read: number } {
  const { manifest } = model;
  const used = weightsUsed(manifest, manifest.entries.decode);
  let [from, to, read] = [Infinity, 0, 0];
  for (const [symbol, plan] of Object.entries(manifest.weights)) {
    if (plan.staging || plan.source.kind === "rope") continue;
    for (const layer of layersOf(plan)) {
      const at = model.weights.address(symbol, "data", layer ?? undefined);
      from = Math.min(from, at);
      to = Math.max(to, at + instanceBytes(plan));
      const { data, scales } = partBytes(plan);
      if (used.has(symbol) && symbol !== "embed") read += data + scales;
    }
  }
  return { from, bytes: to - from, read };
}

/** Decode of the printed model in weight bytes per second, over reading the same memory in WebAssembly and in C. */
export async function decode(rounds: number): Promise<Row[]> {
  const model = await openPrinted("synthetic:0");
  try {
    const { from, bytes, read } = weightsOf(model);
    const cells = Math.floor(bytes / READ_CELL);
    const c = await cReadLoop();
    const rows: Row[] = [];
    // What node-llama-cpp 3.22.1 takes for a token of the same model on such a processor, two threads: README of this folder.
    for (const [context, theirs] of [
      [64, 66.4],
      [1024, 86.2],
    ] as const) {
      const session = model.session({ maxTokens: context + 256 });
      await session.prefill([Array.from({ length: context }, (_, i) => (i * 37 + 11) % model.manifest.model.vocab)]);
      const steps: number[] = [];
      const rates = await turns(rounds, {
        ours: async () => {
          const ms = await time(() => session.decode([steps.length]));
          steps.push(ms);
          return read / ms / 1e6;
        },
        simd: async () => (cells * READ_CELL) / (await time(() => launch(model, "bench_read", cells, [from]))) / 1e6,
        c: async () => (c ? bytes / c(model.device.bytes(from, bytes), THREADS) / 1e6 : NaN),
      });
      session.close();
      const name = `decode, context ${context}`;
      const short = context === 64;
      rows.push(over(name, "GB/s", rates.ours, rates.simd, "WebAssembly SIMD read", short ? 0.85 : undefined));
      if (c) rows.push(over(name, "GB/s", rates.ours, rates.c, "C read", short ? 0.75 : undefined));
      rows.push(
        { name: `${name}, a token`, value: median(steps), unit: "ms", most: theirs },
        { name: `${name}, the best token`, value: Math.min(...steps), unit: "ms" },
      );
    }
    return rows;
  } finally {
    await model.close();
  }
}

/** Every product of a layer of the printed model, and all of them together, over multiply-adds on registers. */
export async function gemm(rounds: number): Promise<Row[]> {
  const model = await openPrinted("synthetic:0");
  try {
    const { device } = model;
    const shapes = layerProducts(model);
    const rows: Row[] = [];
    for (const m of [64, 256]) {
      const [x, y] = [device.allocate(m * 16384 * 4, "x"), device.allocate(m * 32768 * 4, "y")];
      device.f32(x, m * 16384).forEach((_, i, all) => (all[i] = ((i * 37) % 101) / 50 - 1));
      const work = shapes.reduce((a, s) => a + m * s.n * s.k, 0);
      const spent = new Map<string, number[]>(shapes.map((s) => [s.kernel, []]));
      const adds = Math.ceil(work / ADD_CELL / 4);
      const rates = await turns(rounds, {
        ours: async () => {
          let all = 0;
          for (const s of shapes) {
            const cells = s.cells(m);
            const ms = await time(() => launch(model, s.kernel, cells, [x, s.w, y, m]));
            spent.get(s.kernel)!.push(ms);
            all += ms;
          }
          return work / all / 1e6;
        },
        peak: async () => (adds * ADD_CELL) / (await time(() => launch(model, "bench_add", adds, []))) / 1e6,
      });
      const ceiling = median(rates.peak);
      for (const s of shapes) {
        const value = (m * s.n * s.k) / median(spent.get(s.kernel)!) / 1e6;
        rows.push({ name: `${m} rows, ${s.n} x ${s.k}`, value, unit: "GMAC/s", ceiling, ratio: value / ceiling });
      }
      rows.push(over(`${m} rows, all of a layer`, "GMAC/s", rates.ours, rates.peak, "SIMD128 multiply-add peak", 0.75));
      device.release(x);
      device.release(y);
    }
    return rows;
  } finally {
    await model.close();
  }
}

interface LayerProduct {
  kernel: string;
  n: number;
  k: number;
  w: number;
  cells: (m: number) => number;
}

/** Plain products of the first layer in prefill, with the address of their weights. */
function layerProducts(model: Model): LayerProduct[] {
  const { kernels, functions, weights } = model.manifest;
  const found = new Map<string, LayerProduct>();
  const visit = (steps: readonly Step[]): void => {
    for (const s of steps) {
      visit(inside(s));
      if (s.kind !== "kernel" || kernels[s.kernel].family !== "linear") continue;
      const weight = s.args.find((a) => "weight" in a)!;
      const k = weights[weight.weight].shape.at(-1)!;
      const n = weights[weight.weight].shape.reduce((a, b) => a * b, 1) / k;
      found.set(s.kernel, {
        kernel: s.kernel,
        n,
        k,
        w: model.weights.address(weight.weight, "data", 0),
        cells: (m) => evaluate(kernels[s.kernel].cells!, { m }),
      });
    }
  };
  visit(functions["prefill/dense_layer"].steps);
  return [...found.values()];
}

/** Loading the printed model from files that were just read, in bytes of the checkpoint per second. */
export async function loading(rounds: number): Promise<Row[]> {
  const folder = artifactOf(printed);
  const { manifest } = await readArtifact(folder);
  const bytes = memoryNeed(manifest).resident;
  const work = mkdtempSync(path.join(tmpdir(), "dsc-bench-"));
  try {
    const { bavail, bsize } = statfsSync(work);
    if (bavail * bsize < 2 * bytes) return [];
    const cli = path.join(root, "dist/compiler/cli.js");
    if (!existsSync(cli)) return [];
    execFileSync(process.execPath, [cli, "weights", printed, "--synthetic", "0", "-o", work], { stdio: "pipe" });
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const { ours } = await turns(rounds, {
      ours: async () => {
        let model: LoadedModel | undefined;
        // The memory of the round before has to be free: pages this machine never touched cost its host far more than the read.
        collect();
        const ms = await time(async () => (model = await load(folder, { weights: work, threads: THREADS })));
        await model!.close();
        model = undefined;
        return bytes / ms / 1e6;
      },
    });
    return [
      { name: "load, whole", value: median(ours), unit: "GB/s", wanted: 3 },
      { name: "load, the best", value: Math.max(...ours), unit: "GB/s" },
    ];
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The most memory that running the printed model takes, and how much of that its weights are. */
export async function memory(): Promise<Row[]> {
  const { manifest } = await readArtifact(artifactOf(printed));
  const ids = Array.from({ length: 64 }, (_, i) => (i * 37 + 11) % manifest.model.vocab).join(",");
  const { bytes } = await peakOf(root, ["run", printed, "--weights", "synthetic:0", "--ids", ids, "--max-new", "4", "--json"]);
  return [
    { name: "peak of a run", value: bytes / 1e9, unit: "GB", most: 2.3 },
    { name: "weights in it", value: memoryNeed(manifest).resident / 1e9, unit: "GB" },
  ];
}

/** The whole of R1 from config to artifact, as typed: a process of its own, start-up and writing included. */
export async function compiling(rounds: number): Promise<Row[]> {
  const work = mkdtempSync(path.join(tmpdir(), "dsc-bench-"));
  try {
    const runs: { s: number; bytes: number }[] = [];
    for (let i = 0; i < rounds; i++) {
      let bytes = 0;
      const ms = await time(
        async () =>
          (bytes = (await peakOf(root, ["compile", path.join(root, "examples/deepseek-r1"), "-o", path.join(work, String(i))]))
            .bytes),
      );
      runs.push({ s: ms / 1000, bytes });
    }
    return [
      { name: "compile R1", value: median(runs.map((r) => r.s)), unit: "s", most: 1 },
      { name: "compile R1, the best", value: Math.min(...runs.map((r) => r.s)), unit: "s" },
      { name: "its peak memory", value: Math.max(...runs.map((r) => r.bytes)) / 1e9, unit: "GB", most: 0.4 },
    ];
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** A step of a model so small that only the cost of launching counts. */
export async function small(rounds: number): Promise<Row[]> {
  const rows: Row[] = [];
  const folder = artifactOf(tiny);
  const models = await Promise.all([1, THREADS].map((threads) => load(folder, { weights: tiny, threads })));
  try {
    const works = models.map((model) => {
      const session = model.session({ maxTokens: 1000 });
      const first = session.prefill([[1, 2, 3, 4, 5, 6, 7, 8]]);
      return async (): Promise<number> => {
        await first;
        session.truncate(0, 8);
        const ms: number[] = [];
        for (let i = 0; i < 50; i++) ms.push(await time(() => session.decode([i + 5])));
        return median(ms) * 1e3;
      };
    });
    const us = await turns(rounds, { one: works[0], all: works[1] });
    rows.push(
      { name: "tiny-r1, a token, 1 thread", value: median(us.one), unit: "us" },
      { name: `tiny-r1, a token, ${THREADS} threads`, value: median(us.all), unit: "us" },
    );
  } finally {
    for (const m of models) await m.close();
  }
  return rows;
}
