// The copying warpgroup of the MLA decode kernel: a thread for queries, and one for each part of a stage of cached rows.
import { lines } from "../../text/lines.ts";
import type { ClusterTexts } from "./mla-decode-pair.ts";

/** Its branch of the kernel. */
export const producer = (of: ClusterTexts): string => lines(copyQueries, lookUpRows, of.others, copyStages(of));

const copyQueries = `// Producer: a thread for queries and one for each part of a stage; their registers go to the others.
setmaxnreg_dec<40>();
if (warp == PARTS && lane == 0) {
  // The next token's query comes when the last scores of the one before are there.
  u32 phase = 0;
  await_previous();
  for (int row = begin.x; row < plan.last; row++, phase ^= 1) {
    mbarrier_wait(q_empty, phase ^ 1);
    mbarrier_arrive_expect_tx(q_full, STAGE);
    tma_load_4d(query, &ql_map, q_full, 0, rank * 64, 0, row);
    tma_load_3d(query + 8 * CHUNK, &qp_map, q_full, 0, rank * 64, row);
  }
}`;

const lookUpRows = `// Two stages ahead of the copies, rows are looked up and prefetched into L2: a ring of two is too short to hide that.
// Each part is fetched by one block of the cluster, for all. A stage that may hold rows of this step is odd: it comes after they do.
const bool works = warp < PARTS && lane == 0;
int row = begin.x, b = begin.y, turn_ahead = warp;
Piece p = row < plan.last ? piece_of(row) : Piece{0, 0, 0};
const int* page = pages + (long long)(row < plan.last ? sequence[row] : 0) * P;
const auto look_up = [&]() {
  if (row >= plan.last) return -1;
  const int at = (page[b / PAGE] * PAGE + b % PAGE) * KEYS, fresh = (b + 1) * KEYS > p.length - T;
  if (turn_ahead++ % CLUSTER == rank) tma_prefetch_3d(&cache_map, 0, at, warp * (CHUNKS / PARTS));
  if (++b == p.to && ++row < plan.last) {
    p = piece_of(row);
    b = 0;
    page = pages + (long long)sequence[row] * P;
  }
  return at + fresh;
};
int now = works ? look_up() : -1, next = works ? look_up() : -1;`;

const copyStages = ({ load }: ClusterTexts): string => `for (int i = 0; now >= 0; i++) {
  const int stage = i % STAGES;
  const u32 to = ring + stage * STAGE + warp * (STAGE / PARTS), barrier = full + 8 * (stage * PARTS + warp);
  if (now & 1) await_previous();
  mbarrier_wait(empty + 8 * stage, i / STAGES & 1 ^ 1);
  mbarrier_arrive_expect_tx(barrier, STAGE / PARTS);
  if ((warp + i) % CLUSTER == rank)
    ${load("to, &cache_map, barrier, 0, now & ~1, warp * (CHUNKS / PARTS)")};
  now = next;
  next = look_up();
}`;
