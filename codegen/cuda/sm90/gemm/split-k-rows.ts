// Whose rows of x and w a block of the split-K product has: the tile of its place in the grid, or, of rows sorted by expert, a run that
// it finds on the device, so that the grid does not depend on what the router chose.
import { lines } from "../../text/lines.ts";
import { prefetchWeights, type TwoRings } from "./two-rings.ts";

/** Text of a block's place. */
export interface BlockRows {
  /** Constants and device functions. */
  definitions: string | null;
  /** Axis of the grid along n. */
  columnAxis: "y" | "z";
  /** Of all threads, first of all. */
  place: string;
  /** By the thread that initialised barriers; by a warp, after it; by all, once they have met. */
  prefetch(rings: TwoRings): string | null;
  find: string | null;
  enter: string | null;
  /** First unit of weights that was not prefetched. */
  firstUnit: "ahead" | "0";
  wRow: string;
  /** Row of w's scales. */
  wScaleRow: string;
}

/** Tiles of one matrix. */
export const denseRows: BlockRows = {
  definitions: null,
  columnAxis: "z",
  place: "  const int token0 = blockIdx.y * TOKENS;",
  prefetch: prefetchWeights,
  find: null,
  enter: null,
  firstUnit: "ahead",
  wRow: "column0",
  wScaleRow: "min(column0 / 128, (N - 1) / 128)",
};

/** The run of rows a block works on. */
const findRun = (experts: number): string => `
// The want-th run of at most TOKENS rows that share an expert. A warp scans the offsets, ${Math.ceil(experts / 32)} experts a lane.
struct Run { int expert, row, end; };
__device__ __forceinline__ Run find_run(const int* __restrict__ offsets, int want, int lane) {
  Run mine = {-1, 0, 0};
  int carry = 0;
#pragma unroll
  for (int e = lane; e - lane < EXPERTS; e += 32) {
    const int from = offsets[min(e, EXPERTS)], to = offsets[min(e + 1, EXPERTS)], runs = (to - from + TOKENS - 1) / TOKENS;
    const int sum = warp_running_sum(runs);
    const int nth = want - (carry + sum - runs);
    if (nth >= 0 && nth < runs) mine = {e, from + nth * TOKENS, to};
    carry += __shfl_sync(~0u, sum, 31);
  }
  const u32 found = __ballot_sync(~0u, mine.expert >= 0);
  if (found == 0) return mine;
  const int from = __ffs(found) - 1;
  return {__shfl_sync(~0u, mine.expert, from), __shfl_sync(~0u, mine.row, from), __shfl_sync(~0u, mine.end, from)};
}`;

/** Runs of at most TOKENS rows of one expert. */
export const expertRuns = (experts: number): BlockRows => ({
  definitions: lines(`constexpr int EXPERTS = ${experts};`, findRun(experts)),
  columnAxis: "y",
  place: "  __shared__ Run run;",
  prefetch: () => null,
  find: `  if (warp == MATH / 32) {
    await_previous();  // offsets say which weights
    const Run mine = find_run(offsets, blockIdx.z, lane);
    if (lane == 0) run = mine;
  }`,
  enter: `  if (run.expert < 0) return;  // fewer runs than there could be
  const int token0 = run.row, m = run.end, w_row0 = run.expert * N + column0;`,
  firstUnit: "0",
  wRow: "w_row0",
  wScaleRow: "(long long)(run.expert * (N / 128) + column0 / 128)",
});
