// CUDA text of the first product of a few tokens through experts of bf16 weights, where blocks ask for their last tiles. Tiles of shared
// experts come first, a few stages of them under way at once, so that what the kernels before still read and store need not queue behind;
// then three quarters of the routed experts' tiles, dealt evenly; then tiles are asked for, each while the one before is fetched, since
// blocks that memory serves faster would end a sixth before the last. Rows of x lie in shared memory whole.
import { lines } from "../../text/lines.ts";
import { roles } from "../../text/roles.ts";
import type { Choice } from "./choice.ts";
import { earlyStages, type UnitSchedule } from "./unit-schedule.ts";
import { dealtFirst, fetchWeights, multiplyUnits, unitBarriers, unitVariables } from "./unit-text.ts";

/** A barrier of the warps that multiply, which choose experts too. */
export const MEET = "bar_sync(1, MATH);";

/** `rows`: what becomes of a tile's sums. */
export const askedBody = (s: UnitSchedule, choice: Choice, rows: string): string =>
  lines(
    unitVariables(false),
    `__shared__ int asked[STAGES];  // by the first stage of a tile that this block asked for: which, or -1 when there are no more
const u32 chosen = partial_empty + 8 * ROW_WARPS;`,
    dealtFirst,
    unitBarriers(["mbarrier_init(chosen, 1);"]),
    fetchWeights,
    "__syncthreads();",
    "",
    roles(["producer", "warp == MATH / 32", fetchTiles(s)], ["consumer", null, math(choice, rows)]),
  );

/** Of the routed experts' tiles so many are each block's; declared where the number of experts is known. */
const dealt = `const int routed = (count - SHARED) * TILES, fixed = routed * 3 / 4 / blocks, dealt = first_units + fixed;`;

/** Tile u of this block, of which \`t\` is the routed one. */
const unitOf = `const auto unit_of = [&](int u, int t) {
  return u < first_units ? Unit{count - SHARED + (shared0 + u) / TILES, (shared0 + u) % TILES} : Unit{t / TILES, t % TILES};
};`;

const fetchTiles = (s: UnitSchedule): string => lines(fetchFirst(earlyStages(s)), s.next && sendNext, fetchRest);

/** Down's matrices of shared experts, 4 KB at a time: half of what memory gives, so that others' rows need not queue. */
const part = (of: string): string => `SHARED * matrix / 8 * ${of} / blocks`;
const sendNext = `const i64 matrix = (i64)N * K, next0 = ${part("block")}, next1 = ${part("(block + 1)")};
if (ahead > 0) mbarrier_wait(full + 8 * (ahead - 1), 0);
for (i64 at = next0; at < next1 && !mbarrier_test(chosen, 0); at += 256) {
  prefetch_l2(down + (EXPERTS - SHARED) * matrix + at * 8, (u32)min(next1 - at, (i64)256) * 16);
  stand_ns(150);
}`;

const fetchFirst = (early: number): string => `if (lane != 0) return;
const int ahead = min(STAGES, first_units * STEPS);
for (int i = 0; i < ahead; i++) {
  if (i >= ${early}) mbarrier_wait(full + 8 * (i - ${early}), 0);
  const int tile = shared0 + i / STEPS;
  fetch_weights(i, EXPERTS - SHARED + tile / TILES, tile % TILES, i % STEPS, 0);
}`;

const fetchRest = `mbarrier_wait(chosen, 0);
await_previous();
const int count = *count_of;
${dealt}
${unitOf}
const int open = routed - blocks * fixed;  // tiles to be asked for
int next = atomicAdd(workspace, 1);
for (int u = 0, i = 0;; u++) {
  int t = block * fixed + u - first_units;
  if (u >= dealt) {
    if (i >= STAGES) mbarrier_wait(empty + 8 * (i % STAGES), (i / STAGES - 1) & 1);
    t = next < open ? blocks * fixed + next : -1;
    asked[i % STAGES] = t;
    if (t < 0) {
      mbarrier_arrive(full + 8 * (i % STAGES));
      if (next == open + blocks - 1) *workspace = 0;  // all have asked in vain: for the next launch
      return;
    }
    next = atomicAdd(workspace, 1);
  }
  const Unit unit = unit_of(u, t);
  for (int step = 0; step < STEPS; step++, i++) {
    if (i < ahead) continue;
    if (i >= STAGES) mbarrier_wait(empty + 8 * (i % STAGES), (i / STAGES - 1) & 1);
    fetch_weights(i, runs[unit.run].expert, unit.tile, step, 0);
  }
}`;

const math = (choice: Choice, rows: string): string =>
  lines(
    choice.readEarly,
    `await_previous();
for (int w = threadIdx.x; w < T * (K / 8); w += MATH)
  cp_async_16(ring + XS + w / (K / 8) * PITCH + w % (K / 8) * 16, x + (i64)w * 8);`,
    choice.steps,
    `cp_async_wait_all();
const int count = sort_pairs(T, expert_of, visits, starts, runs, count_of, pair_of);
// Not earlier: that the next kernel runs then says that the choice of experts is there.
release_next();
if (threadIdx.x == 0) {
  *count_of = count;
  mbarrier_arrive(chosen);
}
${dealt}
${unitOf}`,
    multiplyUnits(rows, { asked }),
  );

const asked = `int t = block * fixed + u - first_units;
if (u >= dealt) {
  mbarrier_wait(full + 8 * slot, phase);
  t = asked[slot];
  if (t < 0) break;
}
const Unit unit = unit_of(u, t);`;
