// DSC41xx: what the native CUDA kernels cannot do.
import { error, place, type Diagnostic } from "../../../ir/diagnostic.ts";

export const illegalSchedule = (op: string, problem: object, schedule: object, reason: string): Diagnostic =>
  error("DSC4101", `${op} cannot run under this schedule`, {
    spans: [place(op)],
    notes: [`problem ${JSON.stringify(problem)}, schedule ${JSON.stringify(schedule)}`, reason],
    help: "let choose() pick the schedule, or use the generic kernel for this problem",
  });
