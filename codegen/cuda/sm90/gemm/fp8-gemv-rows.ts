// Where the codes of the rows of a gemv come from, whole in shared memory before the first product: codes and scales as they lie in
// memory, or bf16 rows that every block normalises and quantises for itself.
import { input, type Parameter } from "../../text/kernel.ts";
import { part } from "../../text/marks.ts";
import { blockScale, inverseRms, storedScale } from "../../text/norm.ts";
import type { GemvRowsProblem } from "./fp8-gemv-schedule.ts";

/** Codes and scales as they are in memory: 16 columns of a row are a piece. */
const copyRows = `    await_previous();
    for (int e = threadIdx.x; e < count * 8 * m; e += MATH) {
      const int r = e / (count * 8), piece = e % (count * 8);
      cp_async_16(x_codes + (piece * MAX_ROWS + r) * 16, x + (long long)r * K + first * 128 + piece * 16);
    }
    for (int e = threadIdx.x; e < count * m; e += MATH)
      cp_async_4(x_scales + (e % count * 8 + e / count) * 4, x_scale + e / count * STEPS + first + e % count);`;

/** Rows to codes, with the sums and the rounding of the kernel that norms alone (rows/norm-rows.ts): the same bits. */
const normRows = (norm: NonNullable<GemvRowsProblem["norm"]>, k: number): string => `    float gains[TURNS][4];
#pragma unroll
    for (int t = 0; t < TURNS; t++) load4_${norm.gain}(gains[t], gain + min(warp + MATH / 32 * t, STEPS - 1) * 128 + lane * 4);
    await_previous();
    __shared__ float parts[MAX_ROWS][STEPS];
    for (int r = 0; r < m; r++) {
      // Every block needs the squares of all columns, and the codes of those it multiplies.
      float v[TURNS][4];
#pragma unroll
      for (int t = 0; t < TURNS; t++)
        load4_bf16(v[t], x + (i64)r * ${norm.xStride} + min(warp + MATH / 32 * t, STEPS - 1) * 128 + lane * 4);
${squaresOfBlocks}
      bar_sync(1, MATH);
      float squares = 0.0f;
#pragma unroll
      for (int b = 0; b < STEPS; b++) squares = __fadd_rn(squares, parts[r][b]);
      const float by = ${inverseRms(k, norm.eps)};
${codesOfBlocks(norm.ue8m0)}
    }`;

/** A warp's blocks of 128 columns. */
const squaresOfBlocks = `#pragma unroll
      for (int t = 0; t < TURNS; t++) {
        float squares[4];
#pragma unroll
        for (int i = 0; i < 4; i++) squares[i] = __fmul_rn(v[t][i], v[t][i]);
        const float part = warp_tree_sum_wide<128>(squares);
        if (lane == 0 && warp + MATH / 32 * t < STEPS) parts[r][warp + MATH / 32 * t] = part;
      }`;

/** Those of its blocks that this thread block multiplies. */
const codesOfBlocks = (ue8m0: boolean): string => `#pragma unroll
      for (int t = 0; t < TURNS; t++) {
        const int p = warp + MATH / 32 * t - first;
        if (p < 0 || p >= count) continue;
        float now[4], sizes[4];
#pragma unroll
        for (int i = 0; i < 4; i++) { now[i] = __fmul_rn(__fmul_rn(v[t][i], by), gains[t][i]); sizes[i] = fabsf(now[i]); }
        const float plain = ${blockScale("warp_max<128>(sizes)")}, scale = ${storedScale("plain", ue8m0)};
#pragma unroll
        for (int i = 0; i < 4; i++) now[i] = __fdiv_rn(now[i], scale);
        store4_e4m3(raw + (x_codes - shared_address(raw)) + ((p * 8 + lane / 4) * MAX_ROWS + r) * 16 + lane % 4 * 4, now);
        if (lane == 0) st_shared_f32(x_scales + (p * 8 + r) * 4, scale);
      }`;

/** What the rows of a product are: as name and header have it, its parameters, and what they are read from early. */
interface GemvRows {
  suffix: string;
  text: string;
  params: Parameter[];
  early: string[];
  /** Codes and scales of all rows into shared memory. */
  load: string;
}

export const rowsOf = ({ norm, k }: GemvRowsProblem): GemvRows =>
  norm
    ? {
        suffix: "_norm",
        text: `quantize(rms_norm(x)) [m, ${k}]`,
        params: [input("x", "bf16"), input("gain", norm.gain)],
        early: ["w", "w_scale", "gain"],
        load: part("norm_quant", normRows(norm, k)),
      }
    : {
        suffix: "",
        text: `x [m, ${k}] e4m3/1x128`,
        params: [input("x", "e4m3"), input("x_scale", "f32")],
        early: ["w", "w_scale"],
        load: copyRows,
      };
