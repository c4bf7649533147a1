// Where the sums of eight tokens by a unit's columns go: rows of y, or codes with scales.
import { blockScale, storedScale } from "../../text/norm.ts";
import { lines } from "../../text/lines.ts";
import type { BmmProblem, BmmSchedule } from "./bmm-schedule.ts";

const storeRows = (p: BmmProblem): string => {
  const value = p.yType === "f32" ? "sum[t][i]" : "(u16)pack_bf16(sum[t][i], 0.f)";
  return `    // Sums of a lane: columns group and group + 8 of a tile, tokens 2 quarter and + 1.
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int to = token0 + quarter * 2 + i % 2;
        if (to < last) y[(i64)to * ${p.y[1]} + z * ${p.y[0]} + column0 + t * 16 + group + i / 2 * 8] = ${value};
      }`;
};

/** Eight columns side by side. */
const storeEight = (p: BmmProblem): string =>
  p.yType === "f32"
    ? `      float4* at = (float4*)(y + (i64)to * ${p.y[1]} + z * ${p.y[0]} + column0 + group * 8);
      at[0] = make_float4(sum[0][i], sum[0][i + 2], sum[1][i], sum[1][i + 2]);
      at[1] = make_float4(sum[2][i], sum[2][i + 2], sum[3][i], sum[3][i + 2]);`
    : `      *(uint4*)(y + (i64)to * ${p.y[1]} + z * ${p.y[0]} + column0 + group * 8) =
          make_uint4(pack_bf16(sum[0][i], sum[0][i + 2]), pack_bf16(sum[1][i], sum[1][i + 2]),
              pack_bf16(sum[2][i], sum[2][i + 2]), pack_bf16(sum[3][i], sum[3][i + 2]));`;

const storeColumns = (p: BmmProblem): string => `    // A lane has eight columns side by side of tokens 2 quarter and + 1.
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int to = token0 + quarter * 2 + i;
      if (to >= last) continue;
${storeEight(p)}
    }`;

/** A sum as y would hold it. */
const ROUNDED = "        sum[t][i] = __uint_as_float(pack_bf16(sum[t][i], 0.f) << 16);";

// Rounded as y would be, then as quantize does it: s = max(largest, 1e-4) / 448. Every other turn of tokens has its own places, so one
// barrier a turn is enough.
const storeCodes = (
  p: BmmProblem,
): string => `    // One scale for a token's 128 columns: the largest of a lane's, of the eight lanes that share its tokens, of all warps.
    __shared__ float largest[2][WARPS][8];
    const int turn = token0 / 8 % 2;
    float most[2] = {};
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
${lines(p.yType === "bf16" && ROUNDED, "        most[i % 2] = larger(most[i % 2], fabsf(sum[t][i]));")}
      }
#pragma unroll
    for (int apart = 4; apart < 32; apart *= 2)
#pragma unroll
      for (int i = 0; i < 2; i++) most[i] = larger(most[i], __shfl_xor_sync(0xffffffffu, most[i], apart));
    if (group < 2) largest[turn][threadIdx.x / 32][quarter * 2 + group] = group == 0 ? most[0] : most[1];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 2; i++) {
#pragma unroll
      for (int w = 0; w < WARPS; w++) most[i] = larger(most[i], largest[turn][w][quarter * 2 + i]);
      const int to = token0 + quarter * 2 + i;
      if (to >= last) continue;
      const float plain = ${blockScale("most[i]")}, s = ${storedScale("plain", p.scale === "ue8m0")};
      const int column = z * ${p.n} + column0;
#pragma unroll
      for (int t = 0; t < TILES; t++)
#pragma unroll
        for (int v = i; v < 4; v += 2)
          codes[(i64)to * ${p.batch * p.n} + column + t * 16 + group + v / 2 * 8] = to_e4m3(__fdiv_rn(sum[t][v], s));
      if (column % 128 == 0 && group == 0) scales[(i64)to * ${(p.batch * p.n) / 128} + column / 128] = s;
    }`;

/** A turn of eight tokens, those before `last`. */
export const storeOf = (p: BmmProblem, s: BmmSchedule): string =>
  p.scale ? storeCodes(p) : s.form === "nt" ? storeRows(p) : storeColumns(p);
