// The gain of a norm goes into the columns of the product behind it, once, when weights are loaded: what QuaRot, SpinQuant and
// llama.cpp begin with. rms_norm(x, g) Wᵀ = rms_norm(x) (W diag g)ᵀ.
import { asTensor, einsum, everyNode, isWeight, linear, rmsNorm, weightName } from "dsc/ir";
import type { Func, Node, Value } from "dsc/ir";
import { atLoad, pass, readersOf, rebuild, rule } from "dsc/passes";
import { plugin } from "dsc/plugin";

/** rms_norm(x, g) Wᵀ = rms_norm(x) (W diag g)ᵀ: proved here, and found by the pass below. */
const folded = rule("fold a gain", {
  vars: { x: "[T, k] a", gain: "[k] w", w: "[n, k] w" },
  attrs: { eps: 1e-6 },
  from: ({ x, gain, w, eps }) => linear({ x: rmsNorm({ x, gain, eps }), w }),
  to: ({ x, gain, w, eps }) => linear({ x: rmsNorm({ x, eps }), w: einsum("nk,k->nk", w, gain) }),
});

/** A gain can go where every reader of the norm is a product with a stored weight that has no codes. */
function foldable(norm: Node, readers: readonly Node[]): boolean {
  const plain = (w: Value): boolean => {
    const { dtype, dims } = asTensor(w.type);
    return isWeight(w) && (dtype === "f32" || dtype === "bf16") && dims.length === 2;
  };
  const [row] = norm.results;
  return (
    isWeight(norm.operands[1]) &&
    readers.length > 0 &&
    readers.every((n) => linear.made(n) && n.operands[0] === row && plain(n.operands[1]))
  );
}

/** The norms of a function whose gains can go. */
function gainsOf(f: Func): Map<Node, Value> {
  const readers = readersOf(f);
  const results = new Set(f.results.map((r) => r.value));
  const norms = everyNode(f).filter((n) => rmsNorm.made(n) && n.operands.length === 2 && !results.has(n.results[0]));
  return new Map(norms.filter((n) => foldable(n, readers.get(n.results[0]) ?? [])).map((n) => [n, n.operands[1]]));
}

const foldGain = pass({
  name: "fold-gain",
  summary: "Fold the gain of a norm into the weight of the product behind it.",
  before: "fuse-linear",
  equations: [folded],
  // The patterns of these have a gain in them.
  hides: ["fuse-linear", "fuse-product", "add-norm", "norm-router"],
  whole(m, cx) {
    const loaded = atLoad(m);
    const funcs = new Map<string, Func>();
    for (const f of m.funcs.values()) {
      const gains = gainsOf(f);
      const rebuilt = rebuild(f, m.graph, ([value], original) => {
        if (rmsNorm.made(original) && gains.has(original))
          return [rmsNorm({ x: value.node.operands[0], eps: original.attrs.eps })];
        const gain = linear.made(original) ? gains.get(original.operands[0].node) : undefined;
        if (!gain || !linear.made(original)) return undefined;
        const stored = original.operands[1];
        const w = loaded.weight(`${weightName(stored)!}.gained`, [stored, gain], ([a, b]) => einsum("nk,k->nk", a, b));
        cx.fired("fold a gain", { at: value });
        return [linear({ x: value.node.operands[0], w, dtype: original.attrs.dtype })];
      });
      funcs.set(f.name, rebuilt);
    }
    return loaded.module(funcs);
  },
});

export default plugin({ name: "fold-gain", version: "1.0.0", passes: [foldGain] });
