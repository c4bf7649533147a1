// Rotation of the lanes of every head by the row's position, pairs side by side: a thread takes four pairs, 16 bytes read and twice 8 bytes
// written in half-split order. The bits are those of the tile program rope.
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { ceildiv, mul } from "../../../../ir/size.ts";
import { refuse } from "../../../family.ts";
import { ropeFamily, type RopeProblem } from "../../../kernels/cache.ts";
import { native, onlySchedule } from "../../native.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { ROTATE_FOUR } from "../attention/mla-query-rows.ts";

const THREADS = 256;

export function ropeRows(p: RopeProblem): KernelText {
  const { heads, d, xStrides } = p;
  const loose = { restrict: false };
  return cudaKernel({
    name: `rope_${heads}x${d}_rows`,
    header: [
      `rope: y [T, ${heads}, ${d}] bf16 = pairs of lanes of x rotated by the row's position, in half-split order`,
      `four pairs a thread; rows of x are ${xStrides[0]} apart, heads ${xStrides[1]}`,
    ],
    params: [
      input("x", "bf16", loose),
      input("table", "f32", loose),
      input("positions", "i32", loose),
      output("y", "bf16", loose),
    ],
    dims: ["T"],
    launch: { grid: [ceildiv(mul("T", (heads * d) / 8), THREADS), 1, 1], block: THREADS, sharedBytes: 0, pdl: true },
    definitions: `constexpr int HEADS = ${heads}, HALF = ${d / 2}, GROUPS = HALF / 4;  // of four pairs of a head`,
    body: `  release_next();
  await_previous();
  const int i = blockIdx.x * ${THREADS} + threadIdx.x, token = i / (HEADS * GROUPS);
  if (token < T) {
    const int head = i / GROUPS % HEADS, pair = i % GROUPS * 4;
    const float* turn = table + (i64)positions[token] * ${d};
    const u16* from = x + (i64)token * ${xStrides[0]} + head * ${xStrides[1]} + 2 * pair;
${ROTATE_FOUR}
    u16* to = y + ((i64)token * HEADS + head) * ${d} + pair;
    store4_bf16(to, left);
    store4_bf16(to + HALF, right);
  }`,
  });
}

/** Why four pairs cannot be read at once, or null. */
function refused({ act, interleaved, d, xStrides }: RopeProblem): string | null {
  if (act !== "bf16") return "activations are f32";
  if (!interleaved) return "pairs are not side by side";
  return d % 8 !== 0 || xStrides.some((s) => s % 8 !== 0) ? "heads do not lie at multiples of eight lanes" : null;
}

interface RopeSchedule {
  form: "four-pairs";
}

export const ropeRowsNative = native<RopeProblem, RopeSchedule>({
  family: "rope_rows",
  serves: ["rope"],
  schedules: onlySchedule(() => ({ form: "four-pairs" })),
  match(site) {
    const found = ropeFamily.match(site);
    if ("reason" in found) return found;
    const [{ problem, args, dims }] = found;
    const reason = refused(problem);
    return reason === null ? { problem, dims, rows: dims[0], args: () => args } : refuse(reason);
  },
  emit: (p) => ropeRows(p),
});
