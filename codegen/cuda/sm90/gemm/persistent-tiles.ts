// The tile scheduler of the persistent FP8 products: which tiles of y a block takes, in what order, and which steps of k of each. One
// matrix; a matrix an expert; one matrix whose last wave is cut along k (stream-K).
import { when } from "../../../text.ts";
import { lines } from "../../text/lines.ts";

/** Whose rows and columns a tile has, as text; `column` counts tiles of 128 columns. */
export interface TileScheduler {
  /** Constants and device functions. */
  definitions: string;
  /**
   * By all threads, once barriers are initialised: the number of tiles, and when the next kernel may start. `clusterSync`: of blocks
   * that name each other's barriers.
   */
  start(clusterSync: string | null): string;
  /** Whether the tiles of a block are a stride apart. */
  strided: boolean;
  /** Head of the loop over the tiles of a block. */
  loop: string;
  /** Finds a tile's place, `at`. */
  locate: string;
  /** Holds for a block's first tile. */
  isFirst: string;
  /** Steps of k of a tile: from, to, how many; the one of a stage i of the first ring, the first that is not in it. */
  steps: { begin: string; end: string; count: string; prefetched: string; afterPrefetched: string };
  /** First row of w of the matrix that a tile is of, in front of its columns. */
  wRow: string;
  /** Row of w's scales of a tile. */
  wScaleRow: string;
}

const WHOLE_K: TileScheduler["steps"] = {
  begin: "0",
  end: "PADDED_STEPS",
  count: "PADDED_STEPS",
  prefetched: "i",
  afterPrefetched: "fetched",
};

const EACH_TILE = "for (int tile = first_tile; tile < tiles; tile += stride) {";

const LOCATE_DENSE = `
// Tiles run down GROUP row tiles before the next column: one wave reuses a few rows of x and a few of w from L2.
struct Tile { int row, end, column; };
__device__ __forceinline__ Tile locate(int tile, int row_tiles, int m) {
  const int first = tile / (GROUP * COLUMN_TILES) * GROUP, height = min(GROUP, row_tiles - first), within = tile % (GROUP * COLUMN_TILES);
  return {(first + within % height) * ROWS, m, within / height};
}`;

const BLOCK_SYNC = "  __syncthreads();";

const startDense = (clusterSync: string | null): string =>
  lines(
    clusterSync ?? BLOCK_SYNC,
    `  release_next();
  const int row_tiles = (m + ROWS - 1) / ROWS, tiles = row_tiles * COLUMN_TILES;`,
  );

/** Tiles of one matrix. */
export const denseTiles: TileScheduler = {
  definitions: LOCATE_DENSE,
  start: startDense,
  strided: true,
  loop: EACH_TILE,
  locate: "const Tile at = locate(tile, row_tiles, m);",
  isFirst: "tile == first_tile",
  steps: WHOLE_K,
  wRow: "",
  wScaleRow: "column",
};

/** The same for two blocks that take neighbouring columns: the last of an odd number has scales of none. */
export const densePairTiles: TileScheduler = { ...denseTiles, wScaleRow: "min(column, (N - 1) / 128)" };

/** Turns of a block: whole tiles, then a part of one. */
const FIND_TURN = `// The turn-th piece of work of this block: a whole tile, or at last the steps begin .. end of one that blocks share.
__device__ __forceinline__ void find_turn(int turn, int whole, int parts, int& tile, int& begin, int& end) {
  const bool shared = turn == whole;
  tile = turn * gridDim.x + (shared ? blockIdx.x / parts : blockIdx.x);
  const int part = shared ? blockIdx.x % parts : 0, of = shared ? parts : 1;
  begin = part * PROMOTIONS / of * PROMOTION;
  end = (part + 1) * PROMOTIONS / of * PROMOTION;
}`;

/** Tiles of one matrix, those of the last wave shared by blocks that it would leave idle. */
export const streamKTiles: TileScheduler = {
  ...denseTiles,
  definitions: lines("constexpr int PROMOTIONS = PADDED_STEPS / PROMOTION;", LOCATE_DENSE, FIND_TURN),
  strided: false,
  start: (clusterSync) =>
    lines(
      startDense(clusterSync),
      `  // What the last wave leaves over goes to as many blocks as there are for each tile.
  const int blocks = gridDim.x, whole = tiles / blocks, left = tiles % blocks, parts = left ? min(blocks / left, PROMOTIONS) : 1;
  const int turns = whole + ((int)blockIdx.x < left * parts);`,
    ),
  loop: "for (int turn = 0, tile, begin, end; turn < turns; turn++) {\n      find_turn(turn, whole, parts, tile, begin, end);",
  isFirst: "turn == 0",
  steps: {
    begin: "begin",
    end: "end",
    count: "end - begin",
    prefetched: "(begin + i)",
    afterPrefetched: "begin + fetched",
  },
};

/** Tiles before each expert, of which a lane counts so many, and the tile of a number. */
export const locateTiles = (
  expertsOfLane?: number,
): string => `// Row tiles before each expert, by one warp${when(expertsOfLane, `, ${expertsOfLane} experts a lane`)}.
__device__ __forceinline__ void count_tiles(const int* __restrict__ offsets, int* before, int lane) {
  int carry = 0;
#pragma unroll
  for (int e = lane; e - lane <= EXPERTS; e += 32) {
    const int tiles = (offsets[min(e + 1, EXPERTS)] - offsets[min(e, EXPERTS)] + ROWS - 1) / ROWS;
    const int sum = warp_running_sum(tiles);
    if (e <= EXPERTS) before[e] = carry + sum - tiles;
    carry += __shfl_sync(~0u, sum, 31);
  }
}

// Tiles run expert by expert, and within one down GROUP row tiles before the next column. A role's tiles only grow, so the
// search for the expert goes on where it was.
struct Tile { int row, end, column; };
__device__ __forceinline__ Tile locate(int tile, const int* before, const int* __restrict__ offsets, int& expert) {
  while (tile >= before[expert + 1] * COLUMN_TILES) expert++;
  const int start = offsets[expert], row_tiles = before[expert + 1] - before[expert], at = tile - before[expert] * COLUMN_TILES;
  const int first = at / (GROUP * COLUMN_TILES) * GROUP, height = min(GROUP, row_tiles - first), within = at % (GROUP * COLUMN_TILES);
  return {start + (first + within % height) * ROWS, offsets[expert + 1], within / height};
}`;

/** Tiles of a matrix an expert: those of one follow those of the experts before it. */
export const groupedTiles = (experts: number): TileScheduler => ({
  definitions: lines(`constexpr int EXPERTS = ${experts};`, "", locateTiles(Math.ceil(experts / 32))),
  strided: true,
  start: (clusterSync) =>
    lines(
      `  __shared__ int before[EXPERTS + 1];
  if (warp == 0) {
    await_previous();  // the router may just have written them
    count_tiles(offsets, before, lane);
  }`,
      clusterSync,
      BLOCK_SYNC,
      `  release_next();
  const int tiles = before[EXPERTS] * COLUMN_TILES;
  int expert = 0;`,
    ),
  loop: EACH_TILE,
  locate: "const Tile at = locate(tile, before, offsets, expert);",
  isFirst: "tile == first_tile",
  steps: WHOLE_K,
  wRow: "expert * N + ",
  wScaleRow: "(expert * (N / 128) + column)",
});
