// argmax of rows whose columns the ranks divide (pick_max, ir/ops/collective.ts): every rank looks at its own columns, two words for each
// row are exchanged, and every rank then picks alike. The first column wins among equal values; the first value that is NaN or
// infinite is said instead, as -1 - column.
import type { KernelText } from "../../../ir/kernel/catalogue.ts";
import { ceildiv } from "../../../ir/size.ts";
import { cudaKernel, input, output, scalar } from "../text/kernel.ts";

const BLOCK = 256;

export const rankMaxKernel = (): KernelText =>
  cudaKernel({
    name: "dsc_rank_max",
    header: [
      "dsc_rank_max: of every row the largest value of a rank's columns, and its column counted over all ranks, which begin at from.",
      "A value that is no number goes before all others, as -1 - column.",
    ],
    params: [input("x", "f32"), output("best", "i32"), scalar("from", "i32")],
    dims: ["rows", "columns"],
    launch: { grid: ["rows", 1, 1], block: BLOCK, sharedBytes: 0 },
    definitions: `constexpr int BLOCK = ${BLOCK};  // threads
constexpr int NONE = 0x7fffffff;`,
    body: `
  __shared__ float values[BLOCK];
  __shared__ int columns_of[BLOCK], bad_of[BLOCK];
  const float* row = x + (i64)blockIdx.x * columns;
  float best_value = __uint_as_float(0xff800000u);
  int at = NONE, bad = NONE;
  for (int c = threadIdx.x; c < columns; c += BLOCK) {
    const float v = row[c];
    if ((__float_as_uint(v) & 0x7f800000u) == 0x7f800000u) bad = min(bad, c);
    else if (v > best_value || at == NONE) { best_value = v; at = c; }
  }
  values[threadIdx.x] = best_value; columns_of[threadIdx.x] = at; bad_of[threadIdx.x] = bad;
  __syncthreads();
  for (int apart = BLOCK / 2; apart > 0; apart /= 2) {
    if (threadIdx.x < apart) {
      const int other = threadIdx.x + apart;
      const float theirs = values[other], mine = values[threadIdx.x];
      if (theirs > mine || (theirs == mine && columns_of[other] < columns_of[threadIdx.x])) {
        values[threadIdx.x] = theirs; columns_of[threadIdx.x] = columns_of[other];
      }
      bad_of[threadIdx.x] = min(bad_of[threadIdx.x], bad_of[other]);
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    best[2 * blockIdx.x] = (int)__float_as_uint(values[0]);
    best[2 * blockIdx.x + 1] = bad_of[0] == NONE ? from + columns_of[0] : -1 - (from + bad_of[0]);
  }
`,
  });

export const pickMaxKernel = (): KernelText =>
  cudaKernel({
    name: "dsc_pick_max",
    header: [
      "dsc_pick_max: of every row the column of the largest value; best[rank][row] is a value and a column (dsc_rank_max).",
    ],
    params: [input("best", "i32"), output("ids", "i32"), scalar("ranks", "i32")],
    dims: ["rows"],
    launch: { grid: [ceildiv("rows", BLOCK), 1, 1], block: BLOCK, sharedBytes: 0 },
    definitions: "",
    body: `
  const int row = blockIdx.x * ${BLOCK} + threadIdx.x;
  if (row >= rows) return;
  float most = 0;
  int id = 0;
  for (int r = 0; r < ranks; r++) {
    const int* pair = best + 2 * ((i64)r * rows + row);
    const float value = __uint_as_float((u32)pair[0]);
    if (r > 0 && id < 0) break;  // a value that is no number
    if (r == 0 || pair[1] < 0 || value > most) { most = value; id = pair[1]; }
  }
  ids[row] = id;
`,
  });
