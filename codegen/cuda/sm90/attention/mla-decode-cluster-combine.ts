// The end of the MLA decode kernel of fixed splits: every block sends each head's part to the mailbox of the block of its cluster that
// adds that head up.
import { when } from "../../../text.ts";
import { indented, lines } from "../../text/lines.ts";

const maxima = `float most[LANE_HEADS] = {};
EACH(c, 4) EACH(n, SUMS) most[own(n)] = fmaxf(most[own(n)], fabsf(acc[c][n]));
EACH(h, LANE_HEADS) most[h] = quads_max(most[h]);
EACH(h, LANE_HEADS) sum[h] = quads_sum(sum[h]);
if (lane < 4) EACH(h, LANE_HEADS) {
  atomicMax(&largest[head_of(h)], __float_as_int(most[h]));
  sums[warp][head_of(h)] = sum[h];
  peaks[warp][head_of(h)] = top[h];
}
__syncthreads();`;

const writePairs = `float by[LANE_HEADS];
EACH(h, LANE_HEADS) by[h] = __int_as_float(largest[head_of(h)]) > 1e-30f ? rcp_approx(__int_as_float(largest[head_of(h)])) : 0.f;
EACH(c, 4) EACH(j, GROUP / 16) {
  const float *v = acc[c] + 8 * j, *f = by + 4 * j;
  const u32 to = outbox + (j * 16 + lane / 16 * 8 + lane % 8) * MAILBOX + (warpgroup * 4 + c) * 128;
  stmatrix_x4_trans(to + (warp_row * 2 + lane / 8 % 2) * 16,
      pack_f16(v[0] * f[0], v[1] * f[1]), pack_f16(v[2] * f[0], v[3] * f[1]),
      pack_f16(v[4] * f[2], v[5] * f[3]), pack_f16(v[6] * f[2], v[7] * f[3]));
}`;

/** Eight heads that are left over where pairs of eight are taken at once. */
const writeLast = `EACH(c, 4) {
  const float *v = acc[c] + GROUP / 16 * 8, *f = by + GROUP / 16 * 4;
  const u32 to = outbox + (GROUP / 16 * 16 + lane % 8) * MAILBOX + (warpgroup * 4 + c) * 128;
  stmatrix_x2_trans(to + (warp_row * 2 + lane / 8 % 2) * 16,
      pack_f16(v[0] * f[0], v[1] * f[1]), pack_f16(v[2] * f[0], v[3] * f[1]));
}`;

const writeStatistics = `if (thread < GROUP) {
  float all = 0.f;
  EACH(w, 8) all += sums[w][thread];
  st_shared_v4_u32(outbox + thread * MAILBOX + 1024,
      make_uint4(__float_as_int(peaks[0][thread]), __float_as_int(all), largest[thread], 0));
}
fence_proxy_async();
__syncthreads();`;

/** A warp a block where there are eight, else two blocks. */
const own = (splits: number): string =>
  splits === 8 ? "if (warp == rank) {" : "#pragma unroll 1\nfor (int to = warp; to < SPLITS; to += 8) if (to == rank) {";

const post = (splits: number): string => `${own(splits)}
  // Its own parts it stores itself. (compute-sanitizer takes a copy to oneself for one outside the cluster.)
  for (int w = lane; w < OWN * MAILBOX / 16; w += 32)
    st_shared_v4_u32(inbox + rank * OWN * MAILBOX + w * 16, ld_shared_v4_u32(outbox + rank * OWN * MAILBOX + w * 16));
} else if (lane == 0) {
  cp_async_bulk_cluster(inbox + rank * OWN * MAILBOX, outbox + ${to(splits)} * OWN * MAILBOX, OWN * MAILBOX, received, ${to(splits)});
}
__syncthreads();`;

const to = (splits: number): string => (splits === 8 ? "warp" : "to");

/** A part a head, to the mailbox of the block that adds it up. */
export const sendParts = (group: number, splits: number): string =>
  lines(
    `// A part a head, to the mailbox of the block that adds it up: warp w sends block w${when(splits > 8, " and block w + 8")} its own.
if (mine > 0) {`,
    indented(lines(maxima, writePairs, ...(group % 16 ? [writeLast] : []), writeStatistics, post(splits))),
    "}",
  );

const addHead = `const auto mailbox_of = [&](int s) { return inbox + (min(s, parts - 1) * OWN + o) * MAILBOX; };
float4 stat[SPLITS];
float most = minus_infinity(), all = 0.f, low = 0.f, high = 0.f;
EACH(s, SPLITS) {
  stat[s] = ld_shared_v4_f32(mailbox_of(s) + 1024);
  most = fmaxf(most, stat[s].x);
}
EACH(s, SPLITS) {
  const float w = s < parts ? ex2_approx(stat[s].x - most) : 0.f, scale = w * stat[s].z;
  const float2 v = unpack_f16(ld_shared_u32(mailbox_of(s) + thread * 4));
  all = fmaf(w, stat[s].y, all);
  low = fmaf(scale, v.x, low);
  high = fmaf(scale, v.y, high);
}
const float by = rcp_approx(all);`;

const writeHead =
  "((u32*)y)[((long long)token * HEADS + head0 + rank * OWN + o) * 256 + thread] = pack_bf16(low * by, high * by);";

/** Adds up the heads of this block; the last group may have more than there are. */
export const addUp = (heads: number, group: number): string =>
  lines(
    `// Adding up, in the order of blocks: two lanes a thread.
mbarrier_wait(received, 0);
cluster_arrive_relaxed();
const int parts = min(stages, SPLITS);
#pragma unroll 1
for (int o = 0; o < OWN; o++) {`,
    indented(lines(addHead, heads % group ? `if (head0 + rank * OWN + o < HEADS) ${writeHead}` : writeHead)),
    "}\ncluster_wait();  // all have their parts: this block's shared memory may go",
  );
