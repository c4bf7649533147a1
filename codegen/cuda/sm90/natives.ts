// The hand-written kernels of sm_90a. What none takes is a printed tile program. A native is one value in one file; adding one is
// writing it into the list.
import { argmaxNative } from "./rows/argmax.ts";
import { mlaDecodeFixedNative, mlaDecodeNative, mlaPrefillNative } from "./attention/natives.ts";
import { blockLinearNative } from "./gemm/fp8-linear.ts";
import { bmmNative } from "./gemm/bmm-native.ts";
import { bf16GemmAddNative, fusedLinearNative } from "./gemm/fused-linear.ts";
import { expertsGateUpNative } from "./moe/experts.ts";
import { groupedBf16Native } from "./gemm/grouped-bf16-linear.ts";
import { groupedLinearNative } from "./gemm/grouped-linear.ts";
import { bf16GemmNative, ringLinearNative, registerLinearNative } from "./gemm/bf16-linear.ts";
import { mlaQueryNative } from "./attention/mla-query.ts";
import { gatherRowsNative } from "./rows/gather-rows.ts";
import { quantRowsNative } from "./rows/quant-rows.ts";
import { ropeRowsNative } from "./rows/rope-rows.ts";
import { normRowsNative } from "./rows/norm-rows.ts";
import { routeRowsNative } from "./moe/route-rows.ts";
import { normLinearNative } from "./rows/norm-linear.ts";
import { sortExpertsNative } from "./moe/sort-experts.ts";
import { unitExpertsNative } from "./moe/unit-experts.ts";
import { gemvNative } from "./gemm/fp8-gemv-linear.ts";
import type { Arch, Native } from "../native.ts";
import { h200 } from "../arch/h200.ts";

/**
 * Of several that serve an op, the one with the least time runs a site (codegen/cuda/select.ts), so their order says nothing but
 * where times are equal.
 */
export const natives: readonly Native[] = [
  // Products of block-scaled weights.
  gemvNative,
  blockLinearNative,
  groupedLinearNative,
  expertsGateUpNative,
  // Products of bf16 weights.
  fusedLinearNative,
  ringLinearNative,
  registerLinearNative,
  bf16GemmNative,
  bf16GemmAddNative,
  groupedBf16Native,
  unitExpertsNative,
  bmmNative,
  // Attention.
  mlaQueryNative,
  mlaDecodeNative,
  mlaPrefillNative,
  // Rows.
  normRowsNative,
  ropeRowsNative,
  gatherRowsNative,
  quantRowsNative,
  normLinearNative,
  routeRowsNative,
  sortExpertsNative,
  argmaxNative,
];

export const sm90: Arch = {
  name: "sm_90",
  machine: h200,
  natives,
  batchInvariant: new Map([[mlaDecodeNative, mlaDecodeFixedNative]]),
};
