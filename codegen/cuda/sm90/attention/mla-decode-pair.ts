// Where the MLA decode kernel for 64 heads, a block of its own, and for 128, a cluster of two blocks that copy for each other, differ.
import type { Launch } from "../../../../ir/kernel/catalogue.ts";

/** Texts of a kernel whose clusters have so many blocks; absent where it has nothing to say. */
export interface ClusterTexts {
  launch: Pick<Launch, "cluster">;
  /** This block's place in its cluster. */
  rank: string;
  /** Barriers are initialised. */
  started?: string;
  /** Those of the other blocks are, too. */
  others?: string;
  /** A copy that arrives in all blocks. */
  load(place: string): string;
  /** A warp has read a stage that came to all blocks: the first lanes say so. */
  release: string;
  /** Nothing reaches this block any more. */
  end?: string;
}

export const alone: ClusterTexts = {
  launch: {},
  rank: "0",
  load: (place) => `tma_load_3d(${place})`,
  release: "mbarrier_arrive(empty + 8 * stage)",
};

export const inPair: ClusterTexts = {
  launch: { cluster: [2, 1, 1] },
  rank: "cluster_rank()",
  started: "cluster_arrive_relaxed();  // the others' barriers: no copy may reach a block before they are there",
  others: "cluster_wait();",
  load: (place) => `tma_load_3d_multicast(${place}, (1 << CLUSTER) - 1)`,
  release: "mbarrier_arrive_cluster(empty + 8 * stage, lane)",
  end: "cluster_arrive_relaxed();  // the other block may still copy into this one, and arrive at its barriers\ncluster_wait();",
};
