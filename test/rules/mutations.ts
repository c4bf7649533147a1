// Rules made slightly false: every attribute of the right side changed, dropped or perturbed, every pair of operands of one type
// swapped, every node of one operand left out. A prover that calls one of them proved has a hole.
import type { AttrValue } from "../../ir/attr.ts";
import { make, printType, scale, topological, type Node, type Value } from "../../ir/index.ts";
import { instanceOf } from "../../passes/instance.ts";
import type { Roots, Rule } from "../../passes/rule.ts";

export interface Mutant {
  /** "eps of norm_quant x 10" */
  what: string;
  rule: Rule;
}

/** What is done to one node of the right side, by its place in operand order. */
interface Change {
  what: string;
  at: number;
  attrs?: (attrs: Record<string, AttrValue>) => Record<string, AttrValue>;
  operands?: (operands: readonly Value[]) => readonly Value[];
  /** The node gives back this operand. */
  gives?: number;
}

export function mutantsOf(rule: Rule): Mutant[] {
  const { to } = instanceOf(rule, 0);
  const nodes = inside(to);
  // The same nodes where attributes have other values: what is another there is no constant.
  const elsewhere = otherAttrs(rule);
  const mutants = nodes
    .flatMap((n, at) => changesOf(n, at, (k) => JSON.stringify(elsewhere[at]?.attrs[k]) !== JSON.stringify(n.attrs[k])))
    .map((c) => ({
      what: c.what,
      rule: {
        ...rule,
        sides(holes: Record<string, Value>, attrs: Record<string, AttrValue>, sizes: Parameters<Rule["sides"]>[2]) {
          const sides = rule.sides(holes, attrs, sizes);
          return { from: sides.from, to: changed(sides.to, c) };
        },
      },
    }));
  const holes = Object.entries(instanceOf(rule, 0).holes).filter(([, v]) => v.type.kind === "tensor");
  const withHoles = (what: string, f: (holes: Record<string, Value>) => Record<string, Value>): Mutant => ({
    what,
    rule: { ...rule, sides: (h, a, z) => ({ from: rule.left(h, a), to: rule.sides(f(h), a, z).to }) },
  });
  const factors = holes
    .filter(([, v]) => printType(v.type).endsWith("f32"))
    .map(([k]) => withHoles(`${k} x 1.1`, (h) => ({ ...h, [k]: scale({ x: h[k], by: 1.1 }) })));
  const swaps = holes.flatMap(([k, v], i) =>
    holes
      .slice(i + 1)
      .flatMap(([l, w]) =>
        printType(v.type) === printType(w.type)
          ? [withHoles(`${k} and ${l} swapped`, (h) => ({ ...h, [k]: h[l], [l]: h[k] }))]
          : [],
      ),
  );
  // Another result of the op that gives a root.
  const others = Object.entries(to).flatMap(([root, v]) =>
    v.node.results.flatMap((r) => (r !== v && printType(r.type) === printType(v.type) ? [{ root, v, index: r.index }] : [])),
  );
  return [
    ...mutants,
    ...factors,
    ...swaps,
    ...others.map(({ root, v, index }) => ({
      what: `${v.node.op.name} gives result ${index} for ${v.index}`,
      rule: {
        ...rule,
        sides(...given: Parameters<Rule["sides"]>) {
          const sides = rule.sides(...given);
          return { from: sides.from, to: { ...sides.to, [root]: sides.to[root].node.results[index] } };
        },
      },
    })),
  ];
}

/** Nodes of the right side with every attribute that can be changed at another value. */
function otherAttrs(rule: Rule): Node[] {
  const attrs = Object.fromEntries(
    Object.entries(rule.attrs).map(([k, v]) => [
      k,
      typeof v === "boolean" ? !v : typeof v === "number" ? v + 1 : v === "f32" ? "ue8m0" : v,
    ]),
  );
  const words = Object.fromEntries(
    Object.entries(attrs).map(([k, v]) => [
      k,
      k === "dtype" && rule.attrs[k] === "same"
        ? "f32"
        : k === "dtype"
          ? "bf16"
          : k === "scoring"
            ? "softmax"
            : k === "method"
              ? "greedy"
              : v,
    ]),
  );
  return inside(instanceOf(rule, 0, {}, { attrs: words }).to);
}

/** Nodes of a right side, operands first, without holes. */
const inside = (side: Roots): Node[] => topological(Object.values(side)).filter((n) => n.op.name !== "param");

function changesOf(n: Node, at: number, varies: (attr: string) => boolean): Change[] {
  const out: Change[] = [];
  for (const [k, v] of Object.entries(n.attrs)) {
    const kind = n.op.attrs[k];
    const set = (what: string, f: (v: AttrValue) => AttrValue): void =>
      void out.push({ what: `${k} of ${n.op.name} ${what}`, at, attrs: (a) => ({ ...a, [k]: f(a[k]) }) });
    if (kind.initial !== undefined && (varies(k) || v !== kind.initial)) set("dropped", () => kind.initial!);
    if (kind.kind === "f32") {
      set("x 10", (x) => 10 * (x as number));
      set("x 1.1", (x) => 1.1 * (x as number));
      set("negated", (x) => -(x as number));
    }
    if (kind.kind === "int") {
      set("+ 1", (x) => (x as number) + 1);
      set("- 1", (x) => (x as number) - 1);
    }
    if (kind.kind === "bool") set("turned", (x) => !x);
    for (const c of kind.choices ?? []) if (c !== v) set(`= ${c}`, () => c);
    // Constants where the rule has an attribute.
    if (varies(k)) set("held at the sample", () => v);
    if (kind.kind === "list") set("reversed", (x) => [...(x as readonly number[])].reverse());
  }
  for (let i = 0; i < n.operands.length; i++)
    for (let j = i + 1; j < n.operands.length; j++)
      if (printType(n.operands[i].type) === printType(n.operands[j].type))
        out.push({
          what: `operands ${i} and ${j} of ${n.op.name} swapped`,
          at,
          operands: (o) => o.map((v, x) => (x === i ? o[j] : x === j ? o[i] : v)),
        });
  for (const [i, o] of n.operands.entries())
    if (printType(o.type) === printType(n.results[0].type))
      out.push({ what: `${n.op.name} left out, operand ${i} kept`, at, gives: i });
  return out;
}

/** The right side with one change made, built as an author would. */
function changed(to: Roots, c: Change): Roots {
  const done = new Map<Node, readonly Value[]>();
  const nodes = inside(to);
  for (const [at, n] of nodes.entries()) {
    const operands = n.operands.map((o) => done.get(o.node)?.[o.index] ?? o);
    if (at !== c.at) done.set(n, make(n.op, operands, n.attrs, undefined, n.graph));
    else if (c.gives !== undefined)
      done.set(
        n,
        n.results.map(() => operands[c.gives!]),
      );
    else done.set(n, make(n.op, c.operands?.(operands) ?? operands, c.attrs?.({ ...n.attrs }) ?? n.attrs, undefined, n.graph));
  }
  return Object.fromEntries(Object.entries(to).map(([k, v]) => [k, done.get(v.node)?.[v.index] ?? v]));
}
