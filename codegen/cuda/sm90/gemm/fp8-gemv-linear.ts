// Products of block-scaled weights with one row, alone and with a norm or a residual sum inside: this form takes them all in.
// More rows are left to the other forms, and for a fused op to its parts (codegen/parts.ts).
import type { Arg, Site } from "../../../../ir/kernel/catalogue.ts";
import { mul } from "../../../../ir/size.ts";
import { refuse, strided, type Refusal } from "../../../family.ts";
import { asRows, float, isPacked, num } from "../../../layouts.ts";
import { native, type NativeMatch } from "../../native.ts";
import { STEP } from "./fp8-schedule.ts";
import { gemv } from "./fp8-gemv.ts";
import { gemvSchedules, type GemvProblem, type GemvSchedule } from "./fp8-gemv-schedule.ts";

const scalesOf = (i: number): Arg => ({ in: i, part: "scales" });

function match({ op, ins: [xs, w, other], outs: [ys], attrs }: Site): NativeMatch<GemvProblem, GemvSchedule> | Refusal {
  const [norm, added] = [op === "norm_block_linear", op === "block_linear_add"];
  const [x, y] = [asRows(xs), asRows(ys, w.shape.length - 1)];
  const [parts, n, k] = [num(mul(...w.shape.slice(0, -2))), num(w.shape.at(-2)), num(w.shape.at(-1))];
  if (!x || !y || ![w, ys, ...(other ? [other] : [])].every(isPacked)) return strided;
  if (ys.dtype !== "bf16" || (norm && xs.dtype !== "bf16") || (added && other.dtype !== "bf16"))
    return refuse("activations are f32");
  if (!norm && (xs.scaled !== "1x128" || x.stride !== k))
    return refuse("rows are not quantised by 128 columns, one after another");
  // Rows of a part that ends inside a block would take the next part's scale.
  if (parts > 1 && n % 128 !== 0) return refuse(`parts of ${n} rows of weights end inside a block of 128, which has one scale`);
  const problem = {
    n: parts * n,
    k,
    ...(norm ? { norm: { eps: num(attrs.eps), gain: float(other), xStride: x.stride, ue8m0: attrs.scale === "ue8m0" } } : {}),
    ...(added ? { residual: true } : {}),
  };
  const args: Arg[] = [
    { in: 1 },
    { in: 0 },
    norm ? { in: 2 } : scalesOf(0),
    scalesOf(1),
    ...(added ? [{ in: 2 }] : []),
    { out: 0 },
  ];
  return { problem, rows: x.rows, dims: [x.rows], args: () => args };
}

export const gemvNative = native({
  family: "block_gemv",
  serves: ["block_linear", "norm_block_linear", "block_linear_add"],
  schedules: gemvSchedules,
  match,
  trial: ({ n, k, norm }, m) => ({
    elements: {
      x: m * (norm?.xStride ?? k),
      x_scale: (m * k) / STEP,
      gain: k,
      w: n * k,
      w_scale: (Math.ceil(n / STEP) * k) / STEP,
      residual: m * n,
      y: m * n,
    },
    weights: ["w", "w_scale"],
  }),
  emit: (p, { maxRows, ...s }, machine) => gemv({ ...p, maxRows }, s, machine),
});
