// What each pass is worth: the model without it, beside the model with all.
import type { Machine } from "../../ir/machine.ts";
import type { Pass } from "../../passes/index.ts";
import { machinesOf } from "../../codegen/target.ts";
import { choosePasses, runPipeline } from "../../passes/index.ts";
import { modelModule } from "../frontend/model.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import { plannedOf, type PlannedOptions } from "./planned.ts";
import type { Load } from "./roofline.ts";
import { costsOf, type StepCost } from "./step-cost.ts";
import { largest, step } from "./verify.ts";

/** A pipeline without one pass; the first row is without none. */
export interface Ablated {
  /** What was left out; null of all passes. */
  without: string | null;
  decode: Pick<StepCost, "launches" | "bytes" | "flops" | "floor_us">;
  prefill: Pick<StepCost, "launches" | "bytes" | "flops" | "floor_us">;
  /** Largest difference of any logit of the model made small to that of all passes; null where it was not asked for. */
  error: number | null;
}

export function ablate(
  spec: ModelSpec,
  small: ModelSpec | undefined,
  options: Omit<PlannedOptions, "passes">,
  pipeline: readonly Pass[],
  machine: Machine,
  load: Load,
  tell: (doing: string) => void = () => {},
): Ablated[] {
  const answer = (words: string): Float64Array | undefined => {
    if (!small) return undefined;
    const module = modelModule(small, { activations: "f32", actQuant: options.actQuant, taps: false });
    const { module: m } = runPipeline(module, choosePasses(words, pipeline), options.passOptions, {
      contracts: false,
      machines: machinesOf(),
    });
    // A chunk on cached rows goes through attention as a decode step does.
    return step(m, small, "extend");
  };
  const cost = (words: string): { decode: StepCost; prefill: StepCost } =>
    costsOf(plannedOf(spec, { ...options, passes: words }, pipeline), machine, load, (family) => family, false).steps;
  const all = answer("all");
  const row = (without: string | null): Ablated => {
    const words = without === null ? "all" : `all,-${without}`;
    tell(without === null ? "all passes" : `without ${without}`);
    const { decode, prefill } = cost(words);
    const own = without === null ? all : answer(words);
    return { without, decode: figures(decode), prefill: figures(prefill), error: all && own ? largest(own, all) : null };
  };
  return [row(null), ...pipeline.map((p) => row(p.name))];
}

const figures = ({ launches, bytes, flops, floor_us }: StepCost): Ablated["decode"] => ({ launches, bytes, flops, floor_us });
