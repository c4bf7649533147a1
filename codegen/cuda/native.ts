// What a hand-written emitter is to the target, a value that takes sites and prints kernels; and what an architecture has of them.
import type { Gpu } from "../../ir/machine.ts";
import type { Choice, KernelText, Problem, Site } from "../../ir/kernel/catalogue.ts";

export interface Native {
  /** Names the kernels of this native in artifacts and timings; no tile family has the name. */
  family: string;
  /**
   * The launches of a site, or null to let others have it. Cases may also launch kernels of other families; those of a fused op may
   * end at some size, beyond which its parts serve (codegen/compose.ts).
   */
  choose(site: Site, machine: Gpu): Choice | null;
  /** The text of one problem that `choose` made; buffers are bound in the order of its parameters (boundBuffers). */
  emit(problem: Problem, machine: Gpu): KernelText;
}

/** An architecture that kernels are compiled for. */
export interface Arch {
  /** As --arch names it: "sm_90". */
  name: string;
  /** The GPU that schedules are made for and floors are of. */
  machine: Gpu;
  /** In the order they are asked: the first that takes a site gives its kernels. */
  natives: readonly Native[];
  /** What takes the place of a native where a sequence's bits must not depend on its batch (--deterministic). */
  batchInvariant: ReadonlyMap<Native, Native>;
}
