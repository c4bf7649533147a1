// Bugs in native sm_90a kernels. Their text runs under g++ on a machine that starts each of them before the kernel before has ended.
import { bug, type Mutant } from "./mutant.ts";

const attention = (only: string): [string, string] => ["test/kernels/native-attention.test.ts", only];
const at = "codegen/cuda/sm90";

export const native: readonly Mutant[] = [
  bug("21 parts: sums do not shrink from the ninth part on", `${at}/attention/mla-decode-combine.ts`, "all = all * less + warp_reduce_sum_ascending(w * stat.y);", "all = all + warp_reduce_sum_ascending(w * stat.y);", attention("mla_decode, 64 heads one sequence in more than sixteen"), "long sequences on 132 multiprocessors are wrong",
    { missed: "no test divided a token into more than eight parts" }),
  bug("22 letters share no maximum", `${at}/attention/mla-decode-cluster.ts`, "s < parts ? ex2_approx(stat[s].x - most) : 0.f", "s < parts ? 1.f : 0.f", attention("fixed splits, 16 heads a cluster one sequence over"), "long sequences are wrong"),
  bug("26 streamed product: rows of x as long as k", `${at}/gemm/register-linear.ts`, "X_STRIDE = ${p.xStride}, Y_STRIDE", "X_STRIDE = ${p.k}, Y_STRIDE", ["test/kernels/register-linear.test.ts"], "rows that are views of wider ones are misread",
    { missed: "every test of it had rows without gaps, and none ran the kernel" }),
  bug("27 norm rows: rows of x as long as d", `${at}/rows/norm-rows.ts`, "`${x} + row * ${p.aStride} + (warp", "`${x} + row * ${d} + (warp", ["test/kernels/norm-rows.test.ts", "backwards: false"], "views are misread"),
  bug("48 experts_down: a token's first expert is left out", `${at}/moe/experts-down.ts`, "for (int j = 0; j < PER; j++) {\n      const u32 from = ring + SUMS", "for (int j = 1; j < PER; j++) {\n      const u32 from = ring + SUMS", ["test/kernels/experts.test.ts", "scales powers of two: false"], "every token lacks an expert"),
  bug("49 prefill: the mask is one key late", `${at}/attention/mla-prefill.ts`, "row - (tiles - 1) * KEYS, lane)", "row + 1 - (tiles - 1) * KEYS, lane)", attention("mla_prefill 5 rows"), "tokens see the next one"),
  bug("50 prefill waits for nothing", `${at}/attention/mla-prefill.ts`, "if (warp == 8 && lane == 0) {\n      await_previous();", "if (warp == 8 && lane == 0) {", attention("mla_prefill 1 rows"), "queries are read before they are written, sometimes",
    { missed: "the host machine started no kernel early, and no test read the text" }),
  bug("51 norm rows: no barrier before the sums", `${at}/rows/norm-rows.ts`, "__syncthreads();\n  float squares = 0.0f;", "float squares = 0.0f;", ["test/kernels/norm-rows.test.ts"], "a race"),
  bug("52 letters: one too few is waited for", `${at}/attention/mla-decode-cluster.ts`, "(min(stages, SPLITS) - (mine > 0)) * OWN * LETTER", "(min(stages, SPLITS) - 1) * OWN * LETTER", attention("fixed splits, 16 heads a cluster one row"), "a race, or a hang"),
  bug("60 decode: scores without log2 e", `${at}/attention/mla-decode.ts`, "SCALE = ${(p.scale * Math.LOG2E).toPrecision(9)}f;", "SCALE = ${p.scale.toPrecision(9)}f;", attention("mla_decode, 64 heads one sequence over"), "attention is too flat"),
  bug("streamed product: rows of y as long as n", `${at}/gemm/register-linear.ts`, "Y_STRIDE = ${p.yStride};", "Y_STRIDE = ${p.n};", ["test/kernels/register-linear.test.ts", "50 x 256"], "results land in other rows"),
  bug("decode in fixed splits waits for nothing", `${at}/attention/mla-decode-cluster.ts`, "release_next();\n  await_previous();", "release_next();", attention("fixed splits, 16 heads a cluster one row"), "queries are read before they are written, sometimes"),
  bug("the router waits for nothing", `${at}/moe/route-rows.ts`, "${routeBias(p)}  await_previous();", "${routeBias(p)}", ["test/kernels/emitted.test.ts", "waits for it somewhere"], "logits are read before they are written, sometimes"),
  bug("argmax: rows of x as long as d", `${at}/rows/argmax.ts`, "x + (i64)row * ${p.xStride};", "x + (i64)row * ${p.d};", ["test/kernels/argmax-rows.test.ts"], "ids of other rows", { missed: "the kernel ran on cards only" }),
  bug("argmax: the later of equal columns", `${at}/rows/argmax.ts`, "(u64)order << 32 | (u32)~column;", "(u64)order << 32 | (u32)column;", ["test/kernels/argmax-rows.test.ts"], "greedy ids are not the first maximum"),
  bug("prefill: values lie as keys do", `${at}/attention/mla-prefill.ts`, `rows("v", "values", v, p.vStrides, "s", PREFILL.keys)`, `rows("v", "values", v, p.k, "s", PREFILL.keys)`, attention("mla_prefill 5 rows"), "values are misread", { missed: "tests had all rows without gaps, and n equal to v" }),
  bug("sorting experts waits for nothing", `${at}/moe/sort-experts.ts`, "release_next();\n  await_previous();", "release_next();", ["test/kernels/sort-experts.test.ts", "backwards: false"], "choices are read before they are written, sometimes"),
  bug("norm rows read x before they wait", `${at}/rows/norm-rows.ts`, "  await_previous();\n\n#pragma unroll\n  for (int t = 0; t < TURNS; t++) ${loadOf(act, \"v[t]\", `${x} + row * ${p.aStride} + (warp + WARPS * t) * 128 + lane * 4`)}",
    "#pragma unroll\n  for (int t = 0; t < TURNS; t++) ${loadOf(act, \"v[t]\", `${x} + row * ${p.aStride} + (warp + WARPS * t) * 128 + lane * 4`)}\n  await_previous();", ["test/kernels/norm-rows.test.ts", "backwards: false"], "x is read before it is written, sometimes"),
  bug("bf16 products of few rows read x too early", `${at}/gemm/bf16-small-m.ts`, "} else if (warp == MATH / 32 + 1 && lane == 0) {\n    await_previous();", "} else if (warp == MATH / 32 + 1 && lane == 0) {", ["test/kernels/native-gemm.test.ts", "bf16_gemm"], "x is read before it is written, sometimes"),
];
