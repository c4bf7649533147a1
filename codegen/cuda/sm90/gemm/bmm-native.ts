// einsum on a GPU: a bf16 matrix per head and rows that vary, which is what absorbed attention asks for. Other einsums are tiles.
import type { Arg, Choice, Problem, Site } from "../../../../ir/kernel/catalogue.ts";
import { headsOf, matchBmm } from "../../../kernels/bmm.ts";
import type { Native } from "../../native.ts";
import { streamBmm, streamBmmSchedule, type StreamBmmProblem } from "./bmm.ts";

function take(site: Site): Choice | null {
  if (site.op !== "einsum" && site.op !== "einsum_quant") return null;
  const quantised = site.op === "einsum_quant";
  const [spec, [a, b]] = [String(site.attrs.spec), site.ins];
  const found = matchBmm(spec, a, b, quantised ? headsOf(spec, a, b) : site.outs[0]);
  if ("reason" in found) return null;
  const [{ problem: p, dims, args }] = found;
  const sides = [p.a, p.b, p.y] as (number | string)[][];
  const fixed = [p.batch, p.n, p.k, ...sides.flat()].every((v) => typeof v === "number");
  if (!fixed || p.m !== "m" || dims.length !== 1 || p.bType !== "bf16") return null;
  const scale = quantised ? { scale: site.attrs.scale } : {};
  const problem = { batch: p.batch, n: p.n, k: p.k, a: p.a, b: p.b, y: p.y, x: p.aType, yType: p.yType ?? "f32", ...scale } as unknown as StreamBmmProblem;
  if (typeof streamBmmSchedule(problem) === "string") return null;
  const scales: Arg[] = quantised ? [{ out: 0, part: "scales" }] : [];
  return [{ family: "stream_bmm", problem: problem as unknown as Problem, args: [...args, ...scales], dims }];
}

export const streamBmmNative: Native = {
  family: "stream_bmm",
  choose: take,
  emit(p: Problem, machine) {
    const problem = p as unknown as StreamBmmProblem;
    const schedule = streamBmmSchedule(problem);
    if (typeof schedule === "string") throw new RangeError(schedule);
    return streamBmm(problem, schedule, machine);
  },
};
