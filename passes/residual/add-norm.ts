// A residual sum and the norm after it: one visit of the row gives the sum, its norm and, where a quantised product follows,
// its codes. Sum and norm are two roots, so the pass finds them itself; the equations say what each root becomes.
import {
  add,
  addNorm as addNormOp,
  addNormBoth,
  addNormQuant,
  blockLinearAdd,
  everyNode,
  gatedLinearAdd,
  linearAdd,
  normBlockLinear,
  normLinear,
  quantize,
  rmsNorm,
  type Func,
  type Node,
  type Value,
} from "../../ir/index.ts";
import { inEach } from "../contract.ts";
import { pass, type Cx } from "../pass.ts";
import { readersOf, rebuild } from "../rewrite.ts";
import { rule } from "../rule.ts";

const vars = { a: "[..b, d] a", b: "[..b, d] a", gain: "[d] w" } as const;

/** rms_norm(a + b): the same visit gives a + b. */
const sumNorm = rule("add and normalise", {
  vars,
  attrs: { eps: 1e-6 },
  from: ({ a, b, gain, eps }) => rmsNorm({ x: add({ a, b }), gain, eps }),
  to: ({ a, b, gain, eps }) => addNormOp({ a, b, gain, eps }).y,
});

/** quantize(rms_norm(a + b)): the normalised row is not written. */
const sumNormQuant = rule("add, normalise and quantise", {
  vars,
  attrs: { eps: 1e-6, scale: "f32" },
  from: ({ a, b, gain, eps, scale }) => quantize({ x: rmsNorm({ x: add({ a, b }), gain, eps }), scale }),
  to: ({ a, b, gain, eps, scale }) => addNormQuant({ a, b, gain, eps, scale }).codes,
});

/** The same where something else, the router, reads the normalised row as it is. */
const sumNormBoth = rule("add, normalise, keep the row and its codes", {
  vars,
  attrs: { eps: 1e-6, scale: "f32" },
  from: ({ a, b, gain, eps, scale }) => quantize({ x: rmsNorm({ x: add({ a, b }), gain, eps }), scale }),
  to: ({ a, b, gain, eps, scale }) => addNormBoth({ a, b, gain, eps, scale }).codes,
});

/** What one sum becomes. */
interface Fusion {
  rule: string;
  norm: Node;
  /** Absent where nothing quantises the row. */
  quantize?: Node;
  build: (a: Value, b: Value) => { sum: Value; y?: Value; codes?: Value };
}

export const addNorm = pass({
  name: "add-norm",
  summary: "Add the residual, normalise and quantise in one visit of the row.",
  equations: [sumNorm, sumNormQuant, sumNormBoth],
  expect: ({ bodies }) => inEach(bodies, [sumNorm.name, sumNormQuant.name, sumNormBoth.name], (b) => b.sums),
  run(f: Func, cx: Cx): Func {
    const graph = cx.module.graph;
    const fusions = fusionsOf(f, cx);
    if (fusions.size === 0) return f;
    const made = new Map<Node, { sum: Value; y?: Value; codes?: Value }>();
    const by = (n: Node | undefined): ReturnType<Fusion["build"]> | undefined => (n ? made.get(n) : undefined);
    const owner = new Map<Node, Node>();
    for (const [sum, x] of fusions) {
      owner.set(x.norm, sum);
      if (x.quantize) owner.set(x.quantize, sum);
    }
    return rebuild(f, graph, (rebuilt, original) => {
      const fusion = fusions.get(original);
      if (fusion) {
        const [a, b] = rebuilt[0].node.operands;
        const parts = [original, fusion.norm, ...(fusion.quantize ? [fusion.quantize] : [])];
        const out = graph.from(
          parts.flatMap((n) => graph.originsOf(n)).concat([{ kind: "rule", pass: "add-norm", rule: fusion.rule }]),
          () => fusion.build(a, b),
        );
        made.set(original, out);
        return [out.sum];
      }
      const out = by(owner.get(original));
      if (!out) return undefined;
      const value = quantize.made(original) ? out.codes : out.y;
      // Where the row itself is not written its norm is dead: only the codes are read.
      return value ? [value] : undefined;
    });
  },
});

/** For every sum that a norm reads: which of the three it becomes. Every norm is a candidate and gets a line of the ledger. */
function fusionsOf(f: Func, cx: Cx): Map<Node, Fusion> {
  const nodes = everyNode(f);
  const readers = readersOf(f);
  const results = new Set(f.results.map((r) => r.value));
  const fusions = new Map<Node, Fusion>();
  for (const norm of nodes) {
    if (!(rmsNorm.made(norm) || normLinear.made(norm) || normBlockLinear.made(norm))) continue;
    if ([linearAdd, gatedLinearAdd, blockLinearAdd].some((p) => p.made(norm.operands[0].node))) {
      cx.declined(sumNorm.name, "the product before the sum adds it up", norm.results[0]);
      continue;
    }
    if (!rmsNorm.made(norm)) {
      // A bias stands between product and sum, so the sum is no product's; the norm is one's all the same.
      if (add.made(norm.operands[0].node))
        cx.declined(sumNorm.name, "the product after the norm normalises its rows itself", norm.results[0]);
      continue;
    }
    const [x, gain] = norm.operands;
    if (!add.made(x.node)) {
      cx.unmatched(
        sumNorm.name,
        `the row is ${x.node.leaf ? "a parameter: what made it is in the function before" : `made by ${x.node.op.name}, not by an add`}`,
        norm.results[0],
      );
      continue;
    }
    if (fusions.has(x.node)) {
      cx.refused(sumNorm.name, "another norm of the same sum is fused with it already", norm.results[0]);
      continue;
    }
    const eps = norm.attrs.eps;
    const reads = readers.get(norm.results[0]) ?? [];
    const codes = reads.find(quantize.made);
    const asItIs = results.has(norm.results[0]) || reads.some((n) => n !== codes);
    const scale = codes?.attrs.scale;
    const fusion: Omit<Fusion, "norm" | "quantize"> = !codes
      ? { rule: sumNorm.name, build: (a, b) => addNormOp({ a, b, gain, eps }) }
      : asItIs
        ? { rule: sumNormBoth.name, build: (a, b) => addNormBoth({ a, b, gain, eps, scale }) }
        : { rule: sumNormQuant.name, build: (a, b) => addNormQuant({ a, b, gain, eps, scale }) };
    fusions.set(x.node, { ...fusion, norm, quantize: codes });
    cx.fired(fusion.rule, { at: norm.results[0] });
  }
  return fusions;
}
