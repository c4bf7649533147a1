// Whole models on the GPU: every fixture in f32 and bf16 against what transformers computed, and the printed model of 698,789,888
// parameters on synthetic weights, with its times. Kernels come from the cache, so that a second run shows start-up without a compiler.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { compile, defaults, type Compiled, type CompileOptions } from "../../compiler/compile.ts";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import type { KernelRecord } from "../../ir/artifact.ts";
import { cachedCompile, type Compile } from "../../runtime/devices/cuda/cubins.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import type { Watch } from "../../runtime/devices/cuda/executor.ts";
import { generate } from "../../runtime/generate.ts";
import { Model } from "../../runtime/model.ts";
import type { Sampling } from "../../runtime/sample.ts";
import type { Session } from "../../runtime/session.ts";
import { fixtures, readTensors } from "../interpreted.ts";
import { kernelFiles } from "./kernel-files.ts";
import type { Row } from "./device.ts";
import { distances } from "./distances.ts";

/** The repository, whose examples and fixtures are read: where this is built, or lies as source, or DSC_ROOT. */
export const root =
  process.env.DSC_ROOT ??
  ["../..", "../../.."]
    .map((up) => path.resolve(import.meta.dirname, up))
    .find((folder) => existsSync(path.join(folder, "package.json")))!;

/** Changes a kernel before it is compiled: to see what a habit of all kernels brings. */
export type Edit = (
  source: string,
  record: KernelRecord,
  problem: object,
) => { source: string; pdl: boolean; as?: Pick<KernelRecord, "launch" | "params"> };

/** Other habits than the texts': no kernel starts before the one before it has ended. */
const habits: Readonly<Record<string, Parameters<typeof open>[2]>> = {
  "no kernel starts early": { edit: (source) => ({ source, pdl: false }) },
};

/** Compiles SRC and loads it on the GPU; what each part took, in milliseconds. */
export async function open(
  src: string,
  weights: string,
  options: Partial<CompileOptions> & {
    profile?: boolean;
    edit?: Edit;
    pauseMs?: number;
    watch?: (c: Compiled, device: () => CudaDevice) => Watch;
    /** In place of the user's cache. */
    kernels?: Compile;
    /** In place of the machine's driver: its library, and what compiles kernels for it. */
    driver?: (c: Compiled) => Promise<{ libraries: readonly string[]; compile: Compile }>;
  } = {},
): Promise<{ model: Model<CudaDevice>; compileMs: number; kernelsMs: number; loadMs: number }> {
  const times = [performance.now()];
  const c = compile(src, { ...defaults, target: "cuda", activations: "bf16", ...options, stored: await storedIn(weights) });
  times.push(performance.now());
  const files = kernelFiles(c);
  const problems = options.edit ? (JSON.parse(String(c.files.get("problems.json"))) as Record<string, object>) : {};
  for (const [name, k] of options.edit ? Object.entries(c.manifest.kernels) : []) {
    const { source, pdl, as } = options.edit!(files.get(name)!.source, k, problems[name]);
    files.set(name, { source });
    Object.assign(k, as);
    k.launch = { ...k.launch!, pdl };
  }
  const device: CudaDevice = await CudaDevice.open(c.manifest, files, {
    ...(options.watch ? { watch: options.watch(c, () => device) } : {}),
    compile: options.kernels ?? cachedCompile(c.manifest.gpu!.arch, process.env.DSC_NVCC ? "nvcc" : undefined),
    ...(await options.driver?.(c)),
    reads: !weights.startsWith("synthetic:"),
    ...(options.profile ? { profile: true } : {}),
  });
  if (options.pauseMs) await new Promise((resolve) => setTimeout(resolve, options.pauseMs));
  times.push(performance.now());
  const model = await Model.open(c.manifest, device, { weights });
  times.push(performance.now());
  const [compileMs, kernelsMs, loadMs] = times.slice(1).map((t, i) => t - times[i]);
  return { model, compileMs, kernelsMs, loadMs };
}

/** Fixtures on a GPU target, in f32 and bf16: distances to what transformers computed. */
export async function fixtureRows(
  target: "cuda" | "triton" = "cuda",
  { of = fixtures, ...how }: Pick<Parameters<typeof open>[2] & {}, "driver" | "natives"> & { of?: readonly string[] } = {},
): Promise<Row[]> {
  const rows: Row[] = [];
  const queue = of.flatMap((fixture) => (["f32", "bf16"] as const).map((activations) => ({ fixture, activations })));
  // Compiling takes most of the time, so several are opened at once.
  const lane = async (): Promise<void> => {
    for (let one = queue.shift(); one; one = queue.shift()) {
      const { fixture, activations } = one;
      const expected = readTensors(path.join(fixture, "expected.safetensors"));
      const config = JSON.parse(readFileSync(path.join(fixture, "config.json"), "utf8")) as { quantization_config?: object };
      const row: Row = { fixture: path.basename(fixture), target, activations };
      rows.push(row);
      try {
        const { model, kernelsMs } = await open(fixture, fixture, {
          target,
          activations,
          taps: true,
          ...how,
          ...(config.quantization_config ? { actQuant: "none" as const } : {}),
        });
        const d = await distances(model, expected);
        await model.close();
        const limit = activations === "f32" ? 2e-3 : 0.1;
        Object.assign(row, {
          ...d,
          ids: undefined,
          ids_equal: d.same,
          kernels_ms: Math.round(kernelsMs),
          ok: d.prefill < limit && d.decode < limit && d.flipped <= 1 && (activations === "bf16" || d.same),
        });
      } catch (e) {
        Object.assign(row, { ok: false, error: (e as Error).message });
      }
      delete row.ids;
    }
  };
  await Promise.all(Array.from({ length: 6 }, lane));
  return rows;
}

interface Oracle {
  input_ids: number[];
  modes: Record<"f32" | "bf16", { greedy_ids: number[]; last_logits: number[]; steps: { gap: number }[] }>;
}

export const oracle = (): Oracle => JSON.parse(readFileSync(path.join(root, "test/oracle/reduced_seed.json"), "utf8")) as Oracle;
export const printed = path.join(root, "examples/printed-model/config.json");

/** Greedy ids equal wherever the reference's gap is 0.05 or more; its own id is fed back, so that one other choice does not hide the next. */
async function printedRows(): Promise<Row[]> {
  const { input_ids, modes } = oracle();
  const rows: Row[] = [];
  const ways = [
    { activations: "bf16", natives: "all" },
    { activations: "bf16", natives: "none" },
    { activations: "f32", natives: "all" },
  ] as const;
  const one = async ({ activations, natives }: (typeof ways)[number]): Promise<void> => {
    const want = modes[activations];
    try {
      const { model } = await open(printed, "synthetic:0", { activations, natives });
      const session = model.session({ maxTokens: 256, sequences: 1 });
      let result = await session.prefill([input_ids]);
      const last = result.logits(0);
      const logits = want.last_logits.reduce((most, v, i) => Math.max(most, Math.abs(v - last[i])), 0);
      let [equal, wrong] = [0, 0];
      for (const [i, id] of want.greedy_ids.entries()) {
        if (result.next(0) === id) equal++;
        else if (want.steps[i].gap >= 0.05) wrong++;
        if (i + 1 < want.greedy_ids.length) result = await session.decode([id]);
      }
      session.close();
      await model.close();
      rows.push({
        model: "printed",
        activations,
        natives,
        last_logits_apart: logits,
        ids_equal: equal,
        of: want.greedy_ids.length,
        wrong,
        ok: wrong === 0 && logits < (activations === "f32" ? 2e-3 : 0.1),
      });
    } catch (e) {
      rows.push({ model: "printed", activations, natives, ok: false, error: (e as Error).message });
    }
  };
  await Promise.all(ways.map(one));
  return rows;
}

export async function check(): Promise<Row[]> {
  return (await Promise.all([printedRows(), fixtureRows()])).flat();
}

/** Milliseconds of each of n decode steps after `context` rows; the first two, which make the graph, are left out. */
export async function decodeMs(session: Session, context: number, n: number, batch = 1): Promise<number[]> {
  const prompt = (b: number): number[] => Array.from({ length: context }, (_, i) => (i * 7919 + b * 104729 + 13) % 1000);
  let result = await session.prefill(Array.from({ length: batch }, (_, b) => prompt(b)));
  const out: number[] = [];
  for (let i = 0; i < n + 2; i++) {
    const ids = Array.from({ length: batch }, (_, b) => result.next(b));
    const from = performance.now();
    result = await session.decode(ids);
    if (i >= 2) out.push(performance.now() - from);
  }
  return out;
}

export const median = (a: readonly number[]): number => a.toSorted((x, y) => x - y)[a.length >> 1];

/** Floors of an H200 and what is asked, milliseconds: 1.398 GB at 4539 GB/s; 4096 tokens at 989 TFLOP/s. */
const FLOOR = { decode: { floor_ms: 0.308, asked_ms: 0.42 }, prefill: { floor_ms: 7.8, asked_ms: 16 } } as const;

export async function measure(): Promise<Row[]> {
  const rows: Row[] = [];
  const { model, compileMs, kernelsMs, loadMs } = await open(printed, "synthetic:0");
  rows.push({
    model: "printed",
    what: "start",
    compile_ms: Math.round(compileMs),
    kernels_ms: Math.round(kernelsMs),
    weights_ms: Math.round(loadMs),
  });
  for (const context of [64, 1024]) {
    const session = model.session({ maxTokens: 1280, sequences: 1 });
    const ms = await decodeMs(session, context, 60);
    const gpu = model.device.replayTimes(50);
    session.close();
    rows.push({
      model: "printed",
      what: "decode",
      context,
      batch: 1,
      ms_per_token: median(ms),
      best: Math.min(...ms),
      graph_us: median(gpu),
      ...FLOOR.decode,
    });
  }
  for (const context of [64, 1024])
    rows.push({
      model: "printed",
      what: "decode, steps begun ahead",
      context,
      batch: 1,
      ms_per_token: await aheadMs(model, context, 100),
      ...FLOOR.decode,
    });
  const drawing = { temperature: 0.8, topK: 50, topP: 0.95, repeatPenalty: 1.1, seed: 1 };
  rows.push({
    model: "printed",
    what: "decode, ids drawn, begun ahead",
    context: 1024,
    batch: 1,
    ms_per_token: await aheadMs(model, 1024, 100, drawing),
    ...FLOOR.decode,
  });
  rows.push({ what: "tables and ids go through pinned memory", ok: model.device.usesMailbox });
  const plain = await greedy(model, 1024, 24);
  for (const [what, options] of Object.entries(habits)) {
    try {
      const other = (await open(printed, "synthetic:0", options)).model;
      const session = other.session({ maxTokens: 1280, sequences: 1 });
      await decodeMs(session, 1024, 4);
      const gpu = median(other.device.replayTimes(50));
      session.close();
      const same = (await greedy(other, 1024, 24)).every((id, i) => id === plain[i]);
      rows.push({ model: "printed", what: `decode, ${what}`, context: 1024, batch: 1, graph_us: gpu, same_ids: same, ok: same });
      await other.close();
    } catch (e) {
      rows.push({ model: "printed", what: `decode, ${what}`, ok: false, error: (e as Error).message });
    }
  }
  for (const length of [64, 1024, 4096]) {
    const session = model.session({ maxTokens: 4160, sequences: 1 });
    const prompt = Array.from({ length }, (_, i) => (i * 7919 + 13) % 1000);
    const ms: number[] = [];
    for (let i = 0; i < 5; i++) {
      const from = performance.now();
      await session.prefill([prompt]);
      ms.push(performance.now() - from);
    }
    session.close();
    rows.push({
      model: "printed",
      what: "prefill",
      tokens: length,
      ms: median(ms),
      best: Math.min(...ms),
      ...(length === 4096 ? FLOOR.prefill : {}),
    });
  }
  await model.close();
  rows.push(...(await table(printed, 1024)));
  return rows;
}

/** Ids of n greedy steps after a prompt of `context` rows. */
async function greedy(model: Model<CudaDevice>, context: number, n: number): Promise<number[]> {
  const ids: number[] = [];
  for await (const step of generate(model, [Array.from({ length: context }, (_, i) => (i * 7919 + 13) % 1000)], {
    maxNew: n,
    ahead: true,
  }))
    ids.push(...step.ids[0]);
  return ids;
}

/** Milliseconds a step when each is begun before the ids of the last are known here. */
export async function aheadMs(
  model: Model<CudaDevice>,
  context: number,
  steps: number,
  sampling: Sampling = {},
): Promise<number> {
  const prompt = Array.from({ length: context }, (_, i) => (i * 7919 + 13) % 1000);
  let from = 0;
  let count = 0;
  for await (const step of generate(model, [prompt], { ...sampling, maxNew: steps + 4, ahead: true })) {
    if (step.index === 3) from = performance.now();
    else if (step.index > 3) count++;
  }
  return (performance.now() - from) / count;
}

/** Time by kernel of decode steps, launch by launch; the sum is more than a graph takes, for nothing overlaps. */
export async function table(src: string, context: number, options: Partial<CompileOptions> = {}, steps = 8): Promise<Row[]> {
  const { model } = await open(src, "synthetic:0", { ...options, profile: true });
  const session = model.session({ maxTokens: context + 64, sequences: 1 });
  await decodeMs(session, context, 2);
  const before = new Map(model.device.timings().map((t) => [t.kernel, t]));
  let result = await session.decode([1]);
  for (let i = 1; i < steps; i++) result = await session.decode([result.next(0)]);
  const rows = model.device.timings().map((t) => ({
    kernel: t.kernel,
    us: ((t.ms - (before.get(t.kernel)?.ms ?? 0)) * 1000) / steps,
    launches: (t.launches - (before.get(t.kernel)?.launches ?? 0)) / steps,
  }));
  session.close();
  await model.close();
  return rows
    .filter((r) => r.launches > 0)
    .toSorted((a, b) => b.us - a.us)
    .map((r) => ({ what: "decode by kernel", context, ...r }));
}
