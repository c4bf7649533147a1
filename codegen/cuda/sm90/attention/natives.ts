// Attention on tensor cores, where the heads are R1's: absorbed over the paged cache, and causal over expanded heads. Sites,
// operands and problems are those of the tile programs of the same ops, which serve every other size.
import { add, mul, type Size } from "../../../../ir/size.ts";
import type { Gpu } from "../../../../ir/machine.ts";
import type { KernelText, Site } from "../../../../ir/kernel/catalogue.ts";
import { refuse, type Family, type Match, type Refusal } from "../../../family.ts";
import { attendFamily, mlaAttendFamily, type AttendProblem, type MlaAttendProblem } from "../../../kernels/attention.ts";
import { native, onlySchedule, type Native, type Schedules } from "../../native.ts";
import { mlaDecodeFixed } from "./mla-decode-cluster.ts";
import { mlaDecode } from "./mla-decode.ts";
import { mlaPrefill } from "./mla-prefill.ts";
import {
  decodeSchedule,
  decodeScheduleName,
  fixedSchedule,
  fixedScheduleName,
  illegalDecode,
  illegalFixed,
  illegalPrefill,
  prefillSchedule,
  type MlaDecodeSchedule,
  type MlaFixedSchedule,
  type PrefillSchedule,
} from "./schedule.ts";

/** The launch of the tile program of the same op, where activations are bf16. */
function inBf16<P extends { act?: "bf16" }>(family: Family<P>, site: Site): Match<P> | Refusal {
  const found = family.match(site);
  if ("reason" in found) return found;
  return found[0].problem.act === "bf16" ? found[0] : refuse("activations are f32");
}

type DecodeSchedule = MlaDecodeSchedule | MlaFixedSchedule;

/** Many heads: up to here, in tokens times columns of the page table, the fixed split is the faster one: of one token, and of several. */
const FIXED_UP_TO = { one: 32, several: 48 };

const CROSSINGS = [FIXED_UP_TO.one, FIXED_UP_TO.one + FIXED_UP_TO.several];

/** Heads of which one cluster of the fixed split takes a token's. */
const FEW_HEADS = 32;

/**
 * Few heads: tokens whose clusters of sixteen, eight, four and two blocks find room at once. With more tokens the balanced split is the
 * faster one, or within a tenth of the faster one, at every context.
 */
const AT_ONCE = [6, 12, 24, 66] as const;
/** The same of heads that 16 do not divide, by two clusters a token: one of 24 or 32 places takes a third longer. */
const TWO_AT_ONCE = 3;
const isUneven = ({ heads }: MlaAttendProblem): boolean => heads % 16 !== 0;

/**
 * Columns of the page table: up to `turn` eight blocks have a sequence's stages in one turn; up to `fixed` the fixed split is the faster
 * one, and no longer sequence makes the others of its batch wait for long. A table is no wider than `apart`, by which batches whose
 * clusters are of other sizes lie apart.
 */
const COLUMNS = { turn: 16, fixed: 64, apart: 1 << 20 };

type Form = Pick<MlaFixedSchedule, "splits" | "turns"> & { group?: 16 };

interface Range {
  most: number;
  form: Form | null;
}

/** Work up to which few heads take each form of the fixed split, or the balanced one, in the order of `workOf`. */
const FEW_HEADS_FORMS: readonly Range[] = [
  { most: COLUMNS.turn, form: { splits: 8, turns: "together" } },
  { most: COLUMNS.fixed, form: { splits: 16, turns: "together" } },
  { most: COLUMNS.apart, form: null },
  ...([8, 4, 2] as const).flatMap((splits, i) => [
    { most: (i + 1) * COLUMNS.apart + COLUMNS.fixed, form: { splits, turns: "apart" as const } },
    { most: (i + 2) * COLUMNS.apart, form: null },
  ]),
  { most: Infinity, form: null },
];

const UNEVEN_FORMS: readonly Range[] = [
  ...FEW_HEADS_FORMS.slice(0, 3).map(({ most, form }) => ({ most, form: form && { ...form, group: 16 as const } })),
  ...FEW_HEADS_FORMS.map(({ most, form }) => ({ most: most + COLUMNS.apart, form })),
];

const formsOf = (p: MlaAttendProblem): readonly Range[] => (isUneven(p) ? UNEVEN_FORMS : FEW_HEADS_FORMS);

/**
 * What measures the work of a batch. Many heads: a second token raises the crossing to the balanced split by `several`. Few: the columns
 * of the page table, and how many clusters there are beside how many find room.
 */
function workOf(p: MlaAttendProblem, tokens: Size, columns: Size): Size {
  if (p.heads <= FEW_HEADS) {
    const exceeds = (most: number): Size => ({ op: "min", of: [1, { op: "div", of: [tokens, most + 1] }] });
    return add(columns, mul(COLUMNS.apart, add(...(isUneven(p) ? [TWO_AT_ONCE, ...AT_ONCE] : AT_ONCE).map(exceeds))));
  }
  const several: Size = { op: "min", of: [1, { op: "div", of: [tokens, 2] }] };
  return add(mul(tokens, columns), mul(FIXED_UP_TO.one, several));
}

/**
 * Clusters of 16 heads, and of as many as there may be: one token has multiprocessors to spare; more read a page for 32 heads at
 * a time. Where 16 do not divide the heads the narrowest that leaves few places empty: 24 for GLM-4.7-Flash's 20.
 */
function groupsOf({ heads }: MlaAttendProblem): MlaFixedSchedule[] {
  if (heads % 16 === 0) return ([16, 32] as const).filter((g) => heads % g === 0).map((g) => fixedSchedule(g));
  const lacking = (g: number): number => Math.ceil(heads / g) * g - heads;
  return [([16, 24, 32] as const).reduce((best, g) => (lacking(g) < lacking(best) ? g : best))].map((g) => fixedSchedule(g));
}

/** The schedule of a form of few heads: a cluster of a token, or two. Of sixteen blocks each adds up as many heads. */
function clusterOf(p: MlaAttendProblem, { group: narrow, splits, turns }: Form): MlaFixedSchedule {
  const [{ group }] = groupsOf(p).slice(-1);
  return fixedSchedule(narrow ?? (splits === 16 && group % 16 ? 32 : group), splits, turns);
}

const clustersOf = (p: MlaAttendProblem): MlaFixedSchedule[] =>
  formsOf(p).flatMap(({ form }) => (form ? [clusterOf(p, form)] : []));

const isLegal = (p: MlaAttendProblem, s: DecodeSchedule): string | null =>
  s.split === "fixed" ? illegalFixed(p, s) : illegalDecode(p);

/** `candidates`, the last of them for all sizes, and which of them is the fastest up to how much work. */
const decodeSchedules = (candidates: (p: MlaAttendProblem) => DecodeSchedule[]): Schedules<MlaAttendProblem, DecodeSchedule> => ({
  candidates(p) {
    const all = candidates(p);
    return all.length ? all : refuse(`${p.heads} heads: a cluster holds 16, 24 or 32 of them`);
  },
  illegal: isLegal,
  measured(p, work) {
    const [few, ...more] = candidates(p);
    if (!more.length) return [few];
    if (p.heads <= FEW_HEADS) {
      const { form } = formsOf(p).find(({ most }) => work <= most)!;
      const name = form && fixedScheduleName(clusterOf(p, form));
      const takes = (s: DecodeSchedule): boolean => s.split === "fixed" && fixedScheduleName(s) === name;
      return [candidates(p).find(takes) ?? more.at(-1)!];
    }
    if (work <= CROSSINGS[0]) return [few];
    return [(work <= CROSSINGS[1] && more.find((s) => s.split === "fixed")) || more.at(-1)!];
  },
  steps: [...CROSSINGS, ...UNEVEN_FORMS.flatMap(({ most }) => (most < Infinity ? [most] : []))],
  name: (s) => (s.split === "fixed" ? fixedScheduleName(s) : decodeScheduleName(s)),
});

const decode = (schedules: Schedules<MlaAttendProblem, DecodeSchedule>): Native<MlaAttendProblem, DecodeSchedule> =>
  native({
    family: "mla_decode",
    serves: ["mla_attend"],
    schedules,
    match(site) {
      const found = inBf16(mlaAttendFamily, site);
      if ("reason" in found) return found;
      const { problem, args, dims } = found;
      return { problem, dims, rows: workOf(problem, dims[0], dims[1]), args: () => args };
    },
    emit: (p, s, machine): KernelText => (s.split === "fixed" ? mlaDecodeFixed(p, s, machine) : mlaDecode(p, machine)),
  });

/** The fastest form for each size. Where the balanced split cannot run, one group serves all. */
export const mlaDecodeNative = decode(
  decodeSchedules((p) => {
    if (illegalDecode(p) !== null) return groupsOf(p).slice(-1);
    return [...(p.heads <= FEW_HEADS ? clustersOf(p) : groupsOf(p)), decodeSchedule(p)];
  }),
);

/**
 * In place of `mlaDecodeNative` where a sequence's bits must not depend on what else is in its batch (`--deterministic`); the
 * group changes no bit.
 */
export const mlaDecodeFixedNative = decode(decodeSchedules((p) => groupsOf(p).slice(-1)));

export const mlaPrefillNative = native<AttendProblem, PrefillSchedule>({
  family: "mla_prefill",
  serves: ["attend"],
  schedules: onlySchedule((p: AttendProblem) => illegalPrefill(p) ?? prefillSchedule(p)),
  match(site) {
    const found = inBf16(attendFamily, site);
    if ("reason" in found) return found;
    const { problem, args, dims } = found;
    return { problem, dims, rows: dims[0], args: () => args };
  },
  emit: (p, _, machine: Gpu) => mlaPrefill(p, machine),
});
