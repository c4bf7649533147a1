// Views that say nothing: what two say, one says; what gives back what it was given goes. No kernel runs less, for views are
// strides, but graphs are shorter, and a rule that looks through one view need not look through two.
import { reshape, scale, split, sameType, type Func, type Node, type Value } from "../../ir/index.ts";
import { asTensor, fixed } from "../../ir/types.ts";
import { pass, type Cx } from "../pass.ts";
import { rebuild } from "../rewrite.ts";
import { rule } from "../rule.ts";

const sizesOf = (x: Value): number[] => asTensor(x.type).dims.map(fixed);

/** reshape(reshape x) = reshape x, with the last axes */
const reshapeTwice = rule("one reshape for two", {
  vars: { x: "[t, h, d] a" },
  from({ x }) {
    const [t, h, d] = sizesOf(x);
    return reshape({ x: reshape({ x, dims: [t * h, d] }), dims: [t, h * d] });
  },
  to({ x }) {
    const [t, h, d] = sizesOf(x);
    return reshape({ x, dims: [t, h * d] });
  },
  looks: "reshape(reshape(x))",
});

/** reshape x = x, where the axes are those of x */
const reshapeNothing = rule("a reshape to the axes there are", {
  vars: { x: "[t, h, d] a" },
  from: ({ x }) => reshape({ x, dims: asTensor(x.type).dims }),
  to: ({ x }) => x,
  looks: "reshape(x), with the axes of x",
});

/** left(split(left(split x at i)) at j) = left(split x at j): the same columns, counted once */
const splitTwice = rule("one split for two", {
  vars: { x: "[t, h, d] a" },
  from: ({ x }) => split({ x: split({ x, at: 3 }).left, at: 1 }).left,
  to: ({ x }) => split({ x, at: 1 }).left,
  looks: "split(split(x).left).left",
});

/** x * 1 = x */
const timesOne = rule("a multiple of one", {
  vars: { x: "[..b, d] a" },
  from: ({ x }) => scale({ x, by: 1 }),
  to: ({ x }) => x,
});

export const tidy = pass({
  name: "tidy",
  summary: "One view where two follow each other; none where it gives back what it was given.",
  rules: [timesOne],
  equations: [reshapeTwice, reshapeNothing, splitTwice],
  run: (f: Func, cx: Cx): Func =>
    rebuild(f, cx.module.graph, (values, original) => {
      const found = simpler(values[0].node);
      if (!found) return undefined;
      const [rule, to] = found;
      cx.fired(rule, { at: original.results[0] });
      return to;
    }),
  // Nothing has to be untidy: what the frontend and the passes write today has none of these in a model.
  promises: [],
});

/** The equation that fits a view, and its right side; patterns cannot say "any axes", so it is looked for here. */
function simpler(n: Node): [string, readonly Value[]] | undefined {
  const [x] = n.operands;
  if (reshape.made(n)) {
    if (sameType(x.type, n.results[0].type)) return [reshapeNothing.name, [x]];
    if (!reshape.made(x.node)) return undefined;
    const inner = x.node.operands[0];
    return sameType(inner.type, n.results[0].type)
      ? [reshapeNothing.name, [inner]]
      : [reshapeTwice.name, [reshape({ x: inner, dims: n.attrs.dims })]];
  }
  const inner = x?.node;
  if (split.made(n) && split.made(inner) && x.index === 0 && inner.attrs.axis === n.attrs.axis) {
    const whole = inner.operands[0];
    // The right part of the inner one is what lies between: it stays as it is.
    return [splitTwice.name, [split({ x: whole, at: n.attrs.at, axis: n.attrs.axis }).left, n.results[1]]];
  }
  return undefined;
}
