// grouped_linear on tensor cores: rows sorted by expert, each group by its own block-scaled matrix, bf16 out. Parts of a packed
// weight (gate, up) are one matrix of an expert; the schedule depends on the rows, so the launch is chosen when they are known.
import type { Gpu } from "../../../../ir/machine.ts";
import type { Choice, Chosen, Problem, Site } from "../../../../ir/kernel/catalogue.ts";
import { scheduleName, type GemmSchedule } from "./fp8-schedule.ts";
import { candidates, choose, illegal, type GroupedProblem } from "./grouped-schedule.ts";
import { asRows, isPacked, num } from "../../../layouts.ts";
import { casesOf } from "../cases.ts";
import { groupedGemm } from "./grouped-gemm.ts";
import type { Native } from "../../native.ts";

function take(site: Site, machine: Gpu): Choice | null {
  if (site.op !== "grouped_linear" || site.ins[0].scaled !== "1x128" || site.outs[0].dtype !== "bf16") return null;
  const shape = site.ins[1].shape.map(num);
  const [experts, parts, n, k] = [shape[0], shape.slice(1, -2).reduce((a, d) => a * d, 1), shape.at(-2)!, shape.at(-1)!];
  // Rows of a part that ends inside a block would take the next part's scale.
  if (n % 128 !== 0) return null;
  const rows = asRows(site.ins[0]);
  if (rows?.stride !== k || !isPacked(site.ins[1]) || !isPacked(site.outs[0])) return null;
  const problem: GroupedProblem = { experts, n: parts * n, k };
  if (candidates.every((s) => illegal(s, machine, problem) !== null)) return null;
  const launch = (s: GemmSchedule): Chosen => ({
    family: "grouped_gemm", problem: { ...problem, schedule: scheduleName(s) },
    args:
      s.form === "tall"
        ? [{ in: 0 }, { in: 1 }, { out: 0 }, { in: 0, part: "scales" }, { in: 1, part: "scales" }, { in: 2 }]
        : [{ in: 0 }, { in: 1 }, { in: 0, part: "scales" }, { in: 1, part: "scales" }, { in: 2 }, { out: 0 }],
    dims: [rows.rows],
  });
  return casesOf(rows.rows, (r) => choose(problem, r, machine), launch);
}

export const groupedLinearNative: Native = {
  family: "grouped_gemm",
  choose: take,
  emit: (p: Problem, machine) => groupedGemm({ experts: p.experts as number, n: p.n as number, k: p.k as number }, candidates.find((s) => scheduleName(s) === p.schedule)!, machine),
};
