// Kernels of the runtime itself, which no op of a model names: the ends of steps that are graphs, drawn ids, synthetic weights, the look at stored ones. They are
// compiled like any other, and artifacts with cubins hold them too, so that a machine without a compiler runs those.
import { fillSource, fillText } from "./fill.ts";
import type { LaunchText } from "./kernel.ts";
import { lookSource, lookText } from "./look.ts";
import { beginSource, beginText, endSource, endText } from "./mail.ts";
import { onwardSource, onwardText } from "./onward.ts";
import { canSample, sampleSource, sampleText } from "./sample.ts";

export interface OwnKernel {
  text: LaunchText;
  source: string;
}

/** Those of a model with so many ids, on a GPU whose blocks may have so much shared memory, in order. */
export const ownKernels = (vocab: number, sharedPerBlock: number): OwnKernel[] => [
  { text: beginText, source: beginSource },
  { text: endText, source: endSource },
  { text: onwardText, source: onwardSource },
  { text: fillText, source: fillSource },
  { text: lookText, source: lookSource },
  ...(canSample(vocab, sharedPerBlock) ? [{ text: sampleText(vocab), source: sampleSource(vocab) }] : []),
];
