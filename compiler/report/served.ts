// Which kernel serves which place of an artifact, and why that one: its family and problem, the run-time sizes it is for, and
// where a family has schedules, every candidate with its estimate or the reason it cannot run.
import { inside, type Manifest, type Step } from "../../ir/artifact.ts";
import { printSize } from "../../ir/size.ts";
import type { Problem } from "../../ir/kernel/catalogue.ts";
import * as gemm from "../../codegen/cuda/sm90/gemm/fp8-schedule.ts";
import * as bf16 from "../../codegen/cuda/sm90/gemm/bf16-schedule.ts";
import { sm90 } from "../../codegen/cuda/sm90/natives.ts";
import type { StreamProblem } from "../../codegen/cuda/sm90/gemm/register-schedule.ts";
import { families } from "../../codegen/kernels/index.ts";

/** A kernel at a place. */
export interface Served {
  site: string;
  kernel: string;
  family: string;
  /** A tile program that every target can run, or a kernel written for this one. */
  form: "tile program" | "native";
  problem?: Problem;
  /** "T up to 16": the run-time sizes it is launched for, where others are served by another kernel. */
  when?: string;
  candidates?: Candidate[];
}

/** A schedule of the kernel's family for its problem. */
export interface Candidate {
  schedule: string;
  chosen: boolean;
  /** Microseconds at the largest rows the chosen one is launched for, where the table has a formula; or why it cannot run. */
  estimate?: number;
  illegal?: string;
}

/** Every launch of an artifact with its place; `problems` is what the artifact says of its kernels. */
export function servedBy(m: Manifest, problems: Readonly<Record<string, Problem>>): Served[] {
  const out = new Map<string, Served>();
  const walk = (steps: readonly Step[], when?: string, rows = 16): void => {
    for (const s of steps) {
      if (s.kind === "kernel") {
        const { family } = m.kernels[s.kernel];
        const problem = problems[s.kernel];
        const candidates = problem && candidatesOf(problem, rows);
        const key = `${s.site} ${s.kernel}`;
        if (!out.has(key))
          out.set(key, {
            site: s.site, kernel: s.kernel, family, form: family in families ? "tile program" : "native",
            ...(problem ? { problem } : {}), ...(when ? { when } : {}), ...(candidates ? { candidates } : {}),
          });
      } else if (s.kind === "cases") {
        let from = 1;
        for (const c of s.cases) {
          const on = printSize(s.on);
          walk(c.steps, c.most === null ? `${on} from ${from}` : from === c.most ? `${on} = ${from}` : `${on} from ${from} to ${c.most}`, c.most ?? from);
          if (c.most !== null) from = c.most + 1;
        }
      } else walk(inside(s), when, rows);
    }
  };
  for (const f of Object.values(m.functions)) walk(f.steps);
  return [...out.values()];
}

/** A problem that names a schedule belongs to the table that has one of the name. */
function candidatesOf(problem: Problem, m: number): Candidate[] | undefined {
  if (gemm.candidates.some((s) => gemm.scheduleName(s) === problem.schedule)) {
    const p = { n: problem.n as number, k: problem.k as number };
    return gemm.candidates.map((s) => candidate(gemm.scheduleName(s), problem, gemm.illegal(s, sm90.machine, p)));
  }
  if (bf16.candidates.some((s) => bf16.bf16Name(s) === problem.schedule)) {
    const p = problem as unknown as StreamProblem;
    return bf16.candidates.map((s) => candidate(bf16.bf16Name(s), problem, bf16.illegal(s, p, sm90.machine), () => bf16.estimate(s, p, m, sm90.machine)));
  }
  return undefined;
}

const candidate = (schedule: string, problem: Problem, illegal: string | null, estimate?: () => number): Candidate => ({
  schedule,
  chosen: problem.schedule === schedule,
  ...(illegal !== null ? { illegal } : estimate ? { estimate: estimate() } : {}),
});

/** One kernel at a place, whole. */
export function printServed(s: Served): string {
  const problem = s.problem && Object.entries(s.problem).filter(([, v]) => v !== undefined).map(([k, v]) => `${k} ${Array.isArray(v) ? `[${v.join(", ")}]` : String(v)}`);
  return [
    s.site,
    `  ${s.kernel}: ${s.form}, family ${s.family}${s.when ? `, for ${s.when}` : ""}`,
    ...(problem ? [`    problem: ${problem.join(", ")}`] : []),
    ...(s.candidates ?? []).map((c) => `    ${c.chosen ? "chosen " : "       "}${c.schedule}: ${c.illegal ?? (c.estimate === undefined ? "can run" : `about ${c.estimate.toFixed(1)} us`)}`),
  ].join("\n");
}
