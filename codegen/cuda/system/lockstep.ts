// What ranks do together where all of them are on one device: they have run up to here one after another, and one kernel reads what
// each of them holds and writes what each of them gets. Sums are added in rank order in f32, so that all ranks have the same bits.
import type { KernelText } from "../../../ir/kernel/catalogue.ts";
import { ceildiv, mul, type Size } from "../../../ir/size.ts";
import { RANK_APART, RANK_FORMS } from "../../../ir/system.ts";
import { cudaKernel, input, output, scalar } from "../text/kernel.ts";

const BLOCK = 256;

const definitions = `constexpr int BLOCK = ${BLOCK};    // threads
constexpr i64 APART = ${RANK_APART};  // bytes that x_apart and y_apart count

// What a rank has where the first one has p.
__device__ __forceinline__ const float* held(const float* p, int apart, int rank) {
  return (const float*)((const u8*)p + APART * apart * rank);
}
__device__ __forceinline__ float* held(float* p, int apart, int rank) {
  return (float*)((u8*)p + APART * apart * rank);
}`;

const sum = `
// Element i of what the ranks hold, added in their order.
__device__ __forceinline__ float sum_of(const float* x, int apart, int ranks, int bf16, i64 i) {
  float total = 0;
  for (int r = 0; r < ranks; r++) {
    const float* from = held(x, apart, r);
    const float v = bf16 ? from_bf16(((const u16*)from)[i]) : from[i];
    total = r == 0 ? v : __fadd_rn(total, v);
  }
  return total;
}

__device__ __forceinline__ void keep(float* y, int bf16, i64 i, float v) {
  if (bf16) ((u16*)y)[i] = to_bf16(v);
  else y[i] = v;
}`;

const params = [
  input("x", "f32", { restrict: false }),
  output("y", "f32", { restrict: false }),
  ...["ranks", "x_apart", "y_apart", "form"].map((name) => scalar(name, "i32")),
];
const named = RANK_FORMS.map((f, i) => `${i} ${f}`).join(", ");
const forms = `form: ${named}. Rank r has its x where that of rank 0 is and r times x_apart further.`;
const launch = (elements: Size): KernelText["launch"] => ({
  grid: [ceildiv(elements, BLOCK), 1, 1],
  block: BLOCK,
  sharedBytes: 0,
});

export const allReduceKernel = (): KernelText =>
  cudaKernel({
    name: "dsc_all_reduce",
    header: ["dsc_all_reduce: of ranks in lockstep: the sum of what they hold, to each of them.", forms],
    params,
    dims: ["count"],
    launch: launch("count"),
    definitions: definitions + sum,
    body: `
  const i64 i = (i64)blockIdx.x * BLOCK + threadIdx.x;
  if (i >= count) return;
  const float total = sum_of(x, x_apart, ranks, form == 1, i);
  for (int r = 0; r < ranks; r++) keep(held(y, y_apart, r), form == 1, i, total);
`,
  });

export const allGatherKernel = (): KernelText =>
  cudaKernel({
    name: "dsc_all_gather",
    header: ["dsc_all_gather: of ranks in lockstep: their runs of inner elements side by side, to each of them.", forms],
    params,
    dims: ["outer", "inner"],
    launch: launch(mul("outer", "inner")),
    definitions,
    body: `
  const i64 i = (i64)blockIdx.x * BLOCK + threadIdx.x;
  if (i >= (i64)outer * inner) return;
  const i64 run = i / inner, at = i % inner;
  for (int from = 0; from < ranks; from++) {
    const float* theirs = held(x, x_apart, from);
    const i64 to = (run * ranks + from) * inner + at;
    for (int r = 0; r < ranks; r++) {
      float* mine = held(y, y_apart, r);
      if (form == 1) ((u16*)mine)[to] = ((const u16*)theirs)[i];
      else ((u32*)mine)[to] = ((const u32*)theirs)[i];
    }
  }
`,
  });

export const reduceScatterKernel = (): KernelText =>
  cudaKernel({
    name: "dsc_reduce_scatter",
    header: [
      "dsc_reduce_scatter: of ranks in lockstep: to each its runs of the sum, of outer runs of inner elements for each.",
      forms,
    ],
    params,
    dims: ["outer", "inner"],
    launch: launch(mul("outer", "inner")),
    definitions: definitions + sum,
    body: `
  const i64 i = (i64)blockIdx.x * BLOCK + threadIdx.x;
  if (i >= (i64)outer * inner) return;
  const i64 run = i / inner, at = i % inner;
  for (int r = 0; r < ranks; r++)
    keep(held(y, y_apart, r), form == 1, i, sum_of(x, x_apart, ranks, form == 1, (run * ranks + r) * inner + at));
`,
  });
