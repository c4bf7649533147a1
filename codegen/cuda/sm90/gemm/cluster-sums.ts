// The end of a product whose k is cut over a cluster: every block finishes a share of the tile, for which the others send it their
// sums; they add up in rank order, same bits every run. Sums lie in shared memory, a token a row of PITCH, those of all steps of a
// ring stage one set after another.
import { lines } from "../../text/lines.ts";

/** How sums are read: `width` neighbouring ones at once, of a tile so wide, as text; `wide`: of which eight are 16 bytes of y. */
export interface Sums {
  width: string;
  /** Bytes of so many sums. */
  bytes: string;
  /** Columns of y of a tile. */
  columns: "ROWS" | "COLUMNS";
  /** The function that adds neighbouring sums, and what it is to be said of it. */
  add: string;
  summary: string;
  wide: boolean;
}

/** Whose sums a thread adds up at the end. */
export const addSums = ({ width, add, summary, wide }: Sums): string => {
  const [second, more] = wide
    ? [", b = ld_shared_v4_f32(from + 16)", " v[4] += b.x; v[5] += b.y; v[6] += b.z; v[7] += b.w;"]
    : ["", ""];
  return `
// ${summary}; those of all steps of a stage.
__device__ __forceinline__ void ${add}(float (&v)[${width}], u32 from) {
  const float4 a = ld_shared_v4_f32(from)${second};
  v[0] += a.x; v[1] += a.y; v[2] += a.z; v[3] += a.w;${more}
}
__device__ __forceinline__ void add_own(float (&v)[${width}], u32 from) {
#pragma unroll
  for (int d = 0; d < K_GROUPS; d++) ${add}(v, from + d * (TOKENS * PITCH * 4));
}`;
};

/** Sums of other blocks' shares go to them; each owns a run of chunks. */
const sendShares = ({ width, bytes, columns, wide }: Sums): string =>
  lines(
    `  // Each block finishes a share of the tile. It is sent the others' sums of it, which its barrier counts: no fence, and no block
  // waits for another to leave.
  const int share = (chunks + SPLIT - 1) / SPLIT, first_chunk = rank * share, last_chunk = min(chunks, first_chunk + share);
  cluster_wait();
  if (threadIdx.x == 0) mbarrier_arrive_expect_tx(inbox_full, max(0, last_chunk - first_chunk) * ${bytes} * (SPLIT - 1));
  for (int c = threadIdx.x < MATH ? threadIdx.x : chunks; c < chunks; c += MATH) {
    const int owner = c / share;
    if (owner == rank) continue;
    float v[${width}] = {};
    add_own(v, ring + (c / (${columns} / ${width}) * PITCH + c % (${columns} / ${width}) * ${width}) * 4);
    const u32 to = inbox + (rank - (rank > owner)) * SLOT + (c - owner * share) * ${bytes};
    st_async_v4_f32(to, owner, inbox_full, make_float4(v[0], v[1], v[2], v[3]));`,
    wide && "    st_async_v4_f32(to + 16, owner, inbox_full, make_float4(v[4], v[5], v[6], v[7]));",
    `  }
  mbarrier_wait(inbox_full, 0);`,
  );

/** Sums of one thread over a chunk: the block's own, with those it was sent. */
const gatherShares = ({ width, bytes, add }: Sums): string => `    for (int s = 0; s < SPLIT; s++) {
      // A block's own steps are added up first, as the others' were: who owns a chunk, which follows m, changes no bit.
      float part[${width}] = {};
      if (s == rank) add_own(part, ring + (token * PITCH + column) * 4);
      else ${add}(part, inbox + (s - (s > rank)) * SLOT + (c - first_chunk) * ${bytes});
#pragma unroll
      for (int i = 0; i < ${width}; i++) v[i] += part[i];
    }`;

/** Which chunks a thread finishes, and how it gets their sums. */
const finishing = (s: Sums, cluster: boolean): { send: string | null; chunks: string; gather: string } =>
  cluster
    ? {
        send: sendShares(s),
        chunks: "first_chunk + threadIdx.x : last_chunk; c < last_chunk",
        gather: gatherShares(s),
      }
    : {
        send: null,
        chunks: "threadIdx.x : chunks; c < chunks",
        gather: "    add_own(v, ring + (token * PITCH + column) * 4);",
      };

/** From sums to y: `store` writes v, the sums of a token's neighbouring columns. */
export function finishTile(s: Sums, cluster: boolean, store: string): string {
  const { send, chunks, gather } = finishing(s, cluster);
  return lines(
    `  const int chunks = min(TOKENS, m - token0) * (${s.columns} / ${s.width});`,
    send,
    `  for (int c = threadIdx.x < MATH ? ${chunks}; c += MATH) {
    const int token = c / (${s.columns} / ${s.width}), column = c % (${s.columns} / ${s.width}) * ${s.width};
    if (column0 + column >= N) continue;
    float v[${s.width}] = {};`,
    gather,
    store,
    "  }",
  );
}

/** Eight bf16 columns of y, whose rows are so far apart. */
export const storeEight = (yStride: string): string =>
  `    st_global_v4_u32(y + (long long)(token0 + token) * ${yStride} + column0 + column,
        pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));`;
