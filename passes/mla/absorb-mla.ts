// MLA absorption: attend over the compressed latents instead of expanded heads. Two equations, moved by associativity;
// README.md has the algebra and the break-even.
import { costOfFunc } from "../../ir/cost.ts";
import { asTensor, dequantize, einsum, mapSequences, quantize, type Func } from "../../ir/index.ts";
import { attr } from "../../ir/attr.ts";
import { assumed, difference } from "../delta.ts";
import { pass, type Cx } from "../pass.ts";
import { printAssume } from "../pipeline.ts";
import { rewrite } from "../rewrite.ts";
import { rule } from "../rule.ts";
import { expandHeads } from "./expand.ts";

/** q · (W c) = (Wᵀ q) · c: score the latents, never expand the cached keys. */
const absorbKeys = rule("absorb W_uk into the query", {
  vars: { q: "[t, h, n] a", c: "[s, r] a", wUk: "[h, n, r] w" },
  from: ({ q, c, wUk }) => einsum("thn,shn->ths", q, einsum("sr,hnr->shn", c, wUk)),
  to: ({ q, c, wUk }) => einsum("thr,sr->ths", einsum("thn,hnr->thr", q, wUk), c),
});

/** P (C Wᵀ) = (P C) Wᵀ: mix the latents, then expand one row per head. */
const absorbValues = rule("absorb W_uv into the output", {
  vars: { p: "[t, h, s] a", c: "[s, r] a", wUv: "[h, v, r] w" },
  from: ({ p, c, wUv }) => einsum("ths,shv->thv", p, einsum("sr,hvr->shv", c, wUv)),
  to: ({ p, c, wUv }) => einsum("thr,hvr->thv", einsum("ths,sr->thr", p, c), wUv),
});

/** Absorbed, the latents meet no FP8 matrix: kv_b is dequantised and its input is not quantised (SEMANTICS 3). */
const exactLatents = rule("read the latents unquantised", {
  vars: { c: "[s, r] a", w: "[h, n, r] w" },
  attrs: { scale: "f32", dtype: "f32" },
  from: ({ c, w, scale, dtype }) => einsum("sr,hnr->shn", dequantize({ x: quantize({ x: c, scale }), dtype }), w),
  to: ({ c, w }) => einsum("sr,hnr->shn", c, w),
  when: ({ c, dtype }) =>
    asTensor(c.type).dtype === dtype
      ? null
      : `the latents are ${asTensor(c.type).dtype}, what is made of their codes ${String(dtype)}`,
  // Without the quantisation both sides are the same product.
  changes: { why: "ckv is no longer quantised before kv_b", within: 0 },
});

const rules = [exactLatents, absorbKeys, absorbValues];

export const absorbMla = pass({
  name: "absorb-mla",
  summary: "Attend over the compressed cache instead of expanded heads, where that costs fewer FLOPs.",
  equations: rules,
  options: { attention: attr.word(["auto", "expanded", "absorbed"], "auto") },
  run(f: Func, cx: Cx): Func {
    const graph = cx.module.graph;
    const { func: expanded, count } = expandHeads(f, graph);
    if (count === 0) return f;
    const out = rewrite(expanded, graph, rules, "absorb-mla");
    for (const x of out.missed) if ("unmatched" in x.why) cx.unmatched(x.rule.name, x.why.unmatched, x.at);
    if (!out.fired(absorbKeys) || !out.fired(absorbValues)) return f;
    const delta = difference(costOfFunc(out.func, assumed(f)), costOfFunc(f, assumed(f)));
    const forced = cx.options.attention;
    if (forced === "expanded" || (forced !== "absorbed" && delta.flops >= 0)) {
      const why =
        forced === "expanded"
          ? "--attention expanded"
          : `absorbing would cost ${(delta.flops / 1e9).toFixed(1)} GFLOP more at ${printAssume(f)}`;
      for (const x of out.firings) cx.declined(x.rule.name, why, x.at);
      return f;
    }
    for (const x of out.firings) cx.fired(x.rule.name, { at: x.at, changes: x.rule.changes?.why, delta: x.delta });
    return out.func;
  },
  promises: [absorbKeys, absorbValues].map((r) => ({ rules: [r.name], before: (b) => b.all(mapSequences).length })),
});
