// Norms of rows, with a residual sum before and a quantisation after: a block per row keeps it in registers between its two looks,
// 4 columns a load. The gain is a weight and is read before the kernel before has ended. Sums follow the tile programs' fixed tree
// (columns 64 apart first, then 32, ... 1) and join by blocks of 128 in order, so codes and scales are the CPU's bit for bit.
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { when } from "../../../text.ts";
import { refuse, type Family as TileFamily } from "../../../family.ts";
import { addNormBothFamily, addNormFamily, addNormQuantFamily, type AddNormProblem } from "../../../kernels/residual.ts";
import { normQuantFamily, rmsNormFamily, type NormProblem } from "../../../kernels/rows.ts";
import { native, type Schedules } from "../../native.ts";
import { cudaKernel, input, output, type Parameter } from "../../text/kernel.ts";
import { indented, lines } from "../../text/lines.ts";
import { part } from "../../text/marks.ts";
import { blockScale, inverseRms, rowSquares, storedScale } from "../../text/norm.ts";

/** What a kernel reads and writes, by the tile family that says the same. */
const FAMILIES = {
  rms_norm: { sum: false, row: true, quantised: false },
  norm_quant: { sum: false, row: false, quantised: true },
  add_norm: { sum: true, row: true, quantised: false },
  add_norm_quant: { sum: true, row: false, quantised: true },
  add_norm_both: { sum: true, row: true, quantised: true },
} as const;
export type NormFamily = keyof typeof FAMILIES;

export interface NormRowsProblem {
  of: NormFamily;
  d: number;
  /** Strides of x (or a), of b, and of the normalised row. */
  aStride: number;
  bStride: number;
  yStride: number;
  eps: number;
  gain: "f32" | "bf16";
  act: "f32" | "bf16";
  ue8m0: boolean;
}

/** Warps of a block: as many of at most 16 as take the same number of 128-column blocks. */
const normWarps = (d: number): number => {
  const blocks = d / 128;
  return Array.from({ length: Math.min(16, blocks) }, (_, i) => Math.min(16, blocks) - i).find((n) => blocks % n === 0)!;
};

/** Blocks of 128 columns that a warp takes where rows are many. */
const MOST_TURNS = 4;

/**
 * Warps of a block where rows are many: fewer with more to do each, so that a multiprocessor has more rows on their way than the
 * barrier of one holds up.
 */
const manyWarps = (d: number): number => {
  const [blocks, few] = [d / 128, normWarps(d)];
  return Array.from({ length: few }, (_, i) => i + 1).find((n) => blocks % n === 0 && blocks / n <= MOST_TURNS) ?? few;
};

/** The kernel of a form: what it reads and writes, and on the way normalises, quantises or both. */
export function normRows(p: NormRowsProblem, warps = normWarps(p.d)): KernelText {
  const { sum, row, quantised } = FAMILIES[p.of];
  const { d, act } = p;
  const turns = d / 128 / warps;
  const params = operands(p);
  const of = p.of === "rms_norm" ? (_: string, text: string): string => text : part;
  const does = [
    `rows of ${d} ${act}`,
    sum && "sum = a + b",
    row && "y = normalised",
    quantised && "codes and scales of the normalised row",
  ];
  const sizes = [(sum || quantised) && `D = ${d}`, `BLOCKS = ${d / 128}`, `WARPS = ${warps}`, `TURNS = ${turns}`];
  return cudaKernel({
    name: `${p.of}_${d}_rows${when(warps !== normWarps(d), `_w${warps}`)}`,
    header: [
      `${p.of}: ${does.filter(Boolean).join(", ")}`,
      `${warps} warps a row, ${turns} blocks of 128 columns each; a row stays in registers`,
      ...params.flatMap(({ record }) => (record.kind === "buffer" ? [operandText(record)] : [])),
    ],
    params,
    dims: ["m"],
    launch: { grid: ["m", 1, 1], block: 32 * warps, sharedBytes: 0, pdl: true, early: ["gain"] },
    definitions: `constexpr int ${sizes.filter(Boolean).join(", ")};`,
    body: indented(
      lines(
        readEarly(p),
        "await_previous();",
        "",
        readRow(p),
        sum && of("add", addOther(p)),
        of("rms_norm", squaresOfRow(p)),
        "",
        TURN,
        indented(lines(of("rms_norm", lines(normalise, row && storeRow(p))), quantised && of("quantize", quantise(p)))),
        "}",
      ),
    ),
  });
}

const loose = { restrict: false };

function operands(p: NormRowsProblem): Parameter[] {
  const { sum, row, quantised } = FAMILIES[p.of];
  return [
    ...(sum ? [input("a", p.act, loose), input("b", p.act, loose)] : [input("x", p.act, loose)]),
    input("gain", p.gain, loose),
    ...(sum ? [output("sum", p.act, loose)] : []),
    ...(row ? [output("y", p.act, loose)] : []),
    ...(quantised ? [output("codes", "e4m3", loose), output("scales", "f32", loose)] : []),
  ];
}

function operandText({ access, name, dtype }: { access: string; name: string; dtype: string }): string {
  const written = access === "out" ? "out " : "";
  return `  ${written}${name}: ${dtype}`;
}

/** Blocks of a warp, one after another, and where a lane is in one. */
const TURN = "#pragma unroll\nfor (int t = 0; t < TURNS; t++) {";
const AT = "(warp + WARPS * t) * 128 + lane * 4";

const readEarly = ({ gain }: NormRowsProblem): string => `const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
const i64 row = blockIdx.x;
release_next();
float gains[TURNS][4], v[TURNS][4];
#pragma unroll
for (int t = 0; t < TURNS; t++) load4_${gain}(gains[t], gain + ${AT});`;

function readRow({ of, act, aStride }: NormRowsProblem): string {
  const x = FAMILIES[of].sum ? "a" : "x";
  return `#pragma unroll
for (int t = 0; t < TURNS; t++) load4_${act}(v[t], ${x} + row * ${aStride} + ${AT});`;
}

/** A number as a buffer of the activations' dtype holds it. */
const asStored = { bf16: (v: string) => `from_bf16(to_bf16(${v}))`, f32: (v: string) => v } as const;

const addOther = ({ act, bStride }: NormRowsProblem): string => `// The sum goes on as it is stored, rounded.
float other[TURNS][4];
#pragma unroll
for (int t = 0; t < TURNS; t++) load4_${act}(other[t], b + row * ${bStride} + ${AT});
${TURN}
#pragma unroll
  for (int i = 0; i < 4; i++) v[t][i] = ${asStored[act]("__fadd_rn(v[t][i], other[t][i])")};
  store4_${act}(sum + row * D + ${AT}, v[t]);
}`;

const squaresOfRow = ({ d, eps }: NormRowsProblem): string => rowSquares("TURNS", "warp + WARPS * t", "i", inverseRms(d, eps));

const normalise = `const int block = warp + WARPS * t;
float n[4];
#pragma unroll
for (int i = 0; i < 4; i++) n[i] = __fmul_rn(__fmul_rn(v[t][i], by), gains[t][i]);`;

const storeRow = ({ act, yStride }: NormRowsProblem): string =>
  `store4_${act}(y + row * ${yStride} + block * 128 + lane * 4, n);`;

const quantise = ({ ue8m0 }: NormRowsProblem): string => `// One scale for the block's 128 columns.
float sizes[4], codes_now[4];
#pragma unroll
for (int i = 0; i < 4; i++) sizes[i] = fabsf(n[i]);
const float plain = ${blockScale("warp_max<128>(sizes)")}, s = ${storedScale("plain", ue8m0)};
#pragma unroll
for (int i = 0; i < 4; i++) codes_now[i] = __fdiv_rn(n[i], s);
store4_e4m3(codes + row * D + block * 128 + lane * 4, codes_now);
if (lane == 0) scales[row * BLOCKS + block] = s;`;

/** Why the vector form cannot run, or null. */
function refused(p: NormRowsProblem): string | null {
  if (p.d % 128 !== 0 || p.d / 128 > 256) return `${p.d} columns are not whole blocks of 128`;
  if ([p.aStride, p.bStride, p.yStride].some((s) => s % 4 !== 0)) return "rows do not start at multiples of four elements";
  return null;
}

/** The tile program's problem in this form: of a row alone, or of the sum of two. */
export function normRowsProblem(of: NormFamily, p: NormProblem | AddNormProblem): NormRowsProblem {
  const strides = "xStride" in p ? { aStride: p.xStride, bStride: 0 } : { aStride: p.aStride, bStride: p.bStride };
  return {
    of,
    d: p.d,
    ...strides,
    yStride: of === "rms_norm" && "yStride" in p ? p.yStride : p.d,
    eps: p.eps,
    gain: p.gain,
    act: p.act ?? "f32",
    ue8m0: p.ue8m0 === true,
  };
}

const tiles: Readonly<Record<string, TileFamily<NormProblem, NormFamily> | TileFamily<AddNormProblem, NormFamily>>> = {
  rms_norm: rmsNormFamily,
  norm_quant: normQuantFamily,
  add_norm: addNormFamily,
  add_norm_quant: addNormQuantFamily,
  add_norm_both: addNormBothFamily,
};

interface NormSchedule {
  form: "block-per-row";
  warps: number;
}

/** Rows up to which a block's warps have as little to do as there are warps for. */
const FEW_ROWS = 256;

const schedules: Schedules<NormRowsProblem, NormSchedule> = {
  candidates(p) {
    const reason = refused(p);
    if (reason !== null) return refuse(reason);
    return [...new Set([normWarps(p.d), manyWarps(p.d)])].map((warps) => ({ form: "block-per-row", warps }));
  },
  illegal: () => null,
  measured: (p, rows) => [{ form: "block-per-row", warps: rows <= FEW_ROWS ? normWarps(p.d) : manyWarps(p.d) }],
  name: (s) => `${s.form}${s.warps}`,
};

export const normRowsNative = native<NormRowsProblem, NormSchedule>({
  family: "norm_rows",
  serves: Object.keys(tiles),
  schedules,
  match(site) {
    const family = tiles[site.op];
    const found = family.match(site);
    if ("reason" in found) return found;
    const [{ problem, args, dims }] = found;
    return { problem: normRowsProblem(family.name, problem), dims, rows: dims[0], args: () => args };
  },
  emit: (p, s) => normRows(p, s.warps),
});
