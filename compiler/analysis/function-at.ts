// A function of an artifact at a batch: its launches in order, each with what it reads and writes, its cost and where it came from, and
// the buffers of its arena with the bytes that are live at every launch. As data: `dsc inspect OUT FUNCTION --batch B --json`.
import { inside, type FunctionPlan, type Manifest, type Ref, type Step } from "../../ir/artifact.ts";
import { boundBuffers } from "../../ir/kernel/catalogue.ts";
import { floorOf, type Machine } from "../../ir/machine.ts";
import { evaluate, type Size } from "../../ir/size.ts";
import type { Tenant } from "../../passes/plan/memory.ts";
import { caseOf } from "../../runtime/plan/walk.ts";
import type { Launch as Placed, Sizes } from "./launches.ts";
import { runsAt, timesOf, workOf } from "./launches.ts";
import type { NodeOrigin, Origins } from "./origins.ts";
import type { Drafted } from "./drafted.ts";

export const FUNCTION_AT = "dsc-function/1";

/** What `dsc inspect OUT FUNCTION --batch B --json` prints. */
export interface FunctionAt {
  schema: typeof FUNCTION_AT;
  function: string;
  target: string;
  /** The machine that floors are of. */
  device: string;
  /** Rows T of B sequences, and cached rows s of each, these included. */
  at: { T: number; B: number; s: number };
  launches: LaunchAt[];
  /** Functions that it calls, by the step at which it does; their launches are theirs. */
  calls: { step: number; function: string; layer: number }[];
  buffers: BufferAt[];
  /** Bytes that hold a value at every launch, in the order of launches. */
  live: number[];
  /** The arena of this function alone: its slots, each as large as its largest tenant. */
  arena_bytes: number;
  totals: { launches: number; bytes: number; flops: number; floor_us: number };
}

export interface LaunchAt {
  index: number;
  /** The step of the function's plan that it is of; a loop or a choice by size is one step. */
  step: number;
  kernel: string;
  family: string;
  site: string;
  op: string;
  /** Launches in one run of the function: once for each sequence or expert inside a loop. */
  times: number;
  /** The line of the graph that it serves; absent for copies. */
  line?: string;
  keys: string[];
  tensors: string[];
  rules: string[];
  /** Parameters of the kernel with the value, weight, table or cache that each is. */
  reads: string[];
  writes: string[];
  /** Run-time sizes as the kernel takes them; of a loop over experts those of the rows that are expected. */
  dims: Record<string, number>;
  /** Of a GPU: blocks, threads of a block, and bytes of shared memory. */
  launch?: { grid: number[]; block: number; shared: number };
  /** Of one launch; absent where its ops are not known here (a plug-in's). */
  cost?: { bytes: number; flops: number; floor_us: number; share: number };
}

export interface BufferAt {
  name: string;
  slot: number;
  bytes: number;
  /** The first and the last launch (by index) at which it holds its value. */
  from: number;
  to: number;
}

type KernelStep = Extract<Step, { kind: "kernel" }>;

/** The launches of a function at these sizes, with the step of the function each is of, and the size symbols there. */
function walked(plan: FunctionPlan, z: Sizes): { at: number; step: KernelStep }[] {
  const out: { at: number; step: KernelStep }[] = [];
  const walk = (steps: readonly Step[], at?: number): void =>
    steps.forEach((s, i) => {
      const own = at ?? i;
      if (s.kind === "kernel") out.push({ at: own, step: s });
      else if (s.kind === "cases") walk(caseOf(s, evaluate(s.on, z)).steps, own);
      else if (s.kind === "slices") walk(inside(s), own);
    });
  walk(plan.steps);
  return out;
}

const number = (s: Size, z: Sizes): number => {
  try {
    return evaluate(s, z);
  } catch {
    return NaN;
  }
};

/** The name of what an argument is, as a person looks for it. */
function named(ref: Ref, step: number, tenants: readonly Tenant[]): string {
  if ("slot" in ref)
    return tenants.find((t) => t.slot === ref.slot && t.first <= step && step <= t.last)?.name ?? `slot ${ref.slot}`;
  if ("arg" in ref) return ref.arg;
  if ("weight" in ref) return `@${ref.weight}${ref.part === "scales" ? " scales" : ""}`;
  return "batch" in ref ? `batch.${ref.batch}` : `cache ${ref.cache}`;
}

/** `drafted`: the same launches with their nodes, for costs; undefined where the graph has ops that are not known here. */
export function functionAt(
  m: Manifest,
  origins: Origins,
  name: string,
  z: Sizes,
  machine: Machine,
  drafted: Drafted | undefined,
): FunctionAt {
  const plan = m.functions[name];
  const tenants = origins.functions[name]?.buffers ?? [];
  const steps = walked(plan, z);
  const placed = drafted?.launches(name).filter((l) => runsAt(l, z)) ?? [];
  // A plug-in's kernel that is not known here would have been chosen otherwise.
  const same =
    placed.length === steps.length &&
    steps.every(({ step }, i) => placed[i].draft.chosen.family === m.kernels[step.kernel].family);
  const bySite = new Map<string, NodeOrigin | undefined>(
    origins.launches.map((l) => [`${l.kernel} ${l.site}`, l.node === undefined ? undefined : origins.nodes[l.node]]),
  );
  const launches = steps.map(({ at, step }, index): LaunchAt => {
    const record = m.kernels[step.kernel];
    const node = bySite.get(`${step.kernel} ${step.site}`);
    const of = origins.launches.find((l) => l.kernel === step.kernel && l.site === step.site);
    const access = new Map(record.params.flatMap((p) => (p.kind === "buffer" ? [[p.name, p.access] as const] : [])));
    // A buffer that only a TMA descriptor names is read.
    const list = (but: "in" | "out"): string[] =>
      boundBuffers(record.params).flatMap((p, i) =>
        (access.get(p) ?? "in") === but ? [] : [`${p} = ${named(step.args[i], at, tenants)}`],
      );
    const dims = Object.fromEntries(record.dims.map((d, i) => [d, number(step.dims[i], z)]));
    const { launch } = record;
    return {
      index,
      step: at,
      kernel: step.kernel,
      family: record.family,
      site: step.site,
      op: of?.op ?? "copy",
      times: same ? timesOf(placed[index], z) : 1,
      ...(node ? { line: node.line } : {}),
      keys: node?.keys ?? [],
      tensors: node?.tensors ?? [],
      rules: node?.rules ?? [],
      reads: list("out"),
      writes: list("in"),
      dims,
      ...(launch
        ? { launch: { grid: launch.grid.map((g) => number(g, dims)), block: launch.block, shared: launch.sharedBytes } }
        : {}),
      ...(same && drafted ? { cost: costOf(drafted, placed[index], z, machine) } : {}),
    };
  });
  const floor = sum(launches, (l) => l.times * (l.cost?.floor_us ?? 0));
  for (const l of launches) if (l.cost) l.cost.share = floor > 0 ? (l.times * l.cost.floor_us) / floor : 0;
  const buffers = tenants.filter((t) => used(t, plan, launches)).flatMap((t) => held(t, launches, z));
  return {
    schema: FUNCTION_AT,
    function: name,
    target: m.target,
    device: machine.name,
    at: { T: z.T, B: z.B, s: z.s },
    launches,
    calls: plan.steps.flatMap((s, step) => (s.kind === "call" ? [{ step, function: s.function, layer: s.layer }] : [])),
    buffers,
    live: launches.map((l) => sum(buffers, (b) => (b.from <= l.index && l.index <= b.to ? b.bytes : 0))),
    arena_bytes: sum(plan.slots, (s) => number(s, z)),
    totals: {
      launches: sum(launches, (l) => l.times),
      bytes: sum(launches, (l) => l.times * (l.cost?.bytes ?? 0)),
      flops: sum(launches, (l) => l.times * (l.cost?.flops ?? 0)),
      floor_us: floor,
    },
  };
}

const sum = <T>(items: readonly T[], of: (item: T) => number): number => items.reduce((a, x) => a + of(x), 0);

function costOf({ module: m }: Drafted, l: Placed, z: Sizes, machine: Machine): NonNullable<LaunchAt["cost"]> {
  const { bytes, flops, format } = workOf(m, l, z);
  return { bytes, flops, floor_us: floorOf(machine, bytes, flops, format).us, share: 0 };
}

/** Whether a launch of this case, or a function that is called, has a buffer: those of other cases hold nothing. */
const used = ({ name, first, last }: Tenant, { steps }: FunctionPlan, launches: readonly LaunchAt[]): boolean =>
  launches.some((l) => [...l.reads, ...l.writes].some((a) => a.endsWith(` = ${name}`))) ||
  steps.slice(first, last + 1).some((s) => s.kind === "call");

/** A buffer by the launches between its steps; one that no launch of this case touches is not there. */
function held({ name, slot, bytes, first, last }: Tenant, launches: readonly LaunchAt[], z: Sizes): BufferAt[] {
  const from = launches.findIndex((l) => l.step >= first);
  const to = launches.findLastIndex((l) => l.step <= last);
  return from < 0 || to < from ? [] : [{ name, slot, bytes: number(bytes, z), from, to }];
}
