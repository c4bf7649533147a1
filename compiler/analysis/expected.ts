// What the chosen kernels of a step are expected to take on the GPU that they are made for, beside the floor: as measured on this
// machine, as measured by us, or by estimate; and which launches no hand-written kernel serves.
import { archOf } from "../../codegen/cuda/archs.ts";
import { emittersOf, type Arch } from "../../codegen/cuda/native.ts";
import { timeOf, type Time } from "../../codegen/cuda/select.ts";
import { withTuned, type TunedRow } from "../../codegen/cuda/tuned.ts";
import { families } from "../../codegen/kernels/index.ts";
import { targetOf } from "../../codegen/target.ts";
import { floorOf, type Machine } from "../../ir/machine.ts";
import { evaluate } from "../../ir/size.ts";
import { selectModule } from "../../passes/plan/select.ts";
import { launchesOf, runsAt, sizesOf, timesOf, workOf, type Launch, type Sizes } from "./launches.ts";
import { callsOf, optionsFor, stepSizes, type Load, type Planned } from "./roofline.ts";

/** A place that a printed tile program serves. */
export interface PrintedSite {
  site: string;
  op: string;
  /** Launches in the step. */
  times: number;
  /** Of the step's floor, from 0 to 1. */
  share: number;
}

export interface ExpectedStep {
  /** All launches one after another; those without a time count as their floors, so it is more where there are such. */
  ms: number;
  /** The floors of the same launches. */
  floor_ms: number;
  /** Milliseconds and launches by where the time comes from. */
  by: Record<Time["source"] | "floor", { ms: number; launches: number }>;
  /** Places with no hand-written kernel, the largest share first. */
  printed: PrintedSite[];
}

export interface Expected {
  decode: ExpectedStep;
  prefill: ExpectedStep;
}

/** Undefined where nothing is known of times: for another target, or another GPU than its kernels are made for. */
export function expectedOf(p: Planned, machine: Machine, load: Load, tuned: readonly TunedRow[] = []): Expected | undefined {
  const arch = archOn(p, machine, tuned);
  if (!arch) return undefined;
  const { module: m, experts } = p;
  const drafts = selectModule(m, targetOf(p.target, { ...optionsFor(p), tuned }).catalogue);
  const placed = new Map(drafts.map((d) => [d.name, launchesOf(m.funcs.get(d.name)!, d)]));
  const stepOf = (entry: "decode" | "prefill"): ExpectedStep => {
    const z = sizesOf(stepSizes(entry, load), experts);
    const here = [...callsOf(m, m.entries[entry])].flatMap(([f, calls]) =>
      placed
        .get(f)!
        .filter((l) => runsAt(l, z))
        .map((l) => {
          const { bytes, flops, format } = workOf(m, l, z);
          const floor = floorOf(machine, bytes, flops, format).us;
          return { l, times: calls * timesOf(l, z), floor, time: timeAt(arch, l, z) };
        }),
    );
    const by: ExpectedStep["by"] = {
      "measured here": { ms: 0, launches: 0 },
      "measured by us": { ms: 0, launches: 0 },
      estimated: { ms: 0, launches: 0 },
      "given by a plug-in": { ms: 0, launches: 0 },
      floor: { ms: 0, launches: 0 },
    };
    const printed = new Map<string, PrintedSite>();
    const whole = here.reduce((sum, { times, floor }) => sum + times * floor, 0);
    for (const { l, times, floor, time } of here) {
      const into = by[time?.source ?? "floor"];
      into.ms += (times * Math.max(floor, time?.us ?? 0)) / 1000;
      into.launches += times;
      const { site, node, chosen } = l.draft;
      if (!(chosen.family in families)) continue;
      const found = printed.get(site) ?? { site, op: chosen.part?.op ?? node?.op.name ?? "copy", times: 0, share: 0 };
      printed.set(site, { ...found, times: found.times + times, share: found.share + (times * floor) / whole });
    }
    const ms = Object.values(by).reduce((sum, part) => sum + part.ms, 0);
    return { ms, floor_ms: whole / 1000, by, printed: [...printed.values()].toSorted((a, b) => b.share - a.share) };
  };
  return { decode: stepOf("decode"), prefill: stepOf("prefill") };
}

/** The architecture whose kernels' times are known on a machine: that of a GPU's kernels on the GPU that they are made for. */
function archOn(p: Planned, machine: Machine, tuned: readonly TunedRow[]): Arch | undefined {
  if (p.target !== "cuda") return undefined;
  const arch = withTuned(archOf(p.arch), tuned);
  return arch.machine.name === machine.name ? arch : undefined;
}

/** What a launch of a plan is expected to take at these sizes; undefined where nothing is known of times. */
export function timesOn(
  p: Planned,
  machine: Machine,
  tuned: readonly TunedRow[] = [],
): ((l: Launch, z: Sizes) => Time | null) | undefined {
  const arch = archOn(p, machine, tuned);
  return arch && ((l, z) => timeAt(arch, l, z));
}

/** Places of products that printed tile programs serve though natives of the architecture serve such: those of either step, once. */
export function printedProductsOf(e: Expected, arch: Arch): PrintedSite[] {
  const served = new Set(arch.natives.flatMap((n) => n.serves).filter((op) => /linear|experts_add$/.test(op)));
  const found = new Map([...e.prefill.printed, ...e.decode.printed].map((p) => [p.site, p]));
  return [...found.values()].filter((p) => served.has(p.op)).toSorted((a, b) => b.share - a.share);
}

/** Of one launch, where its native says. */
function timeAt({ natives, machine }: Arch, { draft, range }: Launch, z: Sizes): Time | null {
  const { family, problem, dims } = draft.chosen;
  const by = emittersOf(natives).find((e) => e.family === family);
  if (!by || !("schedule" in problem)) return null;
  const { schedule, ...of } = problem;
  const rows = evaluate(range?.on ?? dims[0] ?? 1, z);
  return timeOf(by.schedules, of, schedule, rows, machine);
}
