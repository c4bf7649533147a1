// grouped_linear with bf16 rows and matrices on tensor cores: rows sorted by expert, each run by its own matrix, bf16 out. Parts of a
// packed weight (gate, up) are one matrix of an expert, or gate it (grouped_linear_gated).
import type { Site } from "../../../../ir/kernel/catalogue.ts";
import { refuse, strided, type Refusal } from "../../../family.ts";
import { onlySilu } from "../../../gating.ts";
import { asRows, isPacked, num } from "../../../layouts.ts";
import { native, type NativeMatch } from "../../native.ts";
import { groupedBf16 } from "./grouped-bf16.ts";
import { groupedBf16Schedules, type GroupedBf16Problem, type GroupedBf16Schedule } from "./grouped-bf16-schedule.ts";

function match({ op, ins: [x, w], outs: [y], attrs }: Site): NativeMatch<GroupedBf16Problem, GroupedBf16Schedule> | Refusal {
  const unlike = op === "grouped_linear_gated" ? onlySilu(attrs) : null;
  if (unlike) return unlike;
  if (w.dtype !== "bf16" || x.dtype !== "bf16") return refuse("rows or weights are not bf16");
  if (y.dtype !== "bf16") return refuse("the result is f32");
  const shape = w.shape.map(num);
  const [experts, parts, n, k] = [shape[0], shape.slice(1, -2).reduce((a, d) => a * d, 1), shape.at(-2)!, shape.at(-1)!];
  const rows = asRows(x);
  if (rows?.stride !== k || !isPacked(w) || !isPacked(y)) return strided;
  return {
    problem: op === "grouped_linear_gated" ? { experts, n, k, gated: true } : { experts, n: parts * n, k },
    rows: rows.rows,
    dims: [rows.rows],
    args: () => [{ in: 0 }, { in: 1 }, { out: 0 }, { in: 2 }],
  };
}

export const groupedBf16Native = native({
  family: "grouped_bf16",
  serves: ["grouped_linear", "grouped_linear_gated"],
  schedules: groupedBf16Schedules,
  match,
  emit: groupedBf16,
});
