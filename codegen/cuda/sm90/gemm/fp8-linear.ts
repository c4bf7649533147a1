// block_linear on tensor cores: quantised rows by block-scaled weights, bf16 out. Parts of a packed weight (gate, up) are one
// matrix when each is whole blocks of 128 rows.
import type { Arg, Site } from "../../../../ir/kernel/catalogue.ts";
import { mul, type Size } from "../../../../ir/size.ts";
import { refuse, strided, type Refusal } from "../../../family.ts";
import { asRows, num } from "../../../layouts.ts";
import { measuredIn, native, usIn, type Schedules } from "../../native.ts";
import { blockGemm } from "./fp8-gemm.ts";
import { estimate } from "./fp8-estimate.ts";
import { gemmMeasured } from "./fp8-measured.ts";
import { candidates, illegal, scheduleName, STEP, type GemmProblem, type GemmSchedule } from "./fp8-schedule.ts";

const x: Arg = { in: 0 };
const xScale: Arg = { in: 0, part: "scales" };
const w: Arg = { in: 1 };
const wScale: Arg = { in: 1, part: "scales" };
const y: Arg = { out: 0 };

function problemOf({ ins, outs }: Site): { problem: GemmProblem; rows: Size } | Refusal {
  if (ins[0].scaled !== "1x128") return refuse("rows are not quantised by 128 columns");
  if (outs[0].dtype !== "bf16") return refuse("the result is f32");
  const shape = ins[1].shape;
  const [parts, n, k] = [num(mul(...shape.slice(0, -2))), num(shape.at(-2)), num(shape.at(-1))];
  // Rows of a part that ends inside a block would take the next part's scale.
  if (parts > 1 && n % 128 !== 0) return refuse(`parts of ${n} rows of weights end inside a block of 128, which has one scale`);
  const [rows, out] = [asRows(ins[0]), asRows(outs[0], outs[0].shape.length - ins[0].shape.length + 1)];
  return rows?.stride === k && out ? { problem: { n: parts * n, k }, rows: rows.rows } : strided;
}

export const gemmSchedules: Schedules<GemmProblem, GemmSchedule> = {
  candidates: () => candidates,
  illegal: (p, s, machine) => illegal(s, machine, p),
  measured: (p, rows) => measuredIn(gemmMeasured, p, rows),
  measuredUs: (p, s, rows) => usIn(gemmMeasured, p, s, rows),
  estimate: (p, s, rows, machine) => estimate(s, p, rows, machine),
  // The sums of a cluster: a trace of a step, docs/notes-gpu-gemm.md.
  handOver: (s, machine) => (s.form === "split-k" && s.split > 1 ? machine.times.handOver : 0),
  name: scheduleName,
};

export const blockLinearNative = native({
  family: "block_gemm",
  serves: ["block_linear"],
  schedules: gemmSchedules,
  match(site) {
    const found = problemOf(site);
    if ("reason" in found) return found;
    const { problem, rows } = found;
    return {
      problem,
      rows,
      dims: [rows],
      args: (s) => (s.form === "persistent" ? [x, w, y, xScale, wScale] : [x, w, xScale, wScale, y]),
    };
  },
  emit: blockGemm,
  trial: ({ n, k }, m) => ({
    elements: {
      x: m * k,
      x_scale: m * Math.ceil(k / STEP),
      w: n * k,
      w_scale: Math.ceil(n / STEP) * Math.ceil(k / STEP),
      y: m * n,
    },
    weights: ["w", "w_scale"],
  }),
});
