// The hand-written emitters of sm_90a, in the order they are asked: the first that takes a site gives its kernels. What none takes
// is a printed tile program. A native is a value; adding one is writing it into the list.
import type { Choice, KernelText, Problem, Site } from "../../ir/kernel/catalogue.ts";
import { argmaxNative } from "./argmax.ts";
import { mlaDecodeNative, mlaPrefillNative } from "./attend.ts";
import { blockLinearNative } from "./block-linear.ts";
import { streamBmmNative } from "./bmm.ts";
import { groupedLinearNative } from "./grouped-linear.ts";
import { bf16GemmNative, ringLinearNative, streamLinearNative } from "./linear.ts";
import { normRowsNative } from "./norm-rows.ts";
import { routeRowsNative } from "./route-rows.ts";
import { sortExpertsNative } from "./sort-experts.ts";

export interface Native {
  /** Names the kernels of this native in artifacts and timings; no tile family has the name. */
  family: string;
  /** The launches of a site, or null to let others have it. Cases may also launch kernels of other families. */
  choose(site: Site): Choice | null;
  /** The text of one problem that `choose` made; buffers are bound in the order of its parameters (boundBuffers). */
  emit(problem: Problem): KernelText;
}

export const natives: readonly Native[] = [
  blockLinearNative, groupedLinearNative, ringLinearNative, streamLinearNative, bf16GemmNative, streamBmmNative, argmaxNative, normRowsNative, routeRowsNative, sortExpertsNative,
  mlaDecodeNative, mlaPrefillNative,
];
