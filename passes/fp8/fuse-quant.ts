// Quantisation at the end of the kernel that makes the row, so that the row is not written and read in between.
import {
  einsum,
  einsumOp,
  einsumQuant,
  fixed,
  gatedQuant,
  normQuant,
  quantize,
  reshape,
  type Func,
  type Node,
} from "../../ir/index.ts";
import { asTensor, type Dim } from "../../ir/types.ts";
import { inEach } from "../contract.ts";
import { fusion } from "../fusion.ts";
import { pass, type Cx } from "../pass.ts";
import { rebuild, usesOf } from "../rewrite.ts";
import { rule } from "../rule.ts";

/** quantize(norm x): only where nothing else reads the normalised row. */
const fuseNormQuant = fusion("quantise while normalising", normQuant, {
  when: (_, cx) => (cx.uses(cx.root.operands[0]) > 1 ? "the normalised row is read elsewhere too (the router)" : null),
});

/** quantize(act(gate) * up). */
const fuseGatedQuant = fusion("quantise while gating", gatedQuant);

/** quantize(einsum(p, W), heads side by side) = einsum_quant(p, W) */
const fuseHeadsQuant = rule("quantise the heads' outputs as they are made", {
  vars: { p: "[t, h, r] a", w: "[h, v, r] w" },
  attrs: { scale: "f32" },
  from({ p, w, scale }) {
    const y = einsum("thr,hvr->thv", p, w);
    const [t, h, v] = asTensor(y.type).dims.map(fixed);
    return quantize({ x: reshape({ x: y, dims: [t, h * v] }), scale });
  },
  to: ({ p, w, scale }) => einsumQuant({ a: p, b: w, spec: "abc,bdc->abd", scale }),
  looks: "quantize(reshape(einsum(p, w))), the reshape laying heads side by side",
});

export const fuseQuant = pass({
  name: "fuse-quant",
  summary: "Quantise activations in the kernel that makes them.",
  rules: [fuseNormQuant, fuseGatedQuant],
  equations: [fuseHeadsQuant],
  run(f: Func, cx: Cx): Func {
    const uses = usesOf(f);
    return rebuild(f, cx.module.graph, ([codes], original) => {
      if (!quantize.made(original) || !reshape.made(original.operands[0].node)) return undefined;
      const [row, heads] = [original.operands[0], original.operands[0].node.operands[0]];
      const at = original.results[0];
      const unlike = headsAsRow(row.node);
      if (unlike) return void cx.unmatched(fuseHeadsQuant.name, unlike, at);
      if (uses.get(row) !== 1 || uses.get(heads) !== 1)
        return void cx.refused(fuseHeadsQuant.name, "the heads' outputs are read elsewhere too", at);
      const v = fixed(asTensor(heads.type).dims.at(-1));
      if (v % 128 !== 0)
        return void cx.declined(
          fuseHeadsQuant.name,
          `a scale serves 128 columns, and those of a head are ${v}: heads would have to wait for each other`,
          at,
        );
      cx.fired(fuseHeadsQuant.name, { at });
      const made = codes.node.operands[0].node.operands[0].node;
      if (!einsumOp.made(made)) return undefined;
      const parts = [original, row.node, heads.node].flatMap((n) => cx.module.graph.originsOf(n));
      return [
        cx.module.graph.from([...parts, { kind: "rule", pass: "fuse-quant", rule: fuseHeadsQuant.name }], () =>
          einsumQuant({ a: made.operands[0], b: made.operands[1], spec: made.attrs.spec, scale: original.attrs.scale }),
        ),
      ];
    });
  },
  // A sum's norm is taken by add-norm; rows are gated in one op only once gate and up are packed.
  expect: ({ bodies, ran, ledger }) => [
    // Absorbed, the last product of attention is one for all sequences once attention is one op.
    ...inEach(bodies, [fuseHeadsQuant.name], (b) =>
      b.quantised && ran.has("fuse-attention") ? ledger.fired(["absorb W_uv into the output"], b.func) : 0,
    ),
    ...inEach(
      bodies,
      [fuseNormQuant.name],
      (b) =>
        b.quantisedNorms +
        (ran.has("add-norm") ? 0 : b.quantisedSums) -
        ledger.fired(["normalise and quantise inside the block GEMM"], b.func),
    ),
    ...inEach(bodies, [fuseGatedQuant.name], (b) =>
      b.quantised && ran.has("pack-gate-up") && ran.has("fp8-block-gemm")
        ? b.gated -
          ledger.fired(["shared expert as a routed one"], b.func) +
          (ran.has("moe-dispatch") && ran.has("quantise-once") ? b.experts : 0)
        : 0,
    ),
  ],
});

/** Why a reshape is not that of an einsum's heads laid side by side; an empty string where it is. */
function headsAsRow(n: Node): string {
  const heads = n.operands[0];
  if (!einsumOp.made(heads.node)) return `there is ${heads.node.op.name} where einsum is looked for`;
  const dims = asTensor(heads.type).dims;
  const [h, v] = dims.slice(-2);
  const folded: Dim[] = typeof h === "number" && typeof v === "number" ? [...dims.slice(0, -2), h * v] : [];
  return JSON.stringify(asTensor(n.results[0].type).dims) === JSON.stringify(folded)
    ? ""
    : "the reshape does not lay the last two axes side by side";
}
