// DSC3xxx: passes, rules, contracts and proofs.
import type { Entry } from "./entry.ts";

export const passes: Readonly<Record<string, Entry>> = {
  DSC3020: {
    name: "a pass changes what is computed",
    means:
      "dsc verify interprets a small model in float64 before and after each pass. The logits differ by more than " +
      "rounding, and the pass declares no change.",
    example: "A rule that drops a scale.",
    fix: "This is a fault of the pass: dsc opt on graph/00-frontend.dsc with the passes up to it shows the graph it made.",
  },
};
