// The rest of up to 16 tokens' way through experts of bf16 weights on sm_90a. A block has rows of its own of every expert's matrix and adds
// what a token's experts say, weighted, onto the residual. The choice is known from before the kernel before, so a ring of weights is under
// way while that one ends. Same bits every run.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import { roles } from "../../text/roles.ts";
import type { Choice } from "./choice.ts";
import { sortPairs, unitChoice } from "./unit-choice.ts";
import { blocksOf, unitLayout, unitName, type UnitProblem, type UnitSchedule } from "./unit-schedule.ts";
import {
  fetchWeights,
  multiplyUnits,
  producer,
  unitBarriers,
  unitConstants,
  unitMap,
  unitStruct,
  unitVariables,
} from "./unit-text.ts";

const loose = { restrict: false };

export function unitDown(p: UnitProblem, s: UnitSchedule, machine: Gpu): KernelText {
  const { experts, n, k } = p;
  const choice = unitChoice(p, true);
  const bytes = 2 * n * k;
  return cudaKernel({
    name: `${choice.prefix}experts_down_${experts}x${n}x${k}_bf16_${unitName(s)}`,
    header: [
      `experts_down: y [T, ${n}] bf16 = residual + the sum over a token's ${p.per} experts of weight * x [r, ${k}] bf16 ` +
        `times w [e, ${n}, ${k}]^T bf16; T up to ${s.tokens}`,
      `schedule ${JSON.stringify(s)}`,
      `${floorText(machine, { reads: `${bytes} bytes an expert with rows`, bytes })} each`,
    ],
    params: [
      unitMap(p, s),
      input("x", "bf16", loose),
      ...choice.params,
      input("residual", "bf16", loose),
      output("y", "bf16", loose),
    ],
    dims: ["T"],
    launch: {
      grid: [blocksOf(p, s, machine), 1, 1],
      block: 288,
      sharedBytes: unitLayout(s).bytes,
      pdl: true,
      blocksPerSM: 1,
      early: ["w", ...choice.early],
      chained: choice.chained,
    },
    definitions: lines(unitConstants(p, s), choice.constants, unitStruct, "", sortPairs(s.tokens, true)),
    body: indented(
      lines(
        unitVariables(true),
        ownFirst,
        unitBarriers(),
        fetchWeights,
        "",
        p.shared > 0 && ownShared,
        chooseExperts(choice),
        "const int ahead = min(STAGES, units * STEPS);",
        "",
        roles(
          [
            "producer",
            "warp == MATH / 32",
            lines(
              fetchAhead(p.shared > 0 ? "early" : "0"),
              "await_previous();",
              producer((row) => `x + (i64)${row} * K`),
            ),
          ],
          ["consumer", null, lines("await_previous();", multiplyUnits(addRows, { first: beginSums }))],
        ),
      ),
    ),
  });
}

const chooseExperts = (choice: Choice): string =>
  lines(
    "// Before the wait: the kernel before lets this one start only once it has waited for the choice of experts itself.",
    choice.readEarly,
    choice.steps,
    `const int count = sort_pairs(T, expert_of, visits, starts, runs, count_of, pair_of, weight_of, weight_at);
release_next();`,
    ownRest,
  );

const fetchAhead = (first: string): string => `if (lane == 0)
  for (int i = ${first}; i < ahead; i++) {
    const Unit unit = unit_of(i / STEPS);
    fetch_weights(i, runs[unit.run].expert, unit.tile, i % STEPS, runs[unit.run].end - runs[unit.run].row);
  }`;

/** Sums of a tile begin as the residual, whose rows are on their way while the first weights are waited for. */
const beginSums = `float* const sums = (float*)(raw + (ring - base) + SUMS) + row_warp * 16;
auto begin_tile = [&](int tile) {
  for (int i = lane; i < T * 16; i += 32)
    sums[i / 16 * ROWS + i % 16] = from_bf16(residual[(i64)(i / 16) * N + tile * ROWS + row_warp * 16 + i % 16]);
  __syncwarp();
};
if (k_warp == 0 && units > 0) begin_tile(tile0);`;

/** A token's experts onto its residual, shared ones before the others and those in ascending order; a tile's sums lie with one warp. */
const addRows = `#pragma unroll
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
if ((u + 1) % count == 0) {
  for (int i = lane; i < T * 16; i += 32)
    y[(i64)(i / 16) * N + unit.tile * ROWS + row_warp * 16 + i % 16] = (u16)pack_bf16(sums[i / 16 * ROWS + i % 16], 0.0f);
  __syncwarp();
  if (u + 1 < units) begin_tile(unit.tile + 1);
}`;

const ownFirst = `// Tiles of this block's own, each of all experts.
const int blocks = gridDim.x, block = blockIdx.x, tile0 = block * TILES / blocks, tiles = (block + 1) * TILES / blocks - tile0;`;

const ownShared = `// Shared experts come first, for they are known: a ring of their weights is under way while the block routes.
const int early = min(STAGES, SHARED * STEPS);
if (threadIdx.x == MATH)
  for (int i = 0; i < early; i++) fetch_weights(i, EXPERTS - SHARED + i / STEPS, tile0, i % STEPS, T);`;

const ownRest = `const int units = tiles * count;
auto unit_of = [&](int u) { return Unit{(u % count + count - SHARED) % count, tile0 + u / count}; };`;
