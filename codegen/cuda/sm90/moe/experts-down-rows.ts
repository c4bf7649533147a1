// The quantising warps of experts_down: they read gated rows, several on their way at any time, and make what the product reads.
import { indented, lines } from "../../text/lines.ts";
import { blockScale, storedScale } from "../../text/norm.ts";
import type { Choice } from "./choice.ts";

/** Their branch of the kernel. */
export const quantiser = (ue8m0: boolean, choice: Choice): string =>
  lines(
    readAhead,
    `int visit = 0;
for (int i0 = 0; i0 < rows; i0 += IN_FLIGHT)
#pragma unroll
  for (int f = 0; f < IN_FLIGHT; f++) {`,
    indented(lines(awaitPlace, quantiseRow(ue8m0), nextRow), 2),
    "  }",
    "// What the end needs, while others multiply.",
    choice.readWeights?.("MATH", "QUANTISE"),
    "for (int c = threadIdx.x - MATH; c < T * SLICE; c += QUANTISE) onto[c] = from_bf16(x[(i64)(c / SLICE) * N + row0 + c % SLICE]);",
  );

const readAhead = `const int worker = warp - MATH / 32;
await_previous();
// Rows in their order, quantised by blocks of 128 columns: a warp a block, four columns a lane. While weights stream a load takes 2 us,
// so some rows are on their way at any time.
const int rows = T * PER;
float next[IN_FLIGHT][TURNS][4];
auto read = [&](float (&to)[TURNS][4], int i) {
#pragma unroll
  for (int t = 0; t < TURNS; t++) load4_f32(to[t], acts + (i64)i * K + (worker + t * WORKERS) * 128 + lane * 4);
};
#pragma unroll
for (int f = 0; f < IN_FLIGHT; f++)
  if (f < rows) read(next[f], f);`;

const awaitPlace = `const int i = i0 + f;
if (i >= rows) continue;
const u32 slot = visit % AHEAD, x_tile = ring + X + slot * X_BYTES, x_scales = ring + X_SCALES + slot * X_SCALE_BYTES;
const int token = i - runs[visit].row;  // a column of the product
if (token == 0 && visit >= AHEAD) mbarrier_wait(x_empty + 8 * slot, (visit / AHEAD - 1) & 1);`;

const quantiseRow = (ue8m0: boolean): string => `#pragma unroll
for (int t = 0; t < TURNS; t++) {
  const int block = worker + t * WORKERS;
  float sizes[4];
#pragma unroll
  for (int e = 0; e < 4; e++) sizes[e] = fabsf(next[f][t][e]);
  const float plain = ${blockScale("warp_max<128>(sizes)")}, scale = ${storedScale("plain", ue8m0)};
  u32 word = 0;
#pragma unroll
  for (int e = 0; e < 4; e++) word |= (u32)to_e4m3(__fdiv_rn(next[f][t][e], scale)) << 8 * e;
  st_shared_u32(x_tile + (block * 8 + lane / 4) * PITCH + token * 16 + lane % 4 * 4, word);
  if (lane == 0) st_shared_f32(x_scales + (block * X_PITCH + token) * 4, scale);
}`;

const nextRow = `if (i + IN_FLIGHT < rows) read(next[f], i + IN_FLIGHT);
if (i + 1 < runs[visit].end) continue;
// The expert's last row.
fence_proxy_async();
__syncwarp();
if (lane == 0) mbarrier_arrive(x_full + 8 * slot);
visit++;`;
