// Linears with a norm, a gate or a residual sum inside, of few rows: the ring form takes them all in. Of tens of rows a residual sum only.
// More rows than these take are served by the op's parts (codegen/parts.ts).
import type { Arg, Site, View } from "../../../../ir/kernel/catalogue.ts";
import { mul } from "../../../../ir/size.ts";
import { refuse, strided, type Refusal } from "../../../family.ts";
import { asRows, float, isPacked, num } from "../../../layouts.ts";
import { onlySilu } from "../../../gating.ts";
import { native, type NativeMatch } from "../../native.ts";
import { bf16Gemm } from "./bf16-persistent.ts";
import { bf16SumSchedules, type Bf16Schedule, type Bf16SumProblem } from "./bf16-schedule.ts";
import { ringLinear } from "./ring-linear.ts";
import { ringSchedules, type RingProblem, type RingSchedule } from "./ring-schedule.ts";

/** By op: what its rows are made by, and what follows x and w among its operands. */
const OPS: Readonly<Record<string, { rows?: "rms_norm" | "silu_mul"; then: "gain" | "residual" }>> = {
  norm_linear: { rows: "rms_norm", then: "gain" },
  linear_add: { then: "residual" },
  gated_linear_add: { rows: "silu_mul", then: "residual" },
};

const isBf16 = (v: View): boolean => v.dtype === "bf16";
const args: Arg[] = [{ in: 0 }, { in: 1 }, { in: 2 }, { out: 0 }];

function match({ op, ins: [xs, w, other], outs: [ys], attrs }: Site): NativeMatch<RingProblem, RingSchedule> | Refusal {
  const { rows, then } = OPS[op];
  const unlike = rows === "silu_mul" ? onlySilu(attrs) : null;
  if (unlike) return unlike;
  const x = asRows(xs, rows === "silu_mul" ? 2 : 1);
  const [y, beside] = [asRows(ys, w.shape.length - 1), asRows(other)];
  if (!x || !y || !beside || !isPacked(w)) return strided;
  if (![xs, w, other].every(isBf16)) return refuse("an operand is not bf16");
  const problem: RingProblem = {
    n: num(mul(...w.shape.slice(0, -1))),
    k: num(w.shape.at(-1)),
    xStride: x.stride,
    yStride: y.stride,
    x: "bf16",
    y: float(ys),
    ...(rows ? { rows } : {}),
    ...(rows === "rms_norm" ? { eps: num(attrs.eps) } : {}),
    ...(then === "residual" ? { residualStride: beside.stride } : {}),
  };
  return { problem, rows: x.rows, dims: [x.rows], args: () => args };
}

export const fusedLinearNative = native({
  family: "fused_linear",
  serves: Object.keys(OPS),
  // Where every block makes its rows for itself, which takes half a microsecond a row, few of them; where something is only
  // added, more.
  schedules: ringSchedules((p) => (p.rows ? [1, 2] : [1, 4, 8, 16])),
  match,
  emit: ringLinear,
});

/** Products of tens of rows that add a residual where they write. */
export const bf16GemmAddNative = native<Bf16SumProblem, Bf16Schedule>({
  family: "bf16_gemm_add",
  serves: ["linear_add"],
  schedules: bf16SumSchedules,
  match: (site) => match(site) as NativeMatch<Bf16SumProblem, Bf16Schedule> | Refusal,
  emit: bf16Gemm,
});
