// What all plug-ins of a compile bring together, beside their passes.
import { noKernels, type BroughtKernels } from "../../codegen/brought.ts";
import type { Target } from "../../ir/artifact.ts";
import { noWords, type Vocabulary } from "../../ir/vocabulary.ts";

/** What is known of one thing that a plug-in brought. */
export interface HeldTo {
  file: string;
  /** "kernel clipped_swiglu" */
  what: string;
  /** "held to 12 trials on the CPU", or "not tried, because ..." */
  says: string;
  proved: boolean;
  /** Of one target alone: of another it does not matter. */
  only?: Target;
}

/** A plug-in as the artifact names it. */
export interface PluginFile {
  name: string;
  version?: string;
  file: string;
  digest: string;
}

export interface Brings {
  readonly words: Vocabulary;
  readonly kernels: BroughtKernels;
  readonly held: readonly HeldTo[];
  readonly files: readonly PluginFile[];
}

export const noBrings: Brings = Object.freeze({ words: noWords, kernels: noKernels, held: [], files: [] });
