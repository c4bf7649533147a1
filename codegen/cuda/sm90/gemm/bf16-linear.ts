// linear with bf16 weights, by run-time rows: few rows stream their weights, by shared memory where rows lie at multiples of 16
// bytes and by registers where not; more go to tensor cores. What no form takes is a tile program.
import type { Arg, Site } from "../../../../ir/kernel/catalogue.ts";
import { mul } from "../../../../ir/size.ts";
import { refuse, strided, type Refusal } from "../../../family.ts";
import { asRows, float, isPacked, num } from "../../../layouts.ts";
import { native, type LaunchBuffers, type NativeMatch } from "../../native.ts";
import { bf16Gemm } from "./bf16-persistent.ts";
import { bf16Schedules } from "./bf16-schedule.ts";
import { registerLinear } from "./register-linear.ts";
import { registerSchedules, type Bf16Problem } from "./register-schedule.ts";
import { ringLinear } from "./ring-linear.ts";
import { ringSchedules } from "./ring-schedule.ts";

const args: Arg[] = [{ in: 0 }, { in: 1 }, { out: 0 }];

function match({ ins: [xs, w], outs: [ys] }: Site): NativeMatch<Bf16Problem, unknown> | Refusal {
  if (w.dtype !== "bf16") return refuse("weights are not bf16");
  const [x, y] = [asRows(xs), asRows(ys, w.shape.length - 1)];
  if (!x || !y || !isPacked(w)) return strided;
  const n = num(mul(...w.shape.slice(0, -1)));
  const problem = { n, k: num(w.shape.at(-1)), xStride: x.stride, yStride: y.stride, x: float(xs), y: float(ys) };
  return { problem, rows: x.rows, dims: [x.rows], args: () => args };
}

const serves = ["linear"];

const trial = ({ n, k, xStride, yStride }: Bf16Problem, m: number): LaunchBuffers => ({
  elements: { x: m * xStride, w: n * k, y: m * yStride },
  weights: ["w"],
});

/** Few rows through shared memory. */
export const ringLinearNative = native({
  family: "ring_linear",
  serves,
  schedules: ringSchedules(() => [1, 4, 8, 16]),
  match,
  trial,
  emit: ringLinear,
});

/** Few rows that do not lie at multiples of 16 bytes, or are f32. */
export const registerLinearNative = native({
  family: "register_linear",
  serves,
  schedules: registerSchedules,
  match,
  trial,
  emit: registerLinear,
});

/** Tens of rows and more. */
export const bf16GemmNative = native({ family: "bf16_gemm", serves, schedules: bf16Schedules, match, trial, emit: bf16Gemm });
