// What a hand-written kernel is to the target: one value in one file that takes sites, says how it could run them, and prints its
// text; and what an architecture has of them.
import type { Arg, Chosen, KernelText, Site } from "../../ir/kernel/catalogue.ts";
import type { GpuFacts } from "../../ir/artifact.ts";
import type { Gpu } from "../../ir/machine.ts";
import type { Size } from "../../ir/size.ts";
import { refuse, type Case, type Refusal } from "../family.ts";

/** How a problem P could be run: records S with named fields. */
export interface Schedules<P extends object, S> {
  /** Everything worth trying, or why nothing is; ties go to the earlier one. */
  candidates(p: P, machine: Gpu): readonly S[] | Refusal;
  /** Why a schedule cannot run a problem, or null. */
  illegal(p: P, s: S, machine: Gpu): string | null;
  /** The most rows that one launch takes; any number where absent. */
  maxRows?(s: S): number;
  /** What was fastest at so many rows where that was measured, best first. */
  measured?(p: P, rows: number, machine: Gpu): readonly S[];
  /** Sizes at which what was measured changes, where they are no steps of the ladder (select.ts). */
  steps?: readonly number[];
  /** Microseconds at so many rows as `dsc tune` measured them on this machine (tuning.ts). */
  tunedUs?(p: P, s: S, rows: number): number | undefined;
  /** Microseconds at so many rows as a plug-in gives them with a schedule of its own (codegen/brought.ts). */
  givenUs?(p: P, s: S, rows: number): number | undefined;
  /** Microseconds at so many rows, or somewhat more, as they were measured by themselves; undefined where they were not. */
  measuredUs?(p: P, s: S, rows: number): number | undefined;
  /** Microseconds at so many rows, roughly. Absent where no other native serves the op and the order of candidates decides. */
  estimate?(p: P, s: S, rows: number, machine: Gpu): number;
  /** Microseconds that the kernel after it waits longer, within a step, than either says. */
  handOver?(s: S, machine: Gpu): number;
  /** Short and unique among the candidates. */
  name(s: S): string;
}

/** How the name of a schedule is made: the same name with the fields that its numbers are, "k{kGroups}s{stages}". */
export function nameInFields<P extends object, S>({ name }: Pick<Schedules<P, S>, "name">, schedule: S): string {
  const fields = Object.entries(schedule as object).map(
    ([k, v]) => [k, typeof v === "number" && v !== 0 ? `{${k}}` : v] as const,
  );
  return name(Object.fromEntries(fields) as S);
}

/** What prints the kernels of one family. */
export interface Emitter<P extends object = object, S = unknown> {
  /** Names the kernels in artifacts and timings; no tile family has the name. */
  readonly family: string;
  readonly schedules: Schedules<P, S>;
  /** The text of a problem under a schedule; buffers are bound in the order of its parameters (boundBuffers). */
  emit(p: P, s: S, machine: Gpu): KernelText;
}

/** A site as a native takes it. */
export interface NativeMatch<P extends object, S> {
  problem: P;
  args(s: S): Arg[];
  dims: Size[];
  /** The run-time size by which a schedule is chosen: mostly rows. */
  rows: Size;
  /** Launches that follow, by emitters named in `alongside`, and why a schedule has none. */
  follow?: { illegal(s: S): string | null; launches(s: S): Chosen[] };
}

/** Elements of a launch's buffers by parameter, and which of them are weights. */
export interface LaunchBuffers {
  elements: Readonly<Record<string, number>>;
  weights: readonly string[];
}

/** A hand-written kernel of one architecture: the sites it takes, its schedules, its text. */
export interface Native<P extends object = object, S = unknown> extends Emitter<P, S> {
  /** Names of the ops that it serves, alone or beside other natives. */
  readonly serves: readonly string[];
  /** The problem of a site of one of these ops, or why it does not take the site. */
  match(site: Site, machine: Gpu): NativeMatch<P, S> | Refusal;
  /** What a launch of one of its kernels is given, for measuring it by itself (`dsc tune`); absent where it needs more than random data. */
  trial?(p: P, rows: number): LaunchBuffers;
  /** Emitters of kernels that are launched only together with this one's. */
  readonly alongside?: readonly Emitter[];
  /** Of a plug-in's native: what it is tried on, where there is a card. */
  readonly cases?: readonly Case[];
}

/** Declares a hand-written kernel; problem and schedule are what `emit` takes. */
export const native = <P extends object, S>(n: Native<P, S>): Native<P, S> => Object.freeze(n);
/** Declares what prints the kernels of one family that are launched with a native's own. */
export const emitter = <P extends object, S>(e: Emitter<P, S>): Emitter<P, S> => Object.freeze(e);

/** The schedules of a kernel that has one for each problem. */
export const onlySchedule = <P extends object, S extends { form: string }>(
  schedule: (p: P) => S | string,
): Pick<Schedules<P, S>, "candidates" | "illegal" | "name"> => ({
  candidates(p) {
    const s = schedule(p);
    return typeof s === "string" ? refuse(s) : [s];
  },
  illegal: () => null,
  name: (s) => s.form,
});

/** A launch of an emitter's kernel: its problem holds the schedule. */
export const launchOf = <P extends object, S>(e: Emitter<P, S>, problem: P, schedule: S, args: Arg[], dims: Size[]): Chosen => ({
  family: e.family,
  problem: { ...problem, schedule },
  args,
  dims,
});

/** What was measured to be fastest for a problem, fewest rows first. */
export interface Measured<K extends object, S> {
  /** The fields of the problem. */
  of: K;
  /** `rows`: up to so many; null: one schedule serves all sizes from there on. `us`: microseconds of a launch at so many rows. */
  fastest: readonly { rows: number | null; us?: number; schedule: S }[];
}

const fastestOf = <K extends object, S>(table: readonly Measured<K, S>[], p: K): Measured<K, S>["fastest"] =>
  table.find(({ of }) => (Object.keys(of) as (keyof K)[]).every((key) => of[key] === p[key]))?.fastest ?? [];

/** The schedule of a table for a problem at so many rows, where it was measured. */
export function measuredIn<K extends object, S>(table: readonly Measured<K, S>[], p: K, rows: number): readonly S[] {
  const found = fastestOf(table, p).find((e) => rows <= (e.rows ?? Infinity));
  return found ? [found.schedule] : [];
}

/** Microseconds of a schedule of a table at so many rows, or at the next count that it was measured at. */
export function usIn<K extends object, S>(table: readonly Measured<K, S>[], p: K, s: S, rows: number): number | undefined {
  const own = JSON.stringify(s);
  return fastestOf(table, p).find((e) => rows <= (e.rows ?? 0) && JSON.stringify(e.schedule) === own)?.us;
}

/** An architecture that kernels are compiled for. */
export interface Arch {
  /** As --arch names it: "sm_90". */
  name: string;
  /** The GPU that schedules are made for and floors are of. */
  machine: Gpu;
  /**
   * Of several that serve an op, the one with the least time at so many rows runs it; their order decides between equals only.
   */
  natives: readonly Native[];
  /** What takes the place of a native where a sequence's bits must not depend on its batch (--deterministic). */
  batchInvariant: ReadonlyMap<Native, Native>;
}

const emitters = new WeakMap<readonly Native[], readonly Emitter[]>();

/** Everything an architecture prints texts by. */
export function emittersOf(natives: readonly Native[]): readonly Emitter[] {
  let all = emitters.get(natives);
  if (!all) emitters.set(natives, (all = natives.flatMap((n) => [n, ...(n.alongside ?? [])])));
  return all;
}

/** What an artifact says of the GPU it is for. */
export const gpuFacts = ({ arch, sharedPerBlock }: Gpu): GpuFacts => ({ arch, sharedPerBlock });
