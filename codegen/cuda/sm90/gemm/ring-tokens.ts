// Where the tokens of a ring kernel lie: with every stage of weights, or whole beside the ring (ring-rows.ts).
import { input, tensorMap, type Parameter } from "../../text/kernel.ts";
import { residentRows } from "./ring-rows.ts";
import { ringParts, ringPitch, ringTile, type RingProblem, type RingSchedule } from "./ring-schedule.ts";

/** Where the tokens of a product lie: with every stage of weights, or whole beside the ring. */
export interface TokenRows {
  param: Parameter;
  constants: string;
  /** Names that the first constants have beside N and STAGES. */
  k: string;
  early: string;
  /** Bytes that TMA counts a stage, in rows. */
  stageRows: string;
  stageSummary: string;
  address: string | null;
  /** The producer's: what a stage's weights wait for while the ring fills; tokens of the first stages, and of one. */
  queue: string | null;
  prefetch: string | null;
  load: string | null;
  /** The math warps': before the first stage; of a stage; how a lane gets its tokens. */
  ready: string;
  tile: string;
  read: string;
}

/** A stage brings its columns of x along. */
export function stagedRows(p: RingProblem, s: RingSchedule): TokenRows {
  const row = s.tokens === 8 ? "lane % 8" : `min(lane % 8, ${s.tokens - 1})`;
  return {
    param: tensorMap("x_map", {
      of: "x",
      dtype: "bf16",
      dims: [64, "m", p.k / 64],
      strides: [2 * p.xStride, 128],
      box: [64, s.tokens, s.pieces],
    }),
    constants: `constexpr int X_AT = ${ringTile(s)};            // the tokens' columns in a stage`,
    k: "",
    early: "",
    stageRows: "(ROWS + TOKENS)",
    stageSummary: " and the tokens",
    address: null,
    queue: null,
    prefetch: `    await_previous();
    for (int i = 0; i < ahead; i++) tma_load_3d(ring + i * STAGE + X_AT, &x_map, full + 8 * i, 0, 0, i % STEPS * PIECES);`,
    load: "      tma_load_3d(ring + stage * STAGE + X_AT, &x_map, full + 8 * stage, 0, 0, i % STEPS * PIECES);",
    ready: "  await_previous();  // y may still be in use\n",
    tile: ", x_tile = w_tile + X_AT",
    read:
      s.tokens === 16
        ? "ldmatrix_x4(swizzle_128b(x_tile, piece * TOKENS + lane / 16 * 8 + lane % 8, chunk + lane / 8 % 2), " +
          "x[0][0], x[0][1], x[1][0], x[1][1]);"
        : `ldmatrix_x2(swizzle_128b(x_tile, piece * TOKENS + ${row}, chunk + lane / 8 % 2), x[0][0], x[0][1]);`,
  };
}

/** The block reads x once, normalises or gates it, and keeps it. */
export function wholeRows(p: RingProblem, s: RingSchedule): TokenRows {
  const [row, read] =
    s.tokens === 16
      ? ["lane / 16 * 8 + lane % 8", "ldmatrix_x4(x_lane + (step * PIECES * 4 + q) * 32, x[0][0], x[0][1], x[1][0], x[1][1]);"]
      : ["lane % 8", "ldmatrix_x2(x_lane + (step * PIECES * 4 + q) * 32, x[0][0], x[0][1]);"];
  return {
    param: input("x", "bf16"),
    constants: `constexpr int X_STRIDE = ${p.xStride}, PITCH = ${ringPitch(s)};  // from row to row of x; in shared memory
constexpr int TURNS = (K + 2047) / 2048;       // of 256 threads over a row, 8 columns each`,
    k: `K = ${p.k}, `,
    early: `PREFETCH = ${s.early}, `,
    stageRows: "ROWS",
    stageSummary: "",
    address: `  u16* const x_rows = (u16*)((u8*)parts + ${ringParts(s)});  // [TOKENS][PITCH]`,
    queue: "      if (i >= PREFETCH) mbarrier_wait(full + 8 * (i - PREFETCH), 0);",
    prefetch: null,
    load: null,
    ready: `${residentRows(p, s)}  // Of a lane: where its row of x begins, of those ldmatrix reads; rows past the last repeat it.
  const u32 x_lane = shared_address(x_rows + min(${row}, m - 1) * PITCH + lane / 8 % 2 * 8);
`,
    tile: "",
    read,
  };
}
