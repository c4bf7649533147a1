// einsum on a GPU: a bf16 matrix per head and rows that vary, which is what absorbed attention asks for. Other einsums are tiles.
import type { Arg, Site } from "../../../../ir/kernel/catalogue.ts";
import { headsOf, matchBmm } from "../../../kernels/bmm.ts";
import { refuse, type Refusal } from "../../../family.ts";
import { native, onlySchedule, type NativeMatch } from "../../native.ts";
import { bmmKernel } from "./bmm.ts";
import { bmmSchedule, type BmmProblem, type BmmSchedule } from "./bmm-schedule.ts";

const isNumber = (v: number | string): v is number => typeof v === "number";
const three = (v: readonly (number | string)[]): readonly [number, number, number] | null =>
  v.length === 3 && v.every(isNumber) ? [v[0], v[1], v[2]] : null;

/** The problem of an einsum whose sizes are all static but for its rows. */
export function matchBmmRows(site: Site): NativeMatch<BmmProblem, BmmSchedule> | Refusal {
  const quantised = site.op === "einsum_quant";
  const [spec, [a, b]] = [String(site.attrs.spec), site.ins];
  const found = matchBmm(spec, a, b, quantised ? headsOf(spec, a, b) : site.outs[0]);
  if ("reason" in found) return found;
  const [{ problem: p, dims, args }] = found;
  const [as, bs, ys] = [p.a, p.b, p.y].map(three);
  const { batch, n, k } = p;
  if (
    ![batch, n, k].every(isNumber) ||
    !isNumber(batch) ||
    !isNumber(n) ||
    !isNumber(k) ||
    !as ||
    !bs ||
    !ys ||
    p.m !== "m" ||
    dims.length !== 1
  )
    return refuse("more than its rows is known at run time only");
  if (p.bType !== "bf16") return refuse("matrices are not bf16");
  const scale = quantised ? { scale: site.attrs.scale === "ue8m0" ? ("ue8m0" as const) : ("f32" as const) } : {};
  const problem: BmmProblem = { batch, n, k, a: as, b: bs, y: ys, x: p.aType, yType: p.yType ?? "f32", ...scale };
  const scales: Arg[] = quantised ? [{ out: 0, part: "scales" }] : [];
  return { problem, rows: dims[0], dims, args: () => [...args, ...scales] };
}

export const bmmNative = native({
  family: "bmm_rows",
  serves: ["einsum", "einsum_quant"],
  schedules: onlySchedule<BmmProblem, BmmSchedule>(bmmSchedule),
  match: matchBmmRows,
  emit: bmmKernel,
});
