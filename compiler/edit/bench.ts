// How long an edit takes beside the kernel as it was compiled: both in one process, in turn, so that what disturbs one disturbs
// both.
import { median } from "../../runtime/devices/cuda/launch-time.ts";
import type { Manifest } from "../../ir/artifact.ts";
import { columnsFor } from "./hold.ts";
import type { Machine, Program } from "./machine.ts";
import type { KernelSite } from "./sites.ts";
import { stepWith, type Step } from "./sizes.ts";
import { trialOf, type Trial } from "./trial.ts";

export interface Timed {
  kernel: string;
  site: string;
  case: string;
  where: string;
  /** Median microseconds of a launch. */
  original_us: number;
  edit_us?: number;
  /** Median of what the original took of the edit's time, round by round: above 1 the edit is faster. */
  faster?: number;
  rounds: number;
}

const ROUNDS = 25;

/** The step that a kernel is timed or exported at: its first place that has one. */
export function stepFor(
  sites: readonly KernelSite[],
  manifest: Manifest,
  rows?: number,
): { site: KernelSite; step: Step } | undefined {
  for (const site of sites) {
    const step = stepWith(site, manifest.model.experts?.count ?? 1, manifest.model.maxPositions, columnsFor(manifest), rows);
    if (step) return { site, step };
  }
  return undefined;
}

export const plainTrial = ({ site, step }: { site: KernelSite; step: Step }, manifest: Manifest): Trial =>
  trialOf(site, manifest, { step, filling: "plain", seed: 0 }, new Map());

export async function timed(
  machine: Machine & Required<Pick<Machine, "time">>,
  trial: Trial,
  site: KernelSite,
  [original, edit]: readonly [Program, Program | undefined],
  programOf: (kernel: string) => Program,
): Promise<Timed> {
  const programs = edit ? [original, edit] : [original];
  const kernel = original.name;
  const rounds = await machine.time({ trial, kernel, programs, programOf, rounds: ROUNDS });
  const found = {
    kernel,
    site: site.draft.site,
    case: trial.what,
    where: machine.where,
    original_us: median(rounds.map((r) => r[0])),
  };
  return edit
    ? { ...found, edit_us: median(rounds.map((r) => r[1])), faster: median(rounds.map((r) => r[0] / r[1])), rounds: ROUNDS }
    : { ...found, rounds: ROUNDS };
}
