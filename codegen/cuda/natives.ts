// The hand-written emitters of sm_90a, in the order they are asked: the first that takes a site gives its kernels. What none takes
// is a printed tile program. A native is a value; adding one is writing it into the list.
import { argmaxNative } from "./argmax.ts";
import { mlaDecodeNative, mlaPrefillNative } from "./attend.ts";
import { blockLinearNative } from "./block-linear.ts";
import { streamBmmNative } from "./bmm.ts";
import { fusedLinearNative } from "./fused-linear.ts";
import { expertsDownNative, expertsGateUpNative } from "./experts.ts";
import { groupedLinearNative } from "./grouped-linear.ts";
import { bf16GemmNative, ringLinearNative, streamLinearNative } from "./linear.ts";
import { mlaQueryNative } from "./mla-query.ts";
import { normRowsNative } from "./norm-rows.ts";
import { routeRowsNative } from "./route-rows.ts";
import { sortExpertsNative } from "./sort-experts.ts";
import { thinGemmNative } from "./thin-linear.ts";
import type { Native } from "./native.ts";

export const natives: readonly Native[] = [
  blockLinearNative, thinGemmNative, groupedLinearNative, expertsGateUpNative, expertsDownNative, fusedLinearNative, ringLinearNative, streamLinearNative, bf16GemmNative, mlaQueryNative, streamBmmNative, argmaxNative, normRowsNative, routeRowsNative, sortExpertsNative,
  mlaDecodeNative, mlaPrefillNative,
];
