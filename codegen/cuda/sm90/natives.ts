// The hand-written emitters of sm_90a, in the order they are asked: the first that takes a site gives its kernels. What none takes
// is a printed tile program. A native is a value; adding one is writing it into the list.
import { argmaxNative } from "./rows/argmax.ts";
import { mlaDecodeFixedNative, mlaDecodeNative, mlaPrefillNative } from "./attention/natives.ts";
import { blockLinearNative } from "./gemm/fp8-linear.ts";
import { streamBmmNative } from "./gemm/bmm-native.ts";
import { fusedLinearNative } from "./gemm/fused-linear.ts";
import { expertsDownNative, expertsGateUpNative } from "./moe/experts.ts";
import { groupedLinearNative } from "./gemm/grouped-linear.ts";
import { bf16GemmNative, ringLinearNative, streamLinearNative } from "./gemm/bf16-linear.ts";
import { mlaQueryNative } from "./attention/mla-query.ts";
import { normRowsNative } from "./rows/norm-rows.ts";
import { routeRowsNative } from "./moe/route-rows.ts";
import { sortExpertsNative } from "./moe/sort-experts.ts";
import { thinGemmNative } from "./gemm/fp8-gemv-linear.ts";
import type { Arch, Native } from "../native.ts";
import { h200 } from "../arch/h200.ts";

export const natives: readonly Native[] = [
  blockLinearNative, thinGemmNative, groupedLinearNative, expertsGateUpNative, expertsDownNative, fusedLinearNative, ringLinearNative, streamLinearNative, bf16GemmNative, mlaQueryNative, streamBmmNative, argmaxNative, normRowsNative, routeRowsNative, sortExpertsNative,
  mlaDecodeNative, mlaPrefillNative,
];

export const sm90: Arch = { name: "sm_90", machine: h200, natives, batchInvariant: new Map([[mlaDecodeNative, mlaDecodeFixedNative]]) };
