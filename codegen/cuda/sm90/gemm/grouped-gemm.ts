// The FP8 product of rows sorted by expert for sm_90a: every run of rows between two offsets by its own block-scaled matrix.
// Offsets stay on the device: the grid depends on the number of rows only, so one graph serves whatever the router chose.
import type { Gpu } from "../../../../ir/machine.ts";
import { DiagnosticError } from "../../../../ir/diagnostic.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import type { GemmSchedule } from "./fp8-schedule.ts";
import { illegal, type GroupedProblem } from "./grouped-schedule.ts";
import { illegalSchedule } from "../diagnostics.ts";
import { splitK } from "./fp8-split-k.ts";
import { persistent } from "./fp8-persistent.ts";

/** Prints the kernel of one problem under one legal schedule. */
export function groupedGemm(problem: GroupedProblem, schedule: GemmSchedule, machine: Gpu): KernelText {
  const reason = illegal(schedule, machine, problem);
  if (reason !== null || schedule.form === "small-m")
    throw new DiagnosticError(
      illegalSchedule({ op: "grouped_gemm", problem, schedule, reason: reason ?? "it has no grouped form" }),
    );
  return schedule.form === "persistent" ? persistent(problem, schedule, machine) : splitK(problem, schedule, machine);
}
