// Products of few rows take their neighbours in: the norm or the gate that makes their rows, the residual sum that takes their result.
// Each of them is a launch that moves next to nothing, between launches that read weights at full bandwidth. Runs before add-norm,
// which joins a sum and a norm where no product can have them.
import { gatedLinearAdd, isWeight, linearAdd, normLinear, sizeOf, type Assume, type Value } from "../../ir/index.ts";
import { asTensor } from "../../ir/types.ts";
import { inEach } from "../contract.ts";
import { fusion } from "../fusion.ts";
import { pass } from "../pass.ts";
import type { MatchContext } from "../rule.ts";

/** Rows at which a function's cost is judged, up to which reading the weights is all of a product's time. */
export const FEW = 16;

/** Why a product keeps its neighbours apart, or null: more rows are better normed once than by every block of a product. */
export function tooMany(x: Value, assume: Assume): string | null {
  const rows = sizeOf(asTensor(x.type).dims[0], assume);
  return rows > FEW
    ? `${rows} rows at the sizes assumed: a product of more than ${FEW} does other work than reading weights`
    : null;
}

function kept(x: Value, w: Value, inner: Value, cx: MatchContext): string | null {
  if (asTensor(x.type).dtype !== "bf16" || asTensor(w.type).dtype !== "bf16") return "only products of bf16 have such a kernel";
  if (!isWeight(w)) return "the matrix is no stored weight";
  if (cx.uses(inner) > 1) return `what ${inner.node.op.name} gives is read elsewhere too`;
  return tooMany(x, cx.assume);
}

/** residual + (x Wᵀ) */
const addInside = fusion("add the residual inside the product", linearAdd, {
  when: ({ x, w }, cx) => kept(x, w, cx.root.operands[1], cx),
});

/** residual + (gated_pair(x) Wᵀ) */
const gateInside = fusion("gate inside the product", gatedLinearAdd, {
  when: ({ x, w }, cx) => kept(x, w, cx.root.operands[0], cx),
});

/** rms_norm(x) Wᵀ */
const normInside = fusion("normalise inside the product", normLinear, {
  when: ({ x, w }, cx) => kept(x, w, cx.root.operands[0], cx),
});

export const fuseLinear = pass({
  name: "fuse-linear",
  summary: "Norm, gate and residual sum inside the products of few rows, in place of launches of their own.",
  rules: [addInside, gateInside, normInside],
  expect({ bodies, ran }) {
    const few = bodies.filter((b) => b.act === "bf16" && b.rows <= FEW && b.scaled === 0);
    return [
      ...inEach(few, [addInside.name], (b) => b.residuals),
      ...inEach(few, [gateInside.name], (b) => (ran.has("pack-gate-up") && b.experts === 0 && b.residuals > 0 ? b.gated : 0)),
      // Norms that several matrices read are read by one product once these are joined.
      ...inEach(few, [normInside.name], (b) =>
        ran.has("pack-gate-up") && ran.has("join-latents") && b.experts === 0 ? b.productNorms : 0,
      ),
    ];
  },
});
