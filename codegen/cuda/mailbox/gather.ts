// What ranks hold side by side, by mailboxes: runs of every rank, which the result has between those of other ranks.
import type { KernelText } from "../../../ir/kernel/catalogue.ts";
import { ceildiv } from "../../../ir/size.ts";
import { cudaKernel } from "../text/kernel.ts";
import { BLOCK, exchangeDefinitions, exchangeLaunch, exchangeParams } from "./exchange.ts";

export const pushGatherKernel = (block = BLOCK): KernelText =>
  cudaKernel({
    name: "dsc_push_gather",
    header: [
      "dsc_push_gather: y [outer, ranks, inner] of the ranks' x [outer, inner], by mailboxes (codegen/cuda/mailbox/exchange.ts).",
      "Elements of 4 bytes, or of 2 (bf16), which travel a word each; this launch has some of them, from number first on.",
    ],
    params: exchangeParams(),
    dims: ["outer", "inner", "first", "some"],
    launch: exchangeLaunch(ceildiv("some", 2), block),
    definitions: `${exchangeDefinitions}

__device__ __forceinline__ u32 element(const float* x, bool bf16, i64 i) { return bf16 ? ((const u16*)x)[i] : ((const u32*)x)[i]; }
__device__ __forceinline__ void keep(float* y, bool bf16, i64 i, u32 v) {
  if (bf16) ((u16*)y)[i] = (u16)v;
  else ((u32*)y)[i] = v;
}`,
    body: `
  await_previous();
  const Exchange e = enter(mailboxes, control, rank, ranks, what, limit_ms);
  const int units = (some + 1) / 2, step = gridDim.x * ${block};
  for (int i = blockIdx.x * ${block} + threadIdx.x; i < units; i += step) {
    const i64 at = (i64)first + 2 * i;
    push(e, i, make_uint2(element(x, bf16, at), 2 * i + 1 < some ? element(x, bf16, at + 1) : 0));
  }
  for (int i = blockIdx.x * ${block} + threadIdx.x; i < units; i += step)
    for (int r = 0; r < ranks; r++) {
      const i64 at = (i64)first + 2 * i, next = at + 1;
      const bool two = 2 * i + 1 < some;
      const uint2 v = r == rank ? make_uint2(element(x, bf16, at), two ? element(x, bf16, next) : 0) : received(e, r, i);
      keep(y, bf16, (at / inner * ranks + r) * inner + at % inner, v.x);
      if (two) keep(y, bf16, (next / inner * ranks + r) * inner + next % inner, v.y);
    }
  leave(e);
`,
  });
