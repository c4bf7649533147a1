// What a token's experts say, weighted, onto its residual: the end of their way where the products of different experts lie with
// different blocks. A block has 1024 columns of a token; experts are added in ascending order.
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { emitter, onlySchedule } from "../../native.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";

interface ExpertsSumProblem {
  n: number;
  per: number;
}

const THREADS = 128;

export function expertsSum({ n, per }: ExpertsSumProblem): KernelText {
  const loose = { restrict: false };
  return cudaKernel({
    name: `experts_sum_${n}_top${per}`,
    header: [
      `experts_sum: y [T, ${n}] bf16 = residual + the sum over a token's ${per} experts of weight * rows [T, ${per}, ${n}] bf16`,
    ],
    params: [
      input("rows", "bf16", loose),
      input("weights", "f32", loose),
      input("residual", "bf16", loose),
      output("y", "bf16", loose),
    ],
    dims: ["T"],
    launch: { grid: ["T", Math.ceil(n / (8 * THREADS)), 1], block: THREADS, sharedBytes: 0, pdl: true },
    definitions: `constexpr int N = ${n}, PER = ${per};`,
    body: `  const int token = blockIdx.x, column = (blockIdx.y * ${THREADS} + threadIdx.x) * 8;
  release_next();
  await_previous();
  if (column >= N) return;
  const uint4 onto = *(const uint4*)(residual + (i64)token * N + column);
  uint4 said[PER];
  float by[PER];
#pragma unroll
  for (int j = 0; j < PER; j++) {
    said[j] = *(const uint4*)(rows + ((i64)token * PER + j) * N + column);
    by[j] = weights[token * PER + j];
  }
  float sum[8];
  widen_bf16(onto, sum);
#pragma unroll
  for (int j = 0; j < PER; j++) {
    float v[8];
    widen_bf16(said[j], v);
#pragma unroll
    for (int i = 0; i < 8; i++) sum[i] = __fadd_rn(sum[i], __fmul_rn(by[j], v[i]));
  }
  *(uint4*)(y + (i64)token * N + column) = narrow_bf16(sum);`,
  });
}

export const expertsSumEmitter = emitter<ExpertsSumProblem, { form: string }>({
  family: "experts_sum",
  schedules: onlySchedule(({ n }: ExpertsSumProblem) =>
    n % 8 === 0 ? { form: "block-per-token" } : `${n} columns are no whole words of 16 bytes`,
  ),
  emit: (p) => expertsSum(p),
});
