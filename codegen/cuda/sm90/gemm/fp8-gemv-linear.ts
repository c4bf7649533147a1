// Products of block-scaled weights with one row, alone and with a norm or a residual sum inside: the thin form takes them all in. More
// rows are left to the other forms, and for a fused op to its parts (codegen/compose.ts).
import type { Gpu } from "../../../../ir/machine.ts";
import type { Arg, Cases, Choice, Problem, Site } from "../../../../ir/kernel/catalogue.ts";
import { thinSchedule, type ThinProblem } from "./fp8-gemv-schedule.ts";
import { asRows, isPacked, num } from "../../../layouts.ts";
import { thin } from "./fp8-gemv.ts";
import type { Native } from "../../native.ts";

/** Rows a kernel of its own is made for: four, held whole, leave less to the ring and were slower than the streaming form. */
const HELD = [1] as const;

const scalesOf = (i: number): Arg => ({ in: i, part: "scales" });

/** The case of a site with one row, or null where the form does not serve it. */
export function thinCases(site: Site, machine: Gpu): Cases | null {
  const [norm, added] = [site.op === "norm_block_linear", site.op === "block_linear_add"];
  if (!norm && !added && site.op !== "block_linear") return null;
  const [xs, w, other] = site.ins;
  const [x, y] = [asRows(xs), asRows(site.outs[0], w.shape.length - 1)];
  const [parts, n, k] = [w.shape.slice(0, -2).reduce<number>((a, d) => a * num(d), 1), num(w.shape.at(-2)), num(w.shape.at(-1))];
  // Rows of a part that ends inside a block would take the next part's scale.
  if (!x || !y || !isPacked(w) || !isPacked(site.outs[0]) || site.outs[0].dtype !== "bf16" || (parts > 1 && n % 128 !== 0)) return null;
  if (norm ? xs.dtype !== "bf16" || !isPacked(other) : xs.scaled !== "1x128" || x.stride !== k) return null;
  if (added && (other.dtype !== "bf16" || !isPacked(other))) return null;
  const problem = {
    n: parts * n, k,
    ...(norm ? { eps: site.attrs.eps as number, gain: other.dtype as "f32" | "bf16", xStride: x.stride, ue8m0: site.attrs.scale === "ue8m0" } : {}),
    ...(added ? { residual: true } : {}),
  };
  const args: Arg[] = [{ in: 1 }, { in: 0 }, norm ? { in: 2 } : scalesOf(0), scalesOf(1), ...(added ? [{ in: 2 }] : []), { out: 0 }];
  const cases = HELD.filter((held) => typeof thinSchedule(problemOf({ ...problem, held }), machine) !== "string").map((held) => ({ most: held, launches: [{ family: "thin_gemm", problem: { ...problem, held }, args, dims: [x.rows] }] }));
  return cases.length ? { on: x.rows, cases } : null;
}

/** From the plain record that a kernel is known by. */
function problemOf(p: Problem): ThinProblem {
  const { n, k, held, gain, eps, xStride, ue8m0, residual } = p;
  return { n, k, held, ...(gain === undefined ? {} : { norm: { gain, eps, xStride, ue8m0 } }), ...(residual ? { residual } : {}) } as ThinProblem;
}

/** The op alone is chosen with its other forms (fp8-linear.ts). */
const take = (site: Site, machine: Gpu): Choice | null => (site.op === "block_linear" ? null : thinCases(site, machine));

export const thinGemmNative: Native = {
  family: "thin_gemm",
  choose: take,
  emit(p: Problem, machine) {
    const problem = problemOf(p);
    const schedule = thinSchedule(problem, machine);
    if (typeof schedule === "string") throw new RangeError(schedule);
    return thin(problem, schedule, machine);
  },
};
