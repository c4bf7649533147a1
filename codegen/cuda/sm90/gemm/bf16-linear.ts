// linear on a GPU, by run-time rows: few rows stream their weights, more go to tensor cores; what neither form takes is a tile program.
import type { Gpu } from "../../../../ir/machine.ts";
import type { Arg, Cases, Choice, Chosen, Problem, Site } from "../../../../ir/kernel/catalogue.ts";
import { chooseTiles } from "../../../choose.ts";
import { bf16Name, candidates, chooseBf16 } from "./bf16-schedule.ts";
import { ringSchedule, unringable, type RingProblem, type RingSchedule } from "./ring-schedule.ts";
import { streamSchedule, unstreamable, type StreamProblem } from "./register-schedule.ts";
import { asRows, isPacked, num } from "../../../layouts.ts";
import { bf16Gemm } from "./bf16-persistent.ts";
import type { Native } from "../../native.ts";
import { ringLinear } from "./ring-linear.ts";
import { streamLinear } from "./register-linear.ts";

/** Rows above 16 at which the choice of schedule is looked at again. */
const STEPS = [32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096] as const;

/** Elements of a small matrix. */
const SMALL = 2 ** 20;

const args: Arg[] = [{ in: 0 }, { in: 1 }, { out: 0 }];

function take(site: Site, machine: Gpu): Choice | null {
  if (site.op !== "linear" || site.ins[1].dtype !== "bf16") return null;
  const [xs, w, ys] = [site.ins[0], site.ins[1], site.outs[0]];
  const [x, y] = [asRows(xs), asRows(ys, w.shape.length - 1)];
  if (!x || !y || !isPacked(w)) return null;
  const n = num(w.shape.slice(0, -1).reduce<number>((a, d) => a * num(d), 1));
  const problem: StreamProblem = { n, k: num(w.shape.at(-1)), xStride: x.stride, yStride: y.stride, x: xs.dtype as "bf16" | "f32", y: ys.dtype as "bf16" | "f32" };
  const launch = (family: string, more: Problem): Chosen[] => [{ family, problem: { ...problem, ...more }, args, dims: [x.rows] }];
  const cases: Cases["cases"] = [];
  // A matrix that L2 holds many times over is not worth a kernel for every number of rows: each is compiled and kept.
  const small = n * problem.k <= SMALL;
  if (unringable(problem, machine) === null) for (const tokens of small ? [16] : [1, 4, 8, 16]) cases.push({ most: tokens, launches: launch("ring_linear", { tokens }) });
  else if (unstreamable(problem) === null) for (const tokens of [8, 16]) cases.push({ most: tokens, launches: launch("stream_linear", { tokens }) });
  let last = "";
  for (const most of small ? [64] : STEPS) {
    const s = chooseBf16(problem, most, machine);
    if (typeof s === "string") break;
    if (bf16Name(s) === last) cases[cases.length - 1].most = most;
    else cases.push({ most, launches: launch("bf16_gemm", { schedule: bf16Name(s) }) });
    last = bf16Name(s);
  }
  if (!cases.length) return null;
  if (last) cases[cases.length - 1].most = null;
  else {
    const tiles = chooseTiles(site);
    if ("reason" in tiles) return null;
    cases.push({ most: null, launches: tiles });
  }
  return { on: x.rows, cases };
}

/** Few rows through shared memory; this native chooses for all forms. */
export const ringLinearNative: Native = {
  family: "ring_linear",
  choose: take,
  emit(p: Problem, machine) {
    const { tokens, ...problem } = p as unknown as RingProblem & Pick<RingSchedule, "tokens">;
    return ringLinear(problem, ringSchedule(problem, tokens, machine), machine);
  },
};

/** Few rows that do not lie at multiples of 16 bytes, or are f32. */
export const streamLinearNative: Native = {
  family: "stream_linear",
  choose: () => null,
  emit(p: Problem, machine) {
    const { tokens, ...problem } = p as unknown as StreamProblem & { tokens: 8 | 16 };
    return streamLinear(problem, streamSchedule(problem, tokens, machine), machine);
  },
};

/** Tens of rows and more. */
export const bf16GemmNative: Native = {
  family: "bf16_gemm",
  choose: () => null,
  emit(p: Problem, machine) {
    const { schedule, ...problem } = p as unknown as StreamProblem & { schedule: string };
    return bf16Gemm(problem, candidates.find((s) => bf16Name(s) === schedule)!, machine);
  },
};
