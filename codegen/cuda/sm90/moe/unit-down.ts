// The rest of up to 64 tokens' way through experts of bf16 weights on sm_90a. With few tokens a block has rows of its own of every
// expert's matrix and adds what a token's experts say, weighted, onto the residual; with more of them tiles are dealt, every pair's row is
// written, and another kernel adds them up. The choice is known from before the kernel before, so a ring of weights is under way while that
// one ends. Same bits every run.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { blocksOf, unitLayout, unitName, type UnitProblem, type UnitSchedule } from "./unit-schedule.ts";
import {
  choiceEarly,
  choiceParams,
  choiceSteps,
  dealtFirst,
  dealtRest,
  fetchWeights,
  multiplyUnits,
  producer,
  sortPairs,
  unitBarriers,
  unitConstants,
  unitMap,
  unitStruct,
  unitVariables,
} from "./unit-text.ts";

const stored = `      const int row = unit.tile * ROWS + row_warp * 16 + lane / 4;
#pragma unroll
      for (int c = 0; c < COLUMNS; c++)
#pragma unroll
        for (int v = 0; v < 4; v++) {
          const int column = c * 8 + lane % 4 * 2 + v % 2;
          if (column < rows) y[(i64)pair_of[run.row + column] * N + row + v / 2 * 8] = (u16)pack_bf16(sum[c][v], 0.0f);
        }
`;

/** Sums of a tile begin as the residual, whose rows are on their way while the first weights are waited for. */
const begun = `    float* const sums = (float*)(raw + (ring - base) + SUMS) + row_warp * 16;
    auto begin_tile = [&](int tile) {
      for (int i = lane; i < T * 16; i += 32) sums[i / 16 * ROWS + i % 16] = from_bf16(residual[(i64)(i / 16) * N + tile * ROWS + row_warp * 16 + i % 16]);
      __syncwarp();
    };
    if (k_warp == 0 && units > 0) begin_tile(tile0);
`;

/** A token's experts in ascending order, onto its residual; a tile's sums lie with one warp. */
const added = `#pragma unroll
      for (int c = 0; c < COLUMNS; c++)
#pragma unroll
        for (int v = 0; v < 4; v++) {
          const int column = c * 8 + lane % 4 * 2 + v % 2;
          if (column < rows) {
            float* const to = sums + pair_of[run.row + column] / PER * ROWS + lane / 4 + v / 2 * 8;
            *to = __fadd_rn(*to, __fmul_rn(weight_at[run.row + column], sum[c][v]));
          }
        }
      __syncwarp();
      if (unit.run == count - 1) {
        for (int i = lane; i < T * 16; i += 32) y[(i64)(i / 16) * N + unit.tile * ROWS + row_warp * 16 + i % 16] = (u16)pack_bf16(sums[i / 16 * ROWS + i % 16], 0.0f);
        __syncwarp();
        if (u + 1 < units) begin_tile(unit.tile + 1);
      }
`;

const own = `  // Tiles of this block's own, each of all experts.
  const int blocks = gridDim.x, block = blockIdx.x, tile0 = block * TILES / blocks, units = ((block + 1) * TILES / blocks - tile0) * count;
  auto unit_of = [&](int u) { return Unit{u % count, tile0 + u / count}; };
`;

export function unitDown(p: UnitProblem, s: UnitSchedule, machine: Gpu): KernelText {
  const { experts, n, k } = p;
  const adds = s.tiles === "own";
  const body = `${unitVariables(adds)}${adds ? "" : dealtFirst}${unitBarriers}${fetchWeights}
  // Before the wait: the kernel before lets this one start only once it has waited for the choice of experts itself.
${choiceEarly(p)}${choiceSteps(p, adds)}  const int count = sort_pairs(T, expert_of, visits, starts, runs, count_of, pair_of${adds ? ", weight_of, weight_at" : ""});
  release_next();
${adds ? own : dealtRest}  const int ahead = min(STAGES, units * STEPS);

  if (warp == MATH / 32) {
    if (lane == 0)
      for (int i = 0; i < ahead; i++) {
        const Unit unit = unit_of(i / STEPS);
        fetch_weights(i, runs[unit.run].expert, unit.tile, i % STEPS, runs[unit.run].end - runs[unit.run].row);
      }
    await_previous();
${producer("x + (i64)ROW * K")}  } else {
    await_previous();
${adds ? multiplyUnits(added, begun) : multiplyUnits(stored)}  }`;
  const loose = { restrict: false };
  const bytes = 2 * n * k;
  const says = adds
    ? `y [T, ${n}] bf16 = residual + the sum over a token's ${p.per} experts of weight * x [r, ${k}] bf16 times w [e, ${n}, ${k}]^T bf16`
    : `y [T, ${p.per}, ${n}] bf16 = x [r, ${k}] bf16, sorted by expert, times w [e, ${n}, ${k}]^T bf16`;
  return cudaKernel({
    name: `${p.routing ? "route_" : ""}experts_down_${experts}x${n}x${k}_bf16_${unitName(s)}`,
    header: [
      `experts_down: ${says}; T up to ${s.tokens}`,
      `schedule ${JSON.stringify(s)}`,
      `${floorText(machine, { reads: `${bytes} bytes an expert with rows`, bytes })} each`,
    ],
    params: [
      unitMap(p, s),
      input("x", "bf16", loose),
      ...choiceParams(p, adds),
      ...(adds ? [input("residual", "bf16", loose)] : []),
      output("y", "bf16", loose),
    ],
    dims: ["T"],
    launch: {
      grid: [blocksOf(p, s, machine), 1, 1],
      block: 288,
      sharedBytes: unitLayout(s).bytes,
      pdl: true,
      blocksPerSM: 1,
      early: p.routing?.bias ? ["w", "bias"] : ["w"],
      chained: p.routing ? ["logits"] : adds ? ["indices", "weights"] : ["indices"],
    },
    definitions: `${unitConstants(p, s)}${unitStruct}
${sortPairs(adds)}`,
    body,
  });
}
