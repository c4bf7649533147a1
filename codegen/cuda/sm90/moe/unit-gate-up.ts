// The first product of up to 64 tokens through experts of bf16 weights on sm_90a: every pair of a token and an expert gets its row,
// silu(gate) * up. Tiles of shared experts come first and do not wait for the router. Each sum is one block's: same bits every run.
import { floorText, type Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import { roles } from "../../text/roles.ts";
import type { Choice } from "./choice.ts";
import { askedBody, MEET } from "./unit-asked.ts";
import { sortPairs, unitChoice } from "./unit-choice.ts";
import { blocksOf, unitLayout, unitName, type UnitProblem, type UnitSchedule } from "./unit-schedule.ts";
import {
  dealtFirst,
  dealtRest,
  fetchWeights,
  multiplyUnits,
  producer,
  unitBarriers,
  unitConstants,
  unitMap,
  unitStruct,
  unitVariables,
} from "./unit-text.ts";

export function unitGateUp(p: UnitProblem, s: UnitSchedule, machine: Gpu): KernelText {
  const { experts, n, k } = p;
  const choice = unitChoice(p, false);
  const loose = { restrict: false };
  const bytes = 4 * n * k;
  return cudaKernel({
    name: `${choice.prefix}experts_gate_up_${experts}x${n}x${k}_bf16_${unitName(s)}`,
    header: [
      `experts_gate_up: y [r, ${n}] bf16 = silu(gate) * up, gate and up = x [T, ${k}] bf16 times`,
      `  w [e, 2, ${n}, ${k}]^T bf16, for the r = ${p.per} T pairs of a token and an expert, sorted by expert;`,
      `  T up to ${s.tokens}`,
      `schedule ${JSON.stringify(s)}`,
      `${floorText(machine, { reads: `${bytes} bytes an expert with rows`, bytes })} each`,
    ],
    params: [
      unitMap(p, s),
      input("x", "bf16", loose),
      ...choice.params,
      output("y", "bf16", loose),
      ...(s.next ? [input("down", "bf16")] : []),
    ],
    dims: ["T"],
    launch: {
      grid: [blocksOf(p, s, machine), 1, 1],
      block: 288,
      sharedBytes: unitLayout(s).bytes,
      pdl: true,
      blocksPerSM: 1,
      early: ["w", ...choice.early, ...(s.next ? ["down"] : [])],
    },
    ...(s.tiles === "asked" ? { workspace: { type: "int", bytes: 4 } } : {}),
    definitions: lines(
      unitConstants(p, s),
      choice.constants,
      unitStruct,
      "",
      sortPairs(s.tokens, false, s.tiles === "asked" ? MEET : undefined),
    ),
    body: indented(s.tiles === "asked" ? askedBody(s, choice, gateRows) : dealtBody(choice)),
  });
}

const dealtBody = (choice: Choice): string =>
  lines(
    unitVariables(false),
    dealtFirst,
    unitBarriers(),
    fetchWeights,
    "",
    fetchShared,
    chooseExperts(choice),
    dealtRest,
    "",
    roles(
      ["producer", "warp == MATH / 32", producer((row) => `x + (i64)(pair_of[${row}] / PER) * K`)],
      ["consumer", null, multiplyUnits(gateRows)],
    ),
  );

const fetchShared = `const int ahead = min(STAGES, first_units * STEPS);
// What every token visits is known before the choice: a ring of its weights is under way while the router still runs.
if (threadIdx.x == MATH)
  for (int i = 0; i < ahead; i++) {
    const int tile = shared0 + i / STEPS;
    fetch_weights(i, EXPERTS - SHARED + tile / TILES, tile % TILES, i % STEPS, T);
  }`;

const chooseExperts = (choice: Choice): string =>
  lines(
    choice.readEarly,
    "await_previous();",
    choice.steps,
    `const int count = sort_pairs(T, expert_of, visits, starts, runs, count_of, pair_of);
// Not earlier: that the next kernel runs then says that the choice of experts is there.
release_next();`,
  );

const gateRows = `// Of a lane: a row of gate in the first two sums, the same of up in the others.
const int row = unit.tile * PART_ROWS + row_warp * 8 + lane / 4;
#pragma unroll
for (int c = 0; c < COLUMNS; c++)
#pragma unroll
  for (int e = 0; e < 2; e++) {
    const int column = c * 8 + lane % 4 * 2 + e;
    if (column < rows)
      y[(i64)(run.row + column) * N + row] = (u16)pack_bf16(
          __fmul_rn(__fdiv_rn(sum[c][e], __fadd_rn(1.0f, expf(-sum[c][e]))), sum[c][2 + e]), 0.0f);
  }`;
