// What the launches of a step cost, one by one: bytes, FLOPs and the floor under their time. The launches of a step add up to it;
// kernels that the step does not reach are judged at sizes of their own.
import { floorOf, type Machine } from "../../ir/machine.ts";
import { targetOf } from "../../codegen/target.ts";
import type { Problem } from "../../ir/kernel/catalogue.ts";
import { printSize } from "../../ir/size.ts";
import { inSteps, selectModule } from "../../passes/plan/select.ts";
import { launchesOf, ownSizes, runsAt, sizesOf, timesOf, workOf, type Launch, type Range, type Sizes } from "./launches.ts";
import { callsOf, optionsFor, stepSizes, type Load, type Planned } from "./roofline.ts";

export interface LaunchCost {
  kernel: string;
  site: string;
  op: string;
  /** The step that launches it; null where neither does, and its sizes are its own. */
  step: "decode" | "prefill" | null;
  /** The sizes of the step for which this kernel is chosen, where others have another. */
  when?: string;
  /** The sizes it is judged at. */
  at: { T: number; B: number; s: number };
  /** Launches in the step: layers, and slices of regions. 1 where no step launches it. */
  times: number;
  /** Of one launch. */
  bytes: number;
  flops: number;
  floor_us: number;
  /** Of the step's floor, all `times` together, from 0 to 1; 0 where no step launches it. */
  share: number;
}

export interface StepCost {
  rows: number;
  sequences: number;
  cached: number;
  launches: number;
  bytes: number;
  flops: number;
  floor_us: number;
}

export interface Costs {
  steps: { decode: StepCost; prefill: StepCost };
  launches: LaunchCost[];
}

/** `kernelOf` names the kernel of a family for a problem; `batchInvariant`: the plan is of --deterministic. */
export function costsOf(
  p: Planned,
  machine: Machine,
  load: Load,
  kernelOf: (family: string, problem: Problem) => string,
  batchInvariant: boolean,
): Costs {
  const { module: m, experts } = p;
  const target = targetOf(p.target, optionsFor(p));
  const steps = batchInvariant ? target.batchInvariant?.catalogue : undefined;
  const drafts = selectModule(m, target.catalogue, steps && inSteps(m, steps, target.catalogue));
  const loads = new Set(m.load.map((l) => l.func));
  const placed = new Map(drafts.map((d) => [d.name, launchesOf(m.funcs.get(d.name)!, d)]));
  const cost = (l: Launch, z: Sizes, entry: LaunchCost["step"], times: number): LaunchCost => {
    const { bytes, flops, format } = workOf(m, l, z);
    const { site, node, chosen } = l.draft;
    return {
      kernel: kernelOf(chosen.family, chosen.problem),
      site,
      op: chosen.part?.op ?? node?.op.name ?? "copy",
      step: entry,
      ...(l.range ? { when: rangeInWords(l.range) } : {}),
      at: { T: z.T, B: z.B, s: z.s },
      times,
      bytes,
      flops,
      floor_us: floorOf(machine, bytes, flops, format).us,
      share: 0,
    };
  };
  const launches: LaunchCost[] = [];
  const stepOf = (entry: "decode" | "prefill"): StepCost => {
    const sizes = stepSizes(entry, load);
    const z = sizesOf(sizes, experts);
    const here = [...callsOf(m, m.entries[entry])].flatMap(([f, calls]) =>
      placed
        .get(f)!
        .filter((l) => runsAt(l, z))
        .map((l) => cost(l, z, entry, calls * timesOf(l, z))),
    );
    const sum = (of: (l: LaunchCost) => number): number => here.reduce((a, l) => a + l.times * of(l), 0);
    const floor = sum((l) => l.floor_us);
    for (const l of here) l.share = (l.times * l.floor_us) / floor;
    launches.push(...here.toSorted((a, b) => b.share - a.share));
    return { ...sizes, launches: sum(() => 1), bytes: sum((l) => l.bytes), flops: sum((l) => l.flops), floor_us: floor };
  };
  const costs = { decode: stepOf("decode"), prefill: stepOf("prefill") };
  const known = new Set(launches.map((l) => `${l.site} ${l.kernel}`));
  for (const [name, all] of placed) {
    for (const l of all) {
      const z = ownSizes(l, experts) ?? (loads.has(name) ? sizesOf({ rows: 1, sequences: 1, cached: 1 }, experts) : undefined);
      const one = z && cost(l, z, null, 1);
      if (!one || known.has(`${one.site} ${one.kernel}`)) continue;
      known.add(`${one.site} ${one.kernel}`);
      launches.push(one);
    }
  }
  return { steps: costs, launches };
}

/** "T up to 16", "T from 17 to 64", "T from 65". */
export function rangeInWords({ on, from, most }: Range): string {
  const size = printSize(on);
  if (most === null) return `${size} from ${from}`;
  return from <= 1
    ? most === 1
      ? `${size} = 1`
      : `${size} up to ${most}`
    : from === most
      ? `${size} = ${most}`
      : `${size} from ${from} to ${most}`;
}
