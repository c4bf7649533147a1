// Which native runs a site at how many rows: of all that take it, the one with the least time at every step of a ladder of row
// counts, by measurement or estimate. What lost is written down beside what won.
import type { Chosen, Choice, Instead, Site } from "../../ir/kernel/catalogue.ts";
import type { Gpu } from "../../ir/machine.ts";
import { refuse, type Refusal } from "../family.ts";
import { launchOf, type Native, type NativeMatch, type Schedules } from "./native.ts";

/**
 * Row counts at which the choice is looked at again, beside those that a schedule takes at most; between two of them one kernel
 * serves.
 */
export const LADDER = [1, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192, 16384, 32768] as const;

/** Microseconds of a launch, and where they come from. */
export interface Time {
  us: number;
  source: "measured here" | "given by a plug-in" | "measured by us" | "estimated";
}

/** A time in words: "measured by us at 9.5 us". */
export const timeInWords = ({ us, source }: Time): string => `${source} at ${us.toFixed(1)} us`;

/** What a schedule takes at so many rows, where its native says: measured on this machine, by us, or estimated. */
export function timeOf<P extends object, S>(t: Schedules<P, S>, p: P, s: S, rows: number, machine: Gpu): Time | null {
  const here = t.tunedUs?.(p, s, rows);
  if (here !== undefined) return { us: here, source: "measured here" };
  const given = t.givenUs?.(p, s, rows);
  if (given !== undefined) return { us: given, source: "given by a plug-in" };
  const us = t.measuredUs?.(p, s, rows);
  if (us !== undefined) return { us, source: "measured by us" };
  return t.estimate ? { us: t.estimate(p, s, rows, machine), source: "estimated" } : null;
}

interface Picked<S> {
  schedule: S;
  /** The schedule in words that are the same for the same one. */
  key?: string;
  /** Absent where its native says none, and the order of candidates or a rule decides. */
  time: Time | null;
  /** Microseconds by which natives are compared: what the kernel after it waits longer is counted too. */
  cost: number;
}

/** The schedules that can run a problem, or why none can. */
function legal<P extends object, S>(t: Schedules<P, S>, p: P, machine: Gpu, more?: (s: S) => string | null): S[] | Refusal {
  const candidates = t.candidates(p, machine);
  if ("reason" in candidates) return candidates;
  const judged = candidates.map((s) => ({ s, reason: t.illegal(p, s, machine) ?? more?.(s) ?? null }));
  const able = judged.filter(({ reason }) => reason === null).map(({ s }) => s);
  return able.length ? able : refuse(judged[0]?.reason ?? "there is no schedule");
}

/** The best of the schedules that can run a problem, for so many rows; null where none takes as many. */
function pick<P extends object, S>(t: Schedules<P, S>, p: P, able: readonly S[], rows: number, machine: Gpu): Picked<S> | null {
  const takes = (s: S): boolean => rows <= (t.maxRows?.(s) ?? Infinity);
  const picked = (schedule: S): Picked<S> => {
    const time = timeOf(t, p, schedule, rows, machine);
    return { schedule, time, cost: (time?.us ?? 0) + (t.handOver?.(schedule, machine) ?? 0) };
  };
  const fastest = (of: readonly S[]): Picked<S> =>
    of.map(picked).reduce((least, s) => ((s.time?.us ?? 0) < (least.time?.us ?? 0) ? s : least));
  const fits = able.filter(takes);
  const tuned = fits.filter((s) => t.tunedUs?.(p, s, rows) !== undefined);
  if (tuned.length) return fastest(tuned);
  const given = fits.filter((s) => t.givenUs?.(p, s, rows) !== undefined);
  if (given.length) return fastest(given);
  const known = t.measured?.(p, rows, machine).find((s) => takes(s) && t.illegal(p, s, machine) === null);
  if (known !== undefined) return picked(known);
  return fits.length ? fastest(fits) : null;
}

/** The schedules that can run a problem, and what was picked of them by rows so far. */
interface Ladder {
  able: unknown[] | Refusal;
  /** Row counts that some of them take at most. */
  caps: readonly number[];
  picks: Map<number, Picked<unknown> | null>;
}

/** By schedules, GPU and problem: sites of one problem are many, and selection comes again for every estimate of a step. */
const ladders = new WeakMap<object, WeakMap<Gpu, Map<string, Ladder>>>();

function ladderOf({ schedules }: Native, { problem, follow }: NativeMatch<object, unknown>, machine: Gpu): Ladder {
  const make = (): Ladder => {
    const able = legal(schedules, problem, machine, follow?.illegal);
    const most = "reason" in able ? [] : able.map((s) => schedules.maxRows?.(s) ?? Infinity);
    return { able, caps: [...new Set(most)].filter(Number.isFinite), picks: new Map() };
  };
  // What follows is judged by the site too.
  if (follow) return make();
  let byGpu = ladders.get(schedules);
  if (!byGpu) ladders.set(schedules, (byGpu = new WeakMap()));
  let byProblem = byGpu.get(machine);
  if (!byProblem) byGpu.set(machine, (byProblem = new Map()));
  const key = JSON.stringify(problem);
  let ladder = byProblem.get(key);
  if (!ladder) byProblem.set(key, (ladder = make()));
  return ladder;
}

/** A native that takes a site, with what could run it. */
interface Offer extends Pick<Ladder, "caps" | "picks"> {
  native: Native;
  match: NativeMatch<object, unknown>;
  able: unknown[];
}

function pickFor({ native: { schedules }, match, able, picks }: Offer, rows: number, machine: Gpu): Picked<unknown> | null {
  let picked = picks.get(rows);
  if (picked === undefined) {
    picked = pick(schedules, match.problem, able, rows, machine);
    if (picked) picked.key = JSON.stringify(picked.schedule);
    picks.set(rows, picked);
  }
  return picked;
}

/** The natives that take a site, and why others that serve its op do not. */
function offersOf(site: Site, natives: readonly Native[], machine: Gpu): { offers: Offer[]; refused: Instead[] } {
  const offers: Offer[] = [];
  const refused: Instead[] = [];
  for (const n of natives.filter((x) => x.serves.includes(site.op))) {
    const match = n.match(site, machine);
    if ("reason" in match) {
      refused.push({ family: n.family, reason: match.reason });
      continue;
    }
    const { able, ...ladder } = ladderOf(n, match, machine);
    if ("reason" in able) refused.push({ family: n.family, reason: able.reason });
    else offers.push({ native: n, match, able, ...ladder });
  }
  return { offers, refused };
}

/** Why natives that serve the op of a site do not take it. */
export const refusals = (site: Site, natives: readonly Native[], machine: Gpu): Instead[] =>
  offersOf(site, natives, machine).refused;

const countOf = (rows: number): string => (rows === 1 ? "1 row" : `${rows} rows`);

/** Why a native lost to another, in words. */
function whyLost(lost: Picked<unknown> | null, best: Picked<unknown>, winner: string, rows: number): string {
  if (!lost) return `none of its schedules takes ${countOf(rows)}`;
  const inWords = ({ time, cost }: Picked<unknown>): string => {
    if (!time) return "by the order of kernels";
    const waits = cost - time.us;
    return waits > 0 ? `${timeInWords(time)}, and the kernel after it waits ${waits.toFixed(1)} us` : timeInWords(time);
  };
  return `${inWords(lost)} at ${countOf(rows)}, ${winner} ${inWords(best)}`;
}

/** The launches of a site by the natives that take it, or null. They may end at a size that none takes. */
export function selectNatives(site: Site, natives: readonly Native[], machine: Gpu): Choice | null {
  const { offers, refused } = offersOf(site, natives, machine);
  if (!offers.length) return null;
  const caps = offers.flatMap((o) => o.caps);
  const steps = offers.flatMap(({ native: n }) => n.schedules.steps ?? []);
  const rungs = [...new Set<number>([...LADDER, ...steps, ...caps])].toSorted((a, b) => a - b);
  const cases: { most: number | null; key: string; launches: Chosen[] }[] = [];
  for (const rows of rungs) {
    const runs = offers.map((offer) => ({ offer, picked: pickFor(offer, rows, machine) }));
    const able = runs.flatMap(({ offer, picked }) => (picked ? [{ offer, picked }] : []));
    if (!able.length) break;
    const best = able.reduce((least, r) => (r.picked.cost < least.picked.cost ? r : least));
    const { native: n, match } = best.offer;
    const { schedule } = best.picked;
    const key = `${n.family} ${best.picked.key}`;
    const last = cases.at(-1);
    if (last?.key === key) {
      last.most = rows;
      continue;
    }
    const lost = runs
      .filter((r) => r.offer !== best.offer)
      .map(({ offer, picked }): Instead => ({
        family: offer.native.family,
        reason: whyLost(picked, best.picked, n.family, rows),
      }));
    const first = { ...launchOf(n, match.problem, schedule, match.args(schedule), match.dims), instead: [...refused, ...lost] };
    cases.push({ most: rows, key, launches: [first, ...(match.follow?.launches(schedule) ?? [])] });
  }
  if (cases.at(-1)!.most === rungs.at(-1)) cases.at(-1)!.most = null;
  const [{ match }] = offers;
  if (cases.length === 1 && cases[0].most === null) return cases[0].launches;
  return { on: match.rows, cases: cases.map(({ most, launches }) => ({ most, launches })) };
}

/** The schedule of one native for a problem at so many rows, or why it has none. */
export function scheduleFor<P extends object, S>(t: Schedules<P, S>, p: P, rows: number, machine: Gpu): S | Refusal {
  const able = legal(t, p, machine);
  if ("reason" in able) return able;
  return pick(t, p, able, rows, machine)?.schedule ?? refuse(`none of its schedules takes ${countOf(rows)}`);
}
