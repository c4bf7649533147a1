// grouped_linear on tensor cores: rows sorted by expert, each group by its own block-scaled matrix, bf16 out. Parts of a packed
// weight (gate, up) are one matrix of an expert.
import type { Site } from "../../../../ir/kernel/catalogue.ts";
import { refuse, strided, type Refusal } from "../../../family.ts";
import { asRows, isPacked, num } from "../../../layouts.ts";
import { native, type NativeMatch } from "../../native.ts";
import type { GemmSchedule } from "./fp8-schedule.ts";
import { groupedGemm } from "./grouped-gemm.ts";
import { groupedSchedules, type GroupedProblem } from "./grouped-schedule.ts";

function match({ ins, outs }: Site): NativeMatch<GroupedProblem, GemmSchedule> | Refusal {
  if (ins[0].scaled !== "1x128") return refuse("rows are not quantised by 128 columns");
  if (outs[0].dtype !== "bf16") return refuse("the result is f32");
  const shape = ins[1].shape.map(num);
  const [experts, parts, n, k] = [shape[0], shape.slice(1, -2).reduce((a, d) => a * d, 1), shape.at(-2)!, shape.at(-1)!];
  // Rows of a part that ends inside a block would take the next part's scale.
  if (n % 128 !== 0) return refuse(`parts of ${n} rows of weights end inside a block of 128, which has one scale`);
  const rows = asRows(ins[0]);
  if (rows?.stride !== k || !isPacked(ins[1]) || !isPacked(outs[0])) return strided;
  return {
    problem: { experts, n: parts * n, k },
    rows: rows.rows,
    dims: [rows.rows],
    args: (s) =>
      s.form === "persistent"
        ? [{ in: 0 }, { in: 1 }, { out: 0 }, { in: 0, part: "scales" }, { in: 1, part: "scales" }, { in: 2 }]
        : [{ in: 0 }, { in: 1 }, { in: 0, part: "scales" }, { in: 1, part: "scales" }, { in: 2 }, { out: 0 }],
  };
}

export const groupedLinearNative = native({
  family: "grouped_gemm",
  serves: ["grouped_linear"],
  schedules: groupedSchedules,
  match,
  emit: groupedGemm,
});
