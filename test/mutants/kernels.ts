// Bugs in tile programs, in their WebAssembly, in what passes make of a graph, in number formats.
import { bug, bugs, type Mutant } from "./mutant.ts";

const rows = "codegen/kernels/rows.ts";
const cache = "codegen/kernels/cache.ts";
const elementwise = "codegen/kernels/elementwise.ts";
const expert = "codegen/kernels/expert.ts";
const attention = "codegen/kernels/attention.ts";
const residual = "codegen/kernels/residual.ts";
const math = "codegen/cpu/math.ts";
const op = "ir/ops/expert.ts";
const family = (name: string): [string, string] => ["test/kernels/families.test.ts", `^${name} `];
const whole = (only: string): [string, string] => ["test/run/reference.test.ts", `passes all ${only}`];
const printed: [string, string] = [
  "test/kernels/printers.test.ts",
  "printed CUDA computes what the interpreter does; threads backwards: false",
];

const masked = [expert, "k.set(choice, f.select(keep, choice, OUT));", "k.set(choice, f.select(keep, choice, 0));"] as const;

export const kernels: readonly Mutant[] = [
  bug(
    "01 rope turns the other way",
    cache,
    "f.sub(f.mul(a, cos), f.mul(b, sin))",
    "f.add(f.mul(a, cos), f.mul(b, sin))",
    family("rope"),
    "no position is right",
  ),
  bug(
    "02 routed_scaling_factor is left out of the kernel",
    expert,
    "f.mul(f.div(score, total), p.factor)",
    "f.div(score, total)",
    family("route"),
    "experts weigh too little",
  ),
  bug(
    "07 masked groups are 0 in the kernel",
    ...masked,
    family("route"),
    "a dropped group wins where biased scores are negative",
  ),
  bugs(
    "08 masked groups are 0 in kernel and op",
    [masked, [op, "c[i] = -Infinity;", "c[i] = 0;"]],
    whole("biased scores"),
    "a dropped group wins where biased scores are negative",
    { missed: "kernels are compared with the op, which shared the error" },
  ),
  bug(
    "09 absorbed attention leaves out the newest row",
    attention,
    "f.select(f.le(column, f.index(pos)), raw, MASKED)",
    "f.select(f.lt(column, f.index(pos)), raw, MASKED)",
    family("mla_attend"),
    "a token does not see itself",
  ),
  bug(
    "10 the page of the row after",
    cache,
    `k.scalar("page", pages, [seq, x.div(pos, p.pageRows)])`,
    `k.scalar("page", pages, [seq, x.div(x.add(pos, 1), p.pageRows)])`,
    family("cache_append"),
    "rows land in other sequences",
  ),
  bug(
    "13 block scales are read across",
    "codegen/kernels/dense.ts",
    `at: ["q", x.div("j", 128), x.div(c, 128)]`,
    `at: ["q", x.div(c, 128), x.div("j", 128)]`,
    family("block_linear"),
    "FP8 weights have other scales",
  ),
  bug(
    "15 e4m3 rounds half away, WebAssembly",
    math,
    `ins("i32x4.add", a, ins("i32x4.add", odd, splatI(0x7ffff)))`,
    `ins("i32x4.add", a, splatI(0x80000))`,
    family("quantize"),
    "codes differ from every other implementation's",
  ),
  bug(
    "16 e4m3 rounds half away, reference",
    "ir/numeric.ts",
    "rest > 0.5 || (rest === 0.5 && down % 2 === 1)",
    "rest >= 0.5",
    family("quantize"),
    "the judge is wrong",
  ),
  bug(
    "18 a shared expert weighs the factor",
    expert,
    `k.store(k.fill("one", 1, 1, 1), weights, { at: ["i", p.topk + s] });`,
    `k.store(k.fill("one", 1, 1, p.factor), weights, { at: ["i", p.topk + s] });`,
    family("route"),
    "shared experts weigh 2.5 times what they should",
  ),
  bug(
    "19 argmax: the later of equal blocks",
    rows,
    "f.select(f.lt(best, top),",
    "f.select(f.le(best, top),",
    family("argmax"),
    "greedy ids are not the first maximum",
  ),
  bug(
    "20 argmax: the later within a block",
    "codegen/cpu/reduce.ts",
    `ins(number === "f32" ? "f32.gt" : "i32.gt_s", v, get(best))`,
    `ins(number === "f32" ? "f32.ge" : "i32.ge_s", v, get(best))`,
    family("argmax"),
    "greedy ids are not the first maximum",
  ),
  bug(
    "24 gate and up change places when packed",
    "passes/moe/pack-gate-up.ts",
    "siluMul({ x: linear({ x, w: stack({ a: gate, b: up }), dtype }) })",
    "siluMul({ x: linear({ x, w: stack({ a: up, b: gate }), dtype }) })",
    ["test/rules/rules.test.ts", "^pack gate and up both"],
    "every gated layer is wrong",
  ),
  bug(
    "25 join-latents gives the halves the wrong way round",
    "passes/mla/join-latents.ts",
    "original === partner ? halves.left : halves.right",
    "original === partner ? halves.right : halves.left",
    whole("a mixture in every second"),
    "queries are made of keys",
  ),
  bug(
    "28 ue8m0 scales round down, WebAssembly",
    math,
    'ins("i32x4.add", s, splatI(0x7fffff))',
    'ins("i32x4.add", s, splatI(0))',
    family("quantize"),
    "codes saturate",
  ),
  bug(
    "29 ue8m0: powers of two round up once more, reference",
    "ir/numeric.ts",
    "(u32[0] + 0x7fffff) & 0xff800000",
    "(u32[0] + 0x800000) & 0xff800000",
    family("quantize"),
    "the judge is wrong",
  ),
  bug(
    "33 a result lies over an input of its own step",
    "passes/plan/memory.ts",
    "if (s.freeAt >= i) continue;",
    "if (s.freeAt > i) continue;",
    whole("a mixture in every second"),
    "kernels overwrite what they still read",
  ),
  bugs(
    "45 V3 groups rank by their best, kernel and op",
    [
      [expert, `if (p.method === "noaux_tc" && width > 1) {`, "if (width < 0) {"],
      [op, `return r.method === "noaux_tc" ? best[0] + (best[1] ?? 0) : best[0];`, "return best[0];"],
    ],
    whole("biased scores"),
    "other experts",
  ),
  bugs(
    "46 the bias weighs as well, kernel and op",
    [
      [
        expert,
        `const choice = k.map("choice", bias ? f.add(scores, k.load("b", 1, e, bias, { at: [0], cols: 0 })) : f.add(scores, 0));`,
        `if (bias) k.set(scores, f.add(scores, k.load("b", 1, e, bias, { at: [0], cols: 0 })));\n      const choice = k.map("choice", f.add(scores, 0));`,
      ],
      [op, "let w = chosen.map((i) => scores[i]);", "let w = chosen.map((i) => scores[i] + (bias?.data[i] ?? 0));"],
    ],
    whole("biased scores"),
    "experts have other weights",
  ),
  bug(
    "54 the least amax is 1e-12",
    rows,
    "f.div(f.max(amax, Math.fround(1e-4)), 448)",
    "f.div(f.max(amax, 1e-12), 448)",
    family("quantize"),
    "small rows have other codes",
  ),
  bug(
    "55 printed CUDA: a limit that lets one column more",
    "codegen/cuda/printed/element.ts",
    'masks.push(`${text} < ${this.index(limit!, "+")}`);',
    'masks.push(`${text} <= ${this.index(limit!, "+")}`);',
    printed,
    "rows run into each other",
  ),
  bug(
    "59 combine: weights by sorted row",
    residual,
    `k.load("w", 1, 1, weights, { at: [pair] })`,
    `k.load("w", 1, 1, weights, { at: [at] })`,
    family("combine"),
    "experts have each other's weights",
  ),
  bugs(
    "70 V2 groups rank by the sum of two, kernel and op",
    [
      [expert, `if (p.method === "noaux_tc" && width > 1) {`, "if (width > 1) {"],
      [op, `return r.method === "noaux_tc" ? best[0] + (best[1] ?? 0) : best[0];`, "return best[0] + (best[1] ?? 0);"],
    ],
    whole("V2: groups"),
    "other experts",
  ),
  bugs(
    "71 normalising adds 1e-2, kernel and op",
    [
      [expert, `"sum", "cols"), 1e-20)`, `"sum", "cols"), 1e-2)`],
      [op, "w.reduce((a, b) => a + b, 0) + 1e-20", "w.reduce((a, b) => a + b, 0) + 1e-2"],
    ],
    whole("biased scores"),
    "experts weigh too little",
  ),
  bug(
    "75 printed bf16 is cut",
    "codegen/cuda/ptx/convert.ts",
    "(u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)",
    "(u16)(bits >> 16)",
    printed,
    "bf16 drifts downwards",
  ),
  bug(
    "half-split pairs are read as neighbours",
    cache,
    "(interleaved ? [2, 1] : [1, d / 2])",
    "(interleaved ? [2, 1] : [2, 1])",
    ["test/run/fixtures.test.ts", "a05-v3-halfsplit-tied-bias default"],
    "pairs of lanes are the wrong ones",
    { missed: "tests of the family lay rows out by the kernel's own strides; only a whole model knows better" },
  ),
  bug(
    "the shared key is turned by the next position",
    cache,
    `turn(k, table, "pos", half)`,
    `turn(k, table, x.add("pos", 1), half)`,
    family("rope_append"),
    "positions are off by one between queries and keys",
  ),
  bug(
    "sums do not shrink when the maximum rises",
    attention,
    "f.add(f.mul(r.sum, shrink),",
    "f.add(r.sum,",
    family("attend"),
    "long contexts weigh too little",
  ),
  bug(
    "a norm without its epsilon",
    rows,
    "f.sqrt(f.add(f.div(squares, d), eps))",
    "f.sqrt(f.div(squares, d))",
    family("rms_norm"),
    "rows of zeros become NaN",
  ),
  bug(
    "silu of the negative",
    elementwise,
    "f.div(v, f.add(1, f.exp(f.neg(v))))",
    "f.div(v, f.add(1, f.exp(v)))",
    family("silu_mul"),
    "every gated layer is wrong",
  ),
  bug(
    "combine_add drops the shared expert",
    residual,
    "if (shared) k.set(acc,",
    "if (shared && p.d < 0) k.set(acc,",
    family("combine_add"),
    "every token lacks an expert",
  ),
  bug(
    "scales are amax / 240",
    rows,
    "f.div(f.max(amax, Math.fround(1e-4)), 448)",
    "f.div(f.max(amax, Math.fround(1e-4)), 240)",
    family("quantize"),
    "codes saturate",
  ),
  bug(
    "experts begin where the next one does",
    expert,
    `f.lt(load(), f.index("e"))`,
    `f.le(load(), f.index("e"))`,
    family("sort_experts"),
    "rows meet another expert",
  ),
];
