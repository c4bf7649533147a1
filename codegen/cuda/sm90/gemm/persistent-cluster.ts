// What the blocks of a cluster share in the persistent FP8 products.

/** What blocks of a cluster do together: two that take neighbouring columns read their rows of x once for both. */
export interface Cluster {
  blocks: 1 | 2;
  rank: string | null;
  stride: string;
  /** Arrivals by which a stage is free: one of each of so many math warps, of all blocks. */
  arrivals(warps: number): string;
  columnTiles: string;
  sync: string | null;
  column: string;
  loadX: string;
  handBack: string;
  /** After the producer, and at the end. */
  producerEnd: string | null;
  end: string | null;
}

/** A block by itself. */
export const alone: Cluster = {
  blocks: 1,
  rank: null,
  stride: "  const int first_tile = blockIdx.x, stride = gridDim.x;",
  arrivals: (warps) => `${warps});  // one arrival a math warp`,
  columnTiles: "",
  sync: null,
  column: "const int column = at.column;",
  loadX: "tma_load_2d(to, &x_map, barrier, p * 128, at.row);",
  handBack: "if (lane == 0) mbarrier_arrive(empty + 8 * stage);",
  producerEnd: null,
  end: null,
};

/** Two blocks. */
export const pair: Cluster = {
  blocks: 2,
  rank: "  const int rank = cluster_rank();",
  stride: "  const int first_tile = blockIdx.x / 2, stride = gridDim.x / 2;",
  arrivals: (warps) => `${2 * warps});  // one arrival a math warp, of both blocks`,
  columnTiles: "  // columns of tiles, two to a pair of blocks",
  sync: "  cluster_sync();  // the other block's copies name these barriers",
  column: "const int column = at.column * 2 + rank;",
  loadX:
    "tma_load_2d_multicast(to + rank * (X_BYTES / 2), &x_map, barrier, p * 128, at.row + rank * (ROWS / 2), 3);  // half, to both",
  handBack: "if (lane < 2) mbarrier_arrive_cluster(empty + 8 * stage, lane);",
  producerEnd: "    __syncwarp();",
  end: "  __syncwarp();\n  cluster_sync_relaxed();  // neither leaves while the other may still write to it",
};
