// block_linear on tensor cores: quantised rows by block-scaled weights, bf16 out. Parts of a packed weight (gate, up) are one
// matrix when each is whole blocks of 128 rows; the schedule depends on the rows, so the launch is chosen when they are known.
import type { Gpu } from "../../../../ir/machine.ts";
import type { Arg, Choice, Chosen, Problem, Site } from "../../../../ir/kernel/catalogue.ts";
import { candidates, choose, illegal, scheduleName, type GemmProblem, type GemmSchedule } from "./fp8-schedule.ts";
import { asRows, num } from "../../../layouts.ts";
import { blockGemm } from "./fp8-gemm.ts";
import { casesOf } from "../cases.ts";
import type { Native } from "../../native.ts";
import { thinCases } from "./fp8-gemv-linear.ts";

const x: Arg = { in: 0 };
const xScale: Arg = { in: 0, part: "scales" };
const w: Arg = { in: 1 };
const wScale: Arg = { in: 1, part: "scales" };
const y: Arg = { out: 0 };

function take(site: Site, machine: Gpu): Choice | null {
  if (site.op !== "block_linear" || site.ins[0].scaled !== "1x128" || site.outs[0].dtype !== "bf16") return null;
  const shape = site.ins[1].shape;
  const [parts, n, k] = [num(shape.slice(0, -2).reduce<number>((a, d) => a * num(d), 1)), num(shape.at(-2)), num(shape.at(-1))];
  // Rows of a part that ends inside a block would take the next part's scale.
  if (parts > 1 && n % 128 !== 0) return null;
  const [rows, out] = [asRows(site.ins[0]), asRows(site.outs[0], site.outs[0].shape.length - site.ins[0].shape.length + 1)];
  if (rows?.stride !== k || !out) return null;
  const problem: GemmProblem = { n: parts * n, k };
  if (candidates.every((s) => illegal(s, machine, problem) !== null)) return null;
  const launch = (s: GemmSchedule): Chosen => ({
    family: "block_gemm", problem: { ...problem, schedule: scheduleName(s) },
    args: s.form === "tall" ? [x, w, y, xScale, wScale] : [x, w, xScale, wScale, y], dims: [rows.rows],
  });
  const many = casesOf(rows.rows, (m) => choose(problem, m, machine), launch);
  // One row is held whole.
  const thin = thinCases(site, machine);
  if (!thin) return many;
  const last = thin.cases.at(-1)!.most!;
  return { on: rows.rows, cases: [...thin.cases, ...("on" in many ? many.cases.filter((c) => (c.most ?? Infinity) > last) : [{ most: null, launches: many }])] };
}

export const blockLinearNative: Native = {
  family: "block_gemm",
  choose: take,
  emit: (p: Problem, machine) => blockGemm({ n: p.n as number, k: p.k as number }, candidates.find((s) => scheduleName(s) === p.schedule)!, machine),
};
