// Codes and scales of rows, as they are or gated first, where rows are many: a warp takes several blocks of 128 columns, whose words
// are on their way together. The arithmetic is the tile programs', bit for bit; few rows are theirs.
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { ceildiv, mul } from "../../../../ir/size.ts";
import { refuse, type Refusal } from "../../../family.ts";
import { onlySilu } from "../../../gating.ts";
import { gatedQuantFamily } from "../../../kernels/elementwise.ts";
import { quantizeFamily } from "../../../kernels/rows.ts";
import { when } from "../../../text.ts";
import { native, type NativeMatch, type Schedules } from "../../native.ts";
import { cudaKernel, input, output } from "../../text/kernel.ts";
import { blockScale, storedScale } from "../../text/norm.ts";
import type { Arg, Site } from "../../../../ir/kernel/catalogue.ts";

/** Rows of d columns, or of gate and up of d each, side by side. */
export interface QuantRowsProblem {
  of: "quantize" | "gated_quant";
  d: number;
  xStride: number;
  ue8m0: boolean;
  act: "f32" | "bf16";
}

interface QuantSchedule {
  form: "blocks-per-warp";
  /** Blocks of 128 columns a warp takes, all of one row. */
  blocks: number;
}

const WARPS = 4;
const MOST_BLOCKS = 4;
/** Rows up to which there are warps for a block each. */
const FEW_ROWS = 256;

const manyBlocks = (d: number): number => [MOST_BLOCKS, 2].find((n) => (d / 128) % n === 0) ?? 1;

/** What rows are quantised: names, loads of a block's words, and what is made of them. */
interface Way {
  name: string;
  rows: string;
  load(act: string, at: string, d: number): string;
  gate: string;
}

const WAYS: Readonly<Record<QuantRowsProblem["of"], Way>> = {
  quantize: { name: "quantize", rows: "x", load: (act, at) => `    load4_${act}(v[t], ${at});`, gate: "" },
  gated_quant: {
    name: "silu_mul_quant",
    rows: "silu(gate) * up",
    load: (act, at, d) => `    load4_${act}(v[t], ${at});
    load4_${act}(up[t], ${at} + ${d});`,
    gate: `#pragma unroll
    for (int e = 0; e < 4; e++)
      v[t][e] = __fmul_rn(__fdiv_rn(v[t][e], __fadd_rn(1.0f, expf(-v[t][e]))), up[t][e]);
`,
  },
};

export function quantRows(p: QuantRowsProblem, { blocks }: QuantSchedule): KernelText {
  const { d, xStride, act } = p;
  const loose = { restrict: false };
  const at = `x + (i64)row * ${xStride} + column + t * 128 + lane * 4`;
  const { name, rows, load, gate } = WAYS[p.of];
  return cudaKernel({
    name: `${name}_${d}${when(p.ue8m0, "_ue8m0")}_rows${blocks}`,
    header: [
      `${p.of}: codes [m, ${d}] e4m3 and a scale for every 128 columns of ${rows}, ${act}`,
      `a warp ${blocks} blocks of 128 columns of a row`,
    ],
    params: [input("x", act, loose), output("codes", "e4m3", loose), output("scales", "f32", loose)],
    dims: ["m"],
    launch: {
      grid: [ceildiv(mul("m", d / 128 / blocks), WARPS), 1, 1],
      block: 32 * WARPS,
      sharedBytes: 0,
      pdl: true,
    },
    definitions: `constexpr int D = ${d}, BLOCKS = ${blocks}, CELLS = D / 128 / BLOCKS;  // blocks of a warp; warps of a row`,
    body: `  release_next();
  await_previous();
  const int lane = threadIdx.x % 32, cell = blockIdx.x * ${WARPS} + threadIdx.x / 32, row = cell / CELLS;
  if (row >= m) return;
  const int column = cell % CELLS * BLOCKS * 128;
  float v[BLOCKS][4]${when(gate, ", up[BLOCKS][4]")};
#pragma unroll
  for (int t = 0; t < BLOCKS; t++) {
${load(act, at, d)}
  }
#pragma unroll
  for (int t = 0; t < BLOCKS; t++) {
    float sizes[4], codes_now[4];
${gate}#pragma unroll
    for (int e = 0; e < 4; e++) sizes[e] = fabsf(v[t][e]);
    const float plain = ${blockScale("warp_max<128>(sizes)")}, s = ${storedScale("plain", p.ue8m0)};
#pragma unroll
    for (int e = 0; e < 4; e++) codes_now[e] = __fdiv_rn(v[t][e], s);
    store4_e4m3(codes + (i64)row * D + column + t * 128 + lane * 4, codes_now);
    if (lane == 0) scales[(i64)row * (D / 128) + column / 128 + t] = s;
  }`,
  });
}

/** Why the vector form cannot run, or null. */
const refused = ({ d, xStride }: QuantRowsProblem): string | null =>
  d % 128 !== 0 || xStride % 4 !== 0
    ? `rows of ${d} columns, ${xStride} apart, are no whole blocks of 128 at words of four`
    : null;

const schedules: Schedules<QuantRowsProblem, QuantSchedule> = {
  candidates: ({ d }) => [...new Set([1, manyBlocks(d)])].map((blocks) => ({ form: "blocks-per-warp", blocks })),
  illegal: (p) => refused(p),
  measured: ({ d }, rows) => [{ form: "blocks-per-warp", blocks: rows <= FEW_ROWS ? 1 : manyBlocks(d) }],
  name: (s) => `b${s.blocks}`,
};

function match(site: Site): NativeMatch<QuantRowsProblem, QuantSchedule> | Refusal {
  const taken = (
    d: number,
    q: { xStride: number; ue8m0: boolean; act?: "bf16" },
    args: Arg[],
    dims: NativeMatch<QuantRowsProblem, QuantSchedule>["dims"],
  ) => {
    const problem: QuantRowsProblem = {
      of: site.op as QuantRowsProblem["of"],
      d,
      xStride: q.xStride,
      ue8m0: q.ue8m0,
      act: q.act ?? "f32",
    };
    const reason = refused(problem);
    return reason === null ? { problem, dims, rows: dims[0], args: () => args } : refuse(reason);
  };
  if (site.op === "quantize") {
    const found = quantizeFamily.match(site);
    if ("reason" in found) return found;
    return taken(found[0].problem.d, found[0].problem, found[0].args, found[0].dims);
  }
  const unlike = onlySilu(site.attrs);
  if (unlike) return unlike;
  const found = gatedQuantFamily.match(site);
  if ("reason" in found) return found;
  return taken(found[0].problem.n, found[0].problem, found[0].args, found[0].dims);
}

export const quantRowsNative = native<QuantRowsProblem, QuantSchedule>({
  family: "quant_rows",
  serves: ["quantize", "gated_quant"],
  schedules,
  match,
  emit: (p, s) => quantRows(p, s),
});
