// Attention on tensor cores, where the heads are R1's: absorbed over the paged cache, and causal over expanded heads. Sites, operands
// and problems are those of the tile programs of the same ops, which serve every other size.
import type { Choice, Problem, Site } from "../../ir/kernel/catalogue.ts";
import { chooseTiles } from "../choose.ts";
import type { AttendProblem, MlaAttendProblem } from "../kernels/attention.ts";
import { illegalDecode, illegalPrefill } from "../schedules/sm90-attend.ts";
import { mlaDecode } from "./mla-decode.ts";
import { mlaPrefill } from "./mla-prefill.ts";
import type { Native } from "./native.ts";

/** The tile program's launch under another family, when activations are bf16 and nothing speaks against it. */
function instead(site: Site, op: string, family: string, illegal: (p: Problem) => string | null): Choice | null {
  if (site.op !== op) return null;
  const tiles = chooseTiles(site);
  if (!Array.isArray(tiles)) return null;
  const [{ problem, args, dims }] = tiles;
  return problem.act === "bf16" && illegal(problem) === null ? [{ family, problem, args, dims }] : null;
}

export const mlaDecodeNative: Native = {
  family: "mla_decode",
  choose: (site) => instead(site, "mla_attend", "mla_decode", (p) => illegalDecode(p as unknown as MlaAttendProblem)),
  emit: (p) => mlaDecode(p as unknown as MlaAttendProblem),
};

export const mlaPrefillNative: Native = {
  family: "mla_prefill",
  choose: (site) => instead(site, "attend", "mla_prefill", (p) => illegalPrefill(p as unknown as AttendProblem)),
  emit: (p) => mlaPrefill(p as unknown as AttendProblem),
};
