// Attention on tensor cores, where the heads are R1's: absorbed over the paged cache, and causal over expanded heads. Sites, operands
// and problems are those of the tile programs of the same ops, which serve every other size.
import type { Choice, Chosen, Problem, Site } from "../../../../ir/kernel/catalogue.ts";
import { add, mul, type Size } from "../../../../ir/size.ts";
import { chooseTiles } from "../../../choose.ts";
import type { AttendProblem, MlaAttendProblem } from "../../../kernels/attention.ts";
import { fixedSchedule, illegalDecode, illegalFixed, illegalPrefill } from "./schedule.ts";
import { mlaDecodeFixed } from "./mla-decode-cluster.ts";
import { mlaDecode } from "./mla-decode.ts";
import { mlaPrefill } from "./mla-prefill.ts";
import type { Native } from "../../native.ts";

/** The tile program's launch under another family, when activations are bf16 and nothing speaks against it. */
function instead(site: Site, op: string, family: string, illegal: (p: Problem) => string | null): Choice | null {
  if (site.op !== op) return null;
  const tiles = chooseTiles(site);
  if (!Array.isArray(tiles)) return null;
  const [{ problem, args, dims }] = tiles;
  return problem.act === "bf16" && illegal(problem) === null ? [{ family, problem, args, dims }] : null;
}

/** A problem of absorbed attention and how its sequences are divided: in runs of equal cost over the whole batch unless said. */
export type MlaDecodeProblem = MlaAttendProblem & { split?: "fixed"; group?: 16 | 32 };

/** Up to here, in tokens times columns of the page table, the fixed split is the faster one: of one token, and of several. */
const FEW = { one: 32, several: 48 };

/** Natives of absorbed attention; `split: "fixed"` divides a sequence by its own length only, so that its bits do not depend on its batch. */
const decode = (split: "balanced" | "fixed"): Native => ({
  family: "mla_decode",
  choose(site) {
    const fixed = instead(site, "mla_attend", "mla_decode", (p) => illegalFixed(p as unknown as MlaAttendProblem, fixedSchedule(16)));
    if (!Array.isArray(fixed)) return null;
    const [{ problem, args, dims }] = fixed;
    const launch = (more: Partial<MlaDecodeProblem>): Chosen[] => [{ family: "mla_decode", problem: { ...problem, ...more }, args, dims }];
    const few = [16, 32].filter((g) => (problem.heads as number) % g === 0).map((group) => launch({ split: "fixed", group: group as 16 | 32 }));
    const [tokens, columns] = dims;
    // One token has multiprocessors to spare; more of them read a page for 32 heads at a time. The group changes no bit.
    const [narrow, wide] = [few[0], few[few.length - 1]];
    if (split === "fixed" || illegalDecode(problem as unknown as MlaAttendProblem) !== null) return wide;
    const several: Size = { op: "min", of: [1, { op: "div", of: [tokens, 2] }] };
    return {
      on: add(mul(tokens, columns), mul(FEW.one, several)),
      cases: [{ most: FEW.one, launches: narrow }, { most: FEW.one + FEW.several, launches: wide }, { most: null, launches: launch({}) }],
    };
  },
  emit(problem, machine) {
    const { split, group, ...p } = problem as unknown as MlaDecodeProblem;
    return split === "fixed" ? mlaDecodeFixed(p, fixedSchedule(group ?? 16), machine) : mlaDecode(p, machine);
  },
});

/** The fastest form for each size. */
export const mlaDecodeNative: Native = decode("balanced");

/** In place of `mlaDecodeNative` where a sequence's bits must not depend on what else is in its batch (`--deterministic`). */
export const mlaDecodeFixedNative: Native = decode("fixed");

export const mlaPrefillNative: Native = {
  family: "mla_prefill",
  choose: (site) => instead(site, "attend", "mla_prefill", (p) => illegalPrefill(p as unknown as AttendProblem)),
  emit: (p, machine) => mlaPrefill(p as unknown as AttendProblem, machine),
};
