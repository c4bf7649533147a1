// Linears with a norm, a gate or a residual sum inside, of few rows: the ring form takes them all in. More rows than it takes are
// served by the op's parts (codegen/compose.ts).
import type { Gpu } from "../../../../ir/machine.ts";
import type { Arg, Choice, Site, View } from "../../../../ir/kernel/catalogue.ts";
import { unringable, type RingProblem } from "./ring-schedule.ts";
import { asRows, isPacked, num } from "../../../layouts.ts";
import { ringLinearNative } from "./bf16-linear.ts";
import type { Native } from "../../native.ts";

/** By op: what its rows are made by, and what follows x and w among its operands. */
const OPS = {
  norm_linear: { rows: "rms_norm", then: "gain" },
  linear_add: { rows: undefined, then: "residual" },
  silu_linear_add: { rows: "silu_mul", then: "residual" },
} as const;

/** Rows at once where every block makes them for itself, which takes half a microsecond a row; and where something is only added. */
const MADE = [1, 2] as const;
const ADDED = [1, 4, 8, 16] as const;

const isBf16 = (v: View): boolean => v.dtype === "bf16";

function take(site: Site, machine: Gpu): Choice | null {
  if (!(site.op in OPS)) return null;
  const { rows, then } = OPS[site.op as keyof typeof OPS];
  const [xs, w, other] = site.ins;
  const x = asRows(xs, rows === "silu_mul" ? 2 : 1);
  const y = asRows(site.outs[0], w.shape.length - 1);
  const beside = asRows(other);
  if (!x || !y || !beside || !isPacked(w) || ![xs, w, other].every(isBf16)) return null;
  const problem: RingProblem = {
    n: num(w.shape.slice(0, -1).reduce<number>((a, d) => a * num(d), 1)), k: num(w.shape.at(-1)), xStride: x.stride, yStride: y.stride, x: "bf16", y: site.outs[0].dtype as "bf16" | "f32",
    ...(rows ? { rows } : {}),
    ...(rows === "rms_norm" ? { eps: site.attrs.eps as number } : {}),
    ...(then === "residual" ? { residualStride: beside.stride } : {}),
  };
  const args: Arg[] = [{ in: 0 }, { in: 1 }, { in: 2 }, { out: 0 }];
  const cases = (rows ? MADE : ADDED)
    .filter((tokens) => unringable(problem, machine, tokens) === null)
    .map((tokens) => ({ most: tokens, launches: [{ family: "fused_linear", problem: { ...problem, tokens }, args, dims: [x.rows] }] }));
  return cases.length ? { on: x.rows, cases } : null;
}

export const fusedLinearNative: Native = {
  family: "fused_linear",
  choose: take,
  emit: ringLinearNative.emit,
};
