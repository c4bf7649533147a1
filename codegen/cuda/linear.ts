// linear on a GPU: few rows stream their weights, more take the tile program's place where a tensor-core form fits; by run-time rows.
import type { Arg, Cases, Choice, Problem, Site } from "../../ir/kernel/catalogue.ts";
import { chooseTiles } from "../choose.ts";
import { streamSchedule, unstreamable, type StreamProblem } from "../schedules/sm90-stream.ts";
import { asRows, isPacked, num } from "../views.ts";
import type { Native } from "./natives.ts";
import { streamLinear } from "./stream-linear.ts";

const args: Arg[] = [{ in: 0 }, { in: 1 }, { out: 0 }];

function take(site: Site): Choice | null {
  if (site.op !== "linear" || site.ins[1].dtype !== "bf16") return null;
  const [xs, w, ys] = [site.ins[0], site.ins[1], site.outs[0]];
  const [x, y] = [asRows(xs), asRows(ys, w.shape.length - 1)];
  if (!x || !y || !isPacked(w)) return null;
  const n = num(w.shape.slice(0, -1).reduce<number>((a, d) => a * num(d), 1));
  const problem: StreamProblem = { n, k: num(w.shape.at(-1)), xStride: x.stride, yStride: y.stride, x: xs.dtype as "bf16" | "f32", y: ys.dtype as "bf16" | "f32" };
  const cases: Cases["cases"] = [];
  if (unstreamable(problem) === null)
    for (const tokens of [8, 16]) cases.push({ most: tokens, launches: [{ family: "stream_linear", problem: { ...problem, tokens }, args, dims: [x.rows] }] });
  const tiles = chooseTiles(site);
  if (!cases.length || "reason" in tiles) return null;
  return { on: x.rows, cases: [...cases, { most: null, launches: tiles }] };
}

/** Few rows. */
export const streamLinearNative: Native = {
  family: "stream_linear",
  choose: take,
  emit(p: Problem) {
    const { tokens, ...problem } = p as unknown as StreamProblem & { tokens: 8 | 16 };
    return streamLinear(problem, streamSchedule(problem, tokens));
  },
};
