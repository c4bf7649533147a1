// The norm before a layer's experts is read by the router and by the experts. With few rows both, norm and router, are launches that move
// next to nothing: one op gives the row and the router's logits. Two roots are no pattern, so the pass looks for them itself.
import {
  everyNode,
  isWeight,
  linear,
  normLinearBoth,
  plainExpertsAdd,
  rmsNorm,
  routePlainExpertsAdd,
  type Func,
  type Node,
  type Value,
} from "../../ir/index.ts";
import { asTensor } from "../../ir/types.ts";
import { inEach } from "../contract.ts";
import { pass, type Cx } from "../pass.ts";
import { FEW, tooMany } from "../residual/fuse-linear.ts";
import { readersOf, rebuild } from "../rewrite.ts";
import { rule } from "../rule.ts";

/** rms_norm(x) Wᵀ: the same visit gives rms_norm(x). */
export const normAndRouter = rule("normalise inside the router", {
  vars: { x: "[..b, k] a", w: "[n, k] w", gain: "[k] g" },
  attrs: { eps: 1e-6, dtype: "same" },
  from: ({ x, w, gain, eps, dtype }) => linear({ x: rmsNorm({ x, gain, eps }), w, dtype }),
  to: ({ x, w, gain, eps, dtype }) => normLinearBoth({ x, w, gain, eps, dtype }).y,
  looks: "linear(rms_norm(x), router), where plain_experts_add reads the same row",
});

const isExperts = (n: Node): boolean => plainExpertsAdd.made(n) || routePlainExpertsAdd.made(n);

export const normRouter = pass({
  name: "norm-router",
  summary: "The norm before experts and their router's product in one launch, where rows are few.",
  equations: [normAndRouter],
  run(f: Func, cx: Cx): Func {
    const readers = readersOf(f);
    const routers = new Map<Node, Node>();
    for (const norm of everyNode(f).filter(rmsNorm.made)) {
      const reads = readers.get(norm.results[0]) ?? [];
      const router = reads.find(
        (n) => linear.made(n) && isWeight(n.operands[1]) && asTensor(n.operands[1].type).dims.length === 2,
      );
      if (!router || reads.length !== 2 || !reads.some(isExperts)) continue;
      const many = tooMany(norm.operands[0], f.assume);
      if (many) {
        cx.refused(normAndRouter.name, many, router.results[0]);
        continue;
      }
      routers.set(norm, router);
      cx.fired(normAndRouter.name, { at: router.results[0] });
    }
    if (routers.size === 0) return f;
    const made = new Map<Node, Value>();
    const graph = cx.module.graph;
    return rebuild(f, graph, (rebuilt, original) => {
      const router = routers.get(original);
      if (router) {
        const [x, gain] = rebuilt[0].node.operands;
        const { z, y } = graph.from(
          [original, router]
            .flatMap((n) => graph.originsOf(n))
            .concat([{ kind: "rule", pass: "norm-router", rule: normAndRouter.name }]),
          () =>
            normLinearBoth({
              x,
              w: router.operands[1],
              gain,
              eps: original.attrs.eps as number,
              dtype: router.attrs.dtype as "f32",
            }),
        );
        made.set(router, y);
        return [z];
      }
      const y = made.get(original);
      return y ? [y] : undefined;
    });
  },
  expect: ({ bodies, ran, ledger }) =>
    inEach(
      bodies.filter((b) => b.act === "bf16" && b.rows <= FEW && b.scaled === 0 && ran.has("experts-add")),
      [normAndRouter.name],
      (b) => ledger.fired(["experts of few tokens, without scales, in one op"], b.func),
    ),
});
