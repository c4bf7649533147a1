// einsum on a GPU: a bf16 matrix per head and rows that vary, which is what absorbed attention asks for. Other einsums are tiles.
import type { Choice, Problem, Site } from "../../ir/kernel/catalogue.ts";
import { bmm } from "../strided.ts";
import type { Native } from "./native.ts";
import { streamBmm, streamBmmSchedule, type StreamBmmProblem } from "./stream-bmm.ts";

function take(site: Site): Choice | null {
  if (site.op !== "einsum") return null;
  const found = bmm(String(site.attrs.spec), site.ins[0], site.ins[1], site.outs[0]);
  if ("reason" in found) return null;
  const [{ problem: p, dims, args }] = found;
  const sides = [p.a, p.b, p.y] as (number | string)[][];
  const fixed = [p.batch, p.n, p.k, ...sides.flat()].every((v) => typeof v === "number");
  if (!fixed || p.m !== "m" || dims.length !== 1 || p.bType !== "bf16") return null;
  const problem = { batch: p.batch, n: p.n, k: p.k, a: p.a, b: p.b, y: p.y, x: p.aType, yType: p.yType ?? "f32" } as unknown as StreamBmmProblem;
  if (typeof streamBmmSchedule(problem) === "string") return null;
  return [{ family: "stream_bmm", problem: problem as unknown as Problem, args, dims }];
}

export const streamBmmNative: Native = {
  family: "stream_bmm",
  choose: take,
  emit(p: Problem) {
    const problem = p as unknown as StreamBmmProblem;
    const schedule = streamBmmSchedule(problem);
    if (typeof schedule === "string") throw new RangeError(schedule);
    return streamBmm(problem, schedule);
  },
};
