// The first maximum of every row, in one launch: a row's columns go to several blocks, each leaves its best in one 64-bit atomic
// maximum, and the last block of a row writes the answer and clears the place for the next launch. A value and its column make one
// number that orders by value first and, among equals, earlier columns higher, so any order of blocks gives the same answer. NaN and
// infinity order above every number, and their column is said as -1 - column: who reads the answer learns of them at no further cost.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { ceildiv, mul } from "../../../../ir/size.ts";
import { argmaxFamily } from "../../../kernels/rows.ts";
import { native, onlySchedule } from "../../native.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";

const THREADS = 256;
/** Columns a block visits: 16 a thread. */
const COLUMNS = THREADS * 16;

export interface ArgmaxProblem {
  d: number;
  xStride: number;
}

interface ArgmaxSchedule {
  form: "atomic-max";
  threads: number;
  /** Columns a block visits. */
  columns: number;
}

export function argmaxRows(p: ArgmaxProblem, machine: Gpu): KernelText {
  const chunks = Math.ceil(p.d / COLUMNS);
  return cudaKernel({
    name: `argmax_${p.d}`,
    header: [
      `argmax: y [m] i32 = the first column with the maximum of x [m, ${p.d}] f32; -1 - column of the first NaN or infinity`,
      `${chunks} blocks a row; ${floorText(machine, { reads: `${4 * p.d} m bytes` })}`,
    ],
    params: [input("x", "f32"), output("y", "i32")],
    dims: ["m"],
    ...(chunks > 1 ? { workspace: { type: "u64", bytes: mul(16, ceildiv(mul("m", 12), 16)) } } : {}),
    launch: { grid: [mul("m", chunks), 1, 1], block: THREADS, sharedBytes: 0, pdl: true },
    definitions: `constexpr int D = ${p.d}, CHUNKS = ${chunks};\n\n${orders}`,
    body: indented(lines(visit(p), bestOfBlock, chunks === 1 ? "y[row] = answer(best);" : bestOfRow)),
  });
}

const orders = `// Orders as (value, -column): floats compare as integers once negative ones are turned round.
// NaN and infinity come first of all.
__device__ __forceinline__ u64 rank_of(float v, int column) {
  const float sum = __fadd_rn(v, 0.f);  // -0 is 0
  const u32 order = (__float_as_uint(sum) & 0x7f800000u) == 0x7f800000u ? 0xffffffffu : ordered_bits(sum);
  return (u64)order << 32 | (u32)~column;
}
__device__ __forceinline__ u64 better(u64 a, u64 b) { return a > b ? a : b; }
__device__ __forceinline__ int answer(u64 best) { return (u32)(best >> 32) == 0xffffffffu ? (int)(u32)best : (int)~(u32)best; }`;

const oneByOne = "for (int c = column; c < min(column + 4, D); c++) best = better(best, rank_of(from[c], c));";

/** Four columns in one word, where rows lie at whole words. */
const byWords = `if (column + 3 < D) {
  const float4 v = *(const float4*)(from + column);
  best = better(better(better(best, rank_of(v.x, column)), rank_of(v.y, column + 1)),
      better(rank_of(v.z, column + 2), rank_of(v.w, column + 3)));
} else
  ${oneByOne}`;

/** The best of a thread's columns. */
function visit({ xStride }: ArgmaxProblem): string {
  const four = xStride % 4 === 0 ? byWords : oneByOne;
  return `release_next();
const int chunk = blockIdx.x % CHUNKS, row = blockIdx.x / CHUNKS;
const float* from = x + (i64)row * ${xStride};
await_previous();
u64 best = 0;
#pragma unroll
for (int i = 0; i < 4; i++) {
  const int column = chunk * ${COLUMNS} + (i * ${THREADS} + threadIdx.x) * 4;
${indented(four)}
}`;
}

const bestOfBlock = `#pragma unroll
for (int apart = 16; apart > 0; apart /= 2) best = better(best, __shfl_xor_sync(0xffffffffu, best, apart));
__shared__ u64 warps[${THREADS / 32}];
if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = best;
__syncthreads();
if (threadIdx.x != 0) return;
#pragma unroll
for (int i = 1; i < ${THREADS / 32}; i++) best = better(best, warps[i]);`;

const bestOfRow = `// workspace: the best so far of each row, then how many blocks have been here.
u32* arrived = (u32*)(workspace + m);
atomicMax(workspace + row, best);
__threadfence();
if (atomicAdd(arrived + row, 1u) != CHUNKS - 1) return;
y[row] = answer(atomicExch(workspace + row, 0ull));
arrived[row] = 0;`;

export const argmaxNative = native<ArgmaxProblem, ArgmaxSchedule>({
  family: "argmax_rows",
  serves: ["argmax"],
  schedules: onlySchedule(() => ({ form: "atomic-max", threads: THREADS, columns: COLUMNS })),
  match(site) {
    const found = argmaxFamily.match(site);
    if ("reason" in found) return found;
    const [{ problem, args, dims }] = found;
    return { problem, dims, rows: dims[0], args: () => args };
  },
  emit: (p, _, machine) => argmaxRows(p, machine),
});
