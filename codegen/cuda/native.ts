// What a hand-written emitter of sm_90a is to the target: a value that takes sites and prints kernels.
import type { Choice, KernelText, Problem, Site } from "../../ir/kernel/catalogue.ts";

export interface Native {
  /** Names the kernels of this native in artifacts and timings; no tile family has the name. */
  family: string;
  /**
   * The launches of a site, or null to let others have it. Cases may also launch kernels of other families; those of a fused op may
   * end at some size, beyond which its parts serve (codegen/compose.ts).
   */
  choose(site: Site): Choice | null;
  /** The text of one problem that `choose` made; buffers are bound in the order of its parameters (boundBuffers). */
  emit(problem: Problem): KernelText;
}
