// Rows in the order of their experts, copied as words of 16 bytes whatever they hold, with their scales: a warp a row, all of a row's
// words on their way before the first is stored.
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { ceildiv } from "../../../../ir/size.ts";
import { refuse } from "../../../family.ts";
import { gatherRowsFamily, type GatherProblem } from "../../../kernels/move.ts";
import { when } from "../../../text.ts";
import { native, onlySchedule } from "../../native.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { lines } from "../../text/lines.ts";

const WARPS = 4;
/** Words of a lane at most: registers. */
const MOST_WORDS = 16;

const bytesOf = { f32: 4, bf16: 2, e4m3: 1 } as const;
/** Words of a row, and from a row of x to the next. */
const wordsOf = ({ d, x, xStride }: GatherProblem): { row: number; stride: number } => ({
  row: (d * bytesOf[x]) / 16,
  stride: (xStride * bytesOf[x]) / 16,
});

export function gatherRows(p: GatherProblem): KernelText {
  const { row, stride } = wordsOf(p);
  const scaled = p.x === "e4m3";
  const blocks = Math.ceil(p.d / 128);
  const loose = { restrict: false };
  return cudaKernel({
    name: `gather_rows_${p.d}_${p.x}_words`,
    header: [
      `gather_rows: y [r, ${p.d}] ${p.x}: row i is that of token order[i] / ${p.per}${when(scaled, "; scales too")}`,
      `a warp a row of ${row} words of 16 bytes`,
    ],
    params: [
      input("x", p.x, loose),
      ...(scaled ? [input("x_scale", "f32", loose)] : []),
      input("order", "i32", loose),
      output("y", p.x, loose),
      ...(scaled ? [output("y_scale", "f32", loose)] : []),
    ],
    dims: ["T", "r"],
    launch: { grid: [ceildiv("r", WARPS), 1, 1], block: 32 * WARPS, sharedBytes: 0, pdl: true },
    definitions: `constexpr int WORDS = ${row}, TURNS = ${Math.ceil(row / 32)};  // of a row, and of a lane`,
    body: lines(
      `  release_next();
  await_previous();
  const int lane = threadIdx.x % 32, i = blockIdx.x * ${WARPS} + threadIdx.x / 32;
  if (i >= r) return;
  const int token = order[i] / ${p.per};
  const uint4* from = (const uint4*)x + (i64)token * ${stride};
  uint4* to = (uint4*)y + (i64)i * WORDS;
  uint4 v[TURNS];
#pragma unroll
  for (int t = 0; t < TURNS; t++)
    if (lane + 32 * t < WORDS) v[t] = from[lane + 32 * t];
#pragma unroll
  for (int t = 0; t < TURNS; t++)
    if (lane + 32 * t < WORDS) to[lane + 32 * t] = v[t];`,
      scaled &&
        `  for (int c = lane; c < ${blocks}; c += 32) y_scale[(i64)i * ${blocks} + c] = x_scale[(i64)token * ${blocks} + c];`,
    ),
  });
}

/** Why rows cannot be copied by words, or null. */
function refused(p: GatherProblem): string | null {
  const { row, stride } = wordsOf(p);
  if (!Number.isInteger(row) || !Number.isInteger(stride)) return `rows of ${p.d} ${p.x} are no whole words of 16 bytes`;
  return row > 32 * MOST_WORDS ? `rows of ${row} words do not fit a warp's registers` : null;
}

export const gatherRowsNative = native<GatherProblem, { form: "warp-per-row" }>({
  family: "gather_rows_words",
  serves: ["gather_rows"],
  schedules: onlySchedule((p: GatherProblem) => refused(p) ?? { form: "warp-per-row" as const }),
  match(site) {
    const found = gatherRowsFamily.match(site);
    if ("reason" in found) return found;
    const [{ problem, args, dims }] = found;
    const reason = refused(problem);
    return reason === null ? { problem, dims, rows: dims[1], args: () => args } : refuse(reason);
  },
  emit: (p) => gatherRows(p),
});
