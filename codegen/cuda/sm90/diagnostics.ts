// DSC41xx: what the native CUDA kernels cannot do.
import { coded, place } from "../../../ir/diagnostic.ts";

export const illegalSchedule = coded<{ op: string; problem: object; schedule: object; reason: string }>("DSC4101", {
  name: "an illegal schedule",
  means:
    "A native kernel's schedule (tiles, stages, cluster) breaks a rule of the hardware for this problem; the note says which.",
  example: "Five stages of 128 x 128 x 128 in bf16, which do not fit 227 KB.",
  fix: "Let choose() pick the schedule, or use the printed kernel.",
  at: ({ op }) => [place(op)],
  short: ({ op, problem, schedule, reason }) => ({
    title: `${op} cannot run under this schedule`,
    notes: [`problem ${JSON.stringify(problem)}, schedule ${JSON.stringify(schedule)}`, reason],
    help: "let choose() pick the schedule, or use the generic kernel for this problem",
  }),
});
