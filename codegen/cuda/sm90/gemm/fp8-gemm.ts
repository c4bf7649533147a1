// The FP8 block GEMM for sm_90a: y [m, n] bf16 = x [m, k] times w [n, k]^T, e4m3 codes, a scale per row of x and per
// 128 x 128 block of w every 128 columns. Three forms, by how many rows meet how many weights; the schedule says which.
// Guarantees: any m from 1; refuses n not a multiple of 8 and k not a multiple of 16.
import type { Gpu } from "../../../../ir/machine.ts";
import { DiagnosticError } from "../../../../ir/diagnostic.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { illegal, type GemmProblem, type GemmSchedule } from "./fp8-schedule.ts";
import { illegalSchedule } from "../diagnostics.ts";
import { splitK } from "./fp8-split-k.ts";
import { smallM } from "./fp8-small-m.ts";
import { persistent } from "./fp8-persistent.ts";

/** Prints the kernel of one problem under one legal schedule. */
export function blockGemm(problem: GemmProblem, schedule: GemmSchedule, machine: Gpu): KernelText {
  const reason = illegal(schedule, machine, problem);
  if (reason !== null) throw new DiagnosticError(illegalSchedule({ op: "block_gemm", problem, schedule, reason }));
  switch (schedule.form) {
    case "persistent":
      return persistent(problem, schedule, machine);
    case "small-m":
      return smallM(problem, schedule, machine);
    case "split-k":
      return splitK(problem, schedule, machine);
  }
}
