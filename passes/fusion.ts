// The equation of a fused op: the graph it is declared by becomes the op. Written once, with the op (ir/ops/fused.ts).
import type { AttrValue, AttrValues } from "../ir/attr.ts";
import type { FusedBuilder } from "../ir/fused.ts";
import { topological, Value } from "../ir/graph.ts";
import { make, type AttrKinds, type Operands, type Signature } from "../ir/op.ts";
import { rule, type MatchContext, type Roots, type Rule, type RuleSpec } from "./rule.ts";

export interface FusionSpec<I, A> extends Pick<
  RuleSpec<Signature, Record<string, AttrValue>>,
  "sizes" | "ties" | "among" | "otherwise" | "site" | "widens"
> {
  /**
   * Types of operands that a target has a kernel for, where they are narrower than the op's; an optional operand, where it is
   * there.
   */
  vars?: { [K in keyof I as K extends `${infer N}?` ? N : K]?: string };
  /**
   * Samples of attributes for the self-test; the op's defaults unless said. With samples, attributes not named are none of the
   * pattern.
   */
  attrs?: { [K in keyof A]?: AttrValue };
  when?: (v: Operands<I, Value> & AttrValues<A>, cx: MatchContext) => string | null;
  /** Attributes of the op that no op of its graph has. */
  also?: (v: Operands<I, Value>) => { [K in keyof A]?: AttrValue };
  /** Set where fused ops in its graph are still in parts when the pass runs. */
  inParts?: true;
}

/** Declares the rule that puts a fused op in place of its graph: several results are several roots. */
export function fusion<I extends Signature, A extends AttrKinds, O extends Signature>(
  name: string,
  fused: FusedBuilder<I, A, O>,
  spec: FusionSpec<I, A> = {},
): Rule {
  const { op } = fused;
  const required = Object.fromEntries(Object.entries(op.signature.ins).filter(([k]) => !k.endsWith("?")));
  const vars = { ...required, ...(spec.vars as Signature | undefined) };
  const samples = spec.attrs ?? Object.fromEntries(Object.entries(op.attrs).map(([k, kind]) => [k, kind.initial!]));
  type Given = Parameters<typeof fused>[0];
  const keys = new Set([...Object.keys(vars), ...Object.keys(op.attrs)]);
  const given = (v: object): Given => Object.fromEntries(Object.entries(v).filter(([k]) => keys.has(k))) as Given;
  const { sizes, ties, among, otherwise, site, widens } = spec;
  const from = (v: object): Value | Roots => fused.of(given(v));
  return rule(name, {
    vars,
    attrs: samples as Record<string, AttrValue>,
    from: (v) => (spec.inParts ? inParts(from(v)) : from(v)),
    to: (v): Value | Roots => fused(given({ ...v, ...spec.also?.(given(v)) })),
    ...(spec.when ? { when: (v, cx) => spec.when!(given(v) as never, cx) } : {}),
    ...(sizes ? { sizes } : {}),
    ...(ties ? { ties } : {}),
    ...(among ? { among } : {}),
    ...(otherwise ? { otherwise } : {}),
    ...(site ? { site } : {}),
    ...(widens ? { widens } : {}),
  });
}

/** The same graph without fused ops. */
function inParts(side: Value | Roots): Value | Roots {
  return side instanceof Value ? apart(side) : Object.fromEntries(Object.entries(side).map(([k, v]) => [k, apart(v)]));
}

function apart(root: Value): Value {
  const done = new Map<Value, Value>();
  for (const n of topological([root])) {
    const operands = n.operands.map((o) => done.get(o) ?? o);
    const results = n.op.of ? n.op.of(operands, n.attrs).map(apart) : n.leaf ? n.results : make(n.op, operands, n.attrs);
    for (const [i, r] of n.results.entries()) done.set(r, results[i]);
  }
  return done.get(root) ?? root;
}
