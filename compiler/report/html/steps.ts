// The launches of a step in their order, with what each costs and is passed, and the buffers that live between them.
import { nodeLines } from "../../../ir/print.ts";
import { partsOf } from "../../../ir/fused.ts";
import type { Func, Node } from "../../../ir/graph.ts";
import type { KernelRecord, Manifest } from "../../../ir/artifact.ts";
import { storageBytes } from "../../../ir/dtype.ts";
import { boundBuffers, type Problem } from "../../../ir/kernel/catalogue.ts";
import { floorOf, type Machine } from "../../../ir/machine.ts";
import { evaluate, printSize } from "../../../ir/size.ts";
import type { Buffer } from "../../../passes/plan/view.ts";
import type { Draft, DraftFunc } from "../../../passes/plan/select.ts";
import type { Launch as Origin } from "../../analysis/origins.ts";
import { launchesOf, runsAt, sizesOf, timesOf, workOf, type Launch, type Sizes } from "../../analysis/launches.ts";
import { callsOf, type Planned } from "../../analysis/roofline.ts";
import { rangeInWords } from "../../analysis/step-cost.ts";
import type { ArgData, BufferData, CallData, FunctionData, LaunchData, StepData } from "./schema.ts";

/** What steps are counted from: a model after its passes, its launches, and what the artifact says of them. */
export interface Plan {
  planned: Planned;
  drafts: readonly DraftFunc[];
  manifest: Manifest;
  machine: Machine;
  origins: readonly Origin[];
  /** The name of the kernel of a family for a problem. */
  kernelOf: (family: string, problem: Problem) => string;
  /** What a launch is expected to take, where that is known. */
  timeOf?: ((l: Launch, z: Sizes) => { us: number; source: string } | null) | undefined;
  /** Function texts after the last pass, as the report shows them. */
  texts: ReadonlyMap<string, string>;
}

export interface StepSizes {
  rows: number;
  sequences: number;
  cached: number;
}

/** One step of an entry, its functions callees first. */
export function stepOf(plan: Plan, entry: string, sizes: StepSizes): StepData {
  const { module: m, experts } = plan.planned;
  const z = sizesOf(sizes, experts);
  const functions = [...callsOf(m, entry)].map(([name, calls]) => functionAt(plan, name, calls, z));
  const sum = (of: (l: LaunchData) => number): number =>
    functions.reduce((n, f) => n + f.calls * f.launches.reduce((a, l) => a + ("kernel" in l ? l.times * of(l) : 0), 0), 0);
  const floor = sum((l) => l.floor);
  for (const f of functions)
    for (const l of f.launches) if ("kernel" in l) l.share = floor > 0 ? (f.calls * l.times * l.floor) / floor : 0;
  return {
    entry,
    ...sizes,
    launches: sum(() => 1),
    bytes: sum((l) => l.bytes),
    flops: sum((l) => l.flops),
    floor,
    ...(plan.timeOf ? { expected: sum((l) => Math.max(l.floor, l.expected?.us ?? 0)) } : {}),
    functions,
  };
}

/** What a function does at these sizes, in order: launches, and runs of calls of one function. */
type Item = { launch: Launch } | { calls: (Draft & { kind: "call" })[] };

function itemsOf(steps: readonly Draft[], launches: ReadonlyMap<Draft, Launch>, z: Sizes): Item[] {
  const out: Item[] = [];
  for (const s of steps) {
    if (s.kind === "kernel") {
      const launch = launches.get(s)!;
      if (runsAt(launch, z)) out.push({ launch });
    } else if (s.kind === "call") {
      const last = out.at(-1);
      if (last && "calls" in last && last.calls[0].function === s.function) last.calls.push(s);
      else out.push({ calls: [s] });
    } else if (s.kind === "slices") out.push(...itemsOf(s.steps, launches, z));
    else if (s.kind === "cases") for (const c of s.cases) out.push(...itemsOf(c.steps, launches, z));
  }
  return out;
}

function functionAt(plan: Plan, name: string, calls: number, z: Sizes): FunctionData {
  const func = plan.planned.module.funcs.get(name)!;
  const draft = plan.drafts.find((d) => d.name === name)!;
  const launches = new Map<Draft, Launch>(launchesOf(func, draft).map((l) => [l.draft, l]));
  const items = itemsOf(draft.steps, launches, z);
  const lines = new Lines(func, plan.texts.get(name) ?? "");
  const names = new Map<Buffer, string>();
  const data = items.map((item): LaunchData | CallData =>
    "calls" in item
      ? { call: item.calls[0].function, layers: item.calls.map((c) => c.layer) }
      : launchData(plan, item.launch, z, lines, names),
  );
  const slots = plan.manifest.functions[name]?.slots ?? [];
  return {
    name,
    calls,
    launches: data,
    buffers: buffersOf(items, names, z),
    arena: slots.reduce<number>((n, s) => n + evaluate(s, { ...z, b: 0, e: 0 }), 0),
  };
}

function launchData(plan: Plan, l: Launch, z: Sizes, lines: Lines, names: Map<Buffer, string>): LaunchData {
  const { draft } = l;
  const { site, node, chosen } = draft;
  const kernel = plan.kernelOf(chosen.family, chosen.problem);
  const { bytes, flops, format } = workOf(plan.planned.module, l, z);
  const { us, bound } = floorOf(plan.machine, bytes, flops, format);
  const origin = plan.origins.find((o) => o.site === site && o.kernel === kernel);
  const line = node ? lines.of(node) : undefined;
  const time = plan.timeOf?.(l, z);
  const parts = node ? opsWithin(node) : [];
  return {
    kernel,
    site,
    op: chosen.part?.op ?? node?.op.name ?? "copy",
    times: timesOf(l, z),
    bytes,
    flops,
    floor: us,
    format,
    bound,
    share: 0,
    ...(time ? { expected: { us: time.us, source: time.source } } : {}),
    ...(l.range ? { when: rangeInWords(l.range) } : {}),
    ...(line === undefined ? {} : { line }),
    ...(parts.length ? { parts } : {}),
    tensors: origin?.tensors ?? [],
    keys: origin?.keys ?? [],
    rules: origin?.rules ?? [],
    args: argsOf(draft, plan.manifest.kernels[kernel], lines, names),
  };
}

/** The ops of the graph that a fused op stands for, and of the graphs of those, in order, each once. */
function opsWithin({ op, operands, attrs }: Pick<Node, "op" | "operands" | "attrs">, depth = 1): [string, number][] {
  if (!op.of) return [];
  const { nodes } = partsOf(
    op,
    operands.map((o) => o.type),
    attrs,
  );
  const all = nodes
    .filter((n) => n.op.traits.view === undefined)
    .flatMap((n) => [[n.op.name, depth] as [string, number], ...opsWithin(n, depth + 1)]);
  return [...new Map(all.map((p) => [p[0], p])).values()];
}

/** What each buffer of a kernel is bound to. Buffers of the arena are named by the launch that is passed them first. */
function argsOf(
  d: Draft & { kind: "kernel" },
  record: KernelRecord | undefined,
  lines: Lines,
  names: Map<Buffer, string>,
): ArgData[] {
  const params = record ? boundBuffers(record.params) : [];
  return d.args.map(({ buffer }, i) => {
    const param = params[i] ?? `${i}`;
    const declared = record?.params.find((p) => p.kind === "buffer" && p.name === param);
    const arg = d.chosen.args[i];
    if ("arena" in buffer.place && !names.has(buffer)) {
      const results = d.node && !d.chosen.part ? lines.results(d.node) : [];
      const out = "out" in arg ? results[arg.out] : "scratch" in arg ? arg.scratch : undefined;
      const of = out ?? results[0] ?? d.site.slice(d.site.lastIndexOf("/") + 1);
      names.set(buffer, "part" in arg && arg.part === "scales" ? `${of}, scales` : of);
    }
    return {
      param,
      access: declared?.kind === "buffer" ? declared.access : "in",
      of: placeInWords(buffer, names),
    };
  });
}

function placeInWords(buffer: Buffer, names: ReadonlyMap<Buffer, string>): string {
  const { place } = buffer;
  if ("arena" in place) return names.get(buffer) ?? "rows between launches";
  if ("weight" in place) return `@${place.weight}${place.part === "scales" ? ", scales" : ""}`;
  if ("arg" in place) return `%${place.arg}`;
  return "cache" in place ? `cache ${place.cache}` : `batch ${place.batch}`;
}

/** Arena buffers with the first and last item that touches each. */
function buffersOf(items: readonly Item[], names: ReadonlyMap<Buffer, string>, z: Sizes): BufferData[] {
  const lives = new Map<Buffer, { from: number; to: number }>();
  items.forEach((item, i) => {
    const refs = "launch" in item ? item.launch.draft.args : item.calls.flatMap((c) => Object.values(c.args));
    for (const { buffer } of refs) {
      if (!("arena" in buffer.place)) continue;
      const life = lives.get(buffer);
      if (life) life.to = i;
      else lives.set(buffer, { from: i, to: i });
    }
  });
  return [...lives].map(([buffer, life]) => ({
    name: names.get(buffer) ?? "rows between layers",
    shape: `[${buffer.shape.map(printSize).join(", ")}] ${buffer.dtype}`,
    bytes: buffer.shape.reduce<number>((n, s) => n * evaluate(s, z), storageBytes[buffer.dtype]),
    ...life,
  }));
}

/** Where the nodes of a function stand in its text. */
class Lines {
  readonly #lines: ReturnType<typeof nodeLines>;
  readonly #at = new Map<string, number>();

  constructor(func: Func, text: string) {
    this.#lines = nodeLines(func);
    text.split("\n").forEach((line, i) => this.#at.set(collapsed(line), i));
  }

  of(node: NonNullable<(Draft & { kind: "kernel" })["node"]>): number | undefined {
    const line = this.#lines.get(node);
    return line === undefined ? undefined : this.#at.get(collapsed(line));
  }

  /** Names of a node's results as they are printed. */
  results(node: NonNullable<(Draft & { kind: "kernel" })["node"]>): string[] {
    const line = this.#lines.get(node)?.trim() ?? "";
    return line.slice(0, Math.max(0, line.indexOf(" = "))).split(", ");
  }
}

const collapsed = (line: string): string => line.trim().replace(/ {2,}/g, " ");
