// Kernels that the runtime launches for itself and that no op of a model names: the ends of steps that are graphs, drawn ids,
// synthetic weights, the look at stored ones. They go into the artifact like any other; ir/system.ts has what a launch gives.
import type { Gpu } from "../../../ir/machine.ts";
import type { KernelText } from "../../../ir/kernel/catalogue.ts";
import { pushGatherKernel } from "../mailbox/gather.ts";
import { pushReduceKernel, pushReducePartsKernel } from "../mailbox/reduce.ts";
import { advanceKernel } from "./advance.ts";
import { fillKernel, fillPartKernel } from "./fill.ts";
import { finiteKernel } from "./finite.ts";
import { beginKernel, endKernel } from "./mailbox.ts";
import { allGatherKernel, allReduceKernel, reduceScatterKernel } from "./lockstep.ts";
import { ownExpertsKernel } from "./own-experts.ts";
import { pickMaxKernel, rankMaxKernel } from "./pick-max.ts";
import { canSample, sampleKernel } from "./sample.ts";

/** Those of a model that is divided over ranks besides. */
const rankTexts = (): KernelText[] => [
  allReduceKernel(),
  allGatherKernel(),
  reduceScatterKernel(),
  ownExpertsKernel(),
  rankMaxKernel(),
  pickMaxKernel(),
  fillPartKernel(),
  pushReduceKernel(),
  pushReducePartsKernel(),
  pushGatherKernel(),
];

/** Those of a model with so many ids, in order. */
export const systemTexts = (vocab: number, machine: Gpu, ranks = false): KernelText[] => [
  beginKernel(),
  endKernel(),
  advanceKernel(),
  fillKernel(),
  finiteKernel(),
  ...(canSample(vocab, machine) ? [sampleKernel(vocab, machine)] : []),
  ...(ranks ? rankTexts() : []),
];
