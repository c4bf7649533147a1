// The terms (ir/term.ts) of every axis of every value: those of leaves are told by who makes them (Graph.sized), those of results follow
// from operands by the letters of an op's signature, and for ops that compute their shapes by what they do with axes.
import { bodyOf, topological, type Func, type Module, type Node, type Region, type Value } from "./graph.ts";
import { partsOf } from "./fused.ts";
import { callOf } from "./ops/module.ts";
import { parseSpec } from "./ops/math.ts";
import { parsePattern } from "./signature.ts";
import { factorsOf, productOf, summandsOf, sumOf, valueOf, type Quantities, type Term } from "./term.ts";
import { partsOf as dimParts, type Dim, type TensorType, type Type } from "./types.ts";

/** A term for every axis; of a cache for the width of a row. */
export type Axes = readonly Term[];

/** Terms of the values of a module. */
export class Terms {
  readonly #quantities: Quantities;
  readonly #axes = new Map<Value, Axes>();
  readonly #called = new Set<string>();
  readonly #module: Pick<Module, "funcs"> | undefined;

  constructor(quantities: Quantities, module?: Pick<Module, "funcs">) {
    this.#quantities = quantities;
    this.#module = module;
  }

  /** Of all functions, entries first: what they call is looked at with what they pass. */
  static of(m: Module, quantities: Quantities): Terms {
    const terms = new Terms(quantities, m);
    for (const name of [...Object.values(m.entries), ...m.funcs.keys()]) if (name !== undefined) terms.#func(m.funcs.get(name)!);
    return terms;
  }

  /** Terms of another graph, whose parameters have these: of a fused op's own. */
  within(params: readonly Value[], axes: readonly Axes[]): Terms {
    const inner = new Terms(this.#quantities);
    for (const [i, p] of params.entries()) inner.#axes.set(p, axes[i]);
    return inner;
  }

  /** The terms of a value's axes. */
  axes(v: Value): Axes {
    const known = this.#axes.get(v);
    if (known) return known;
    const own = v.node.graph.sizesOf(v);
    if (v.node.leaf || !own) for (const n of topological([v])) this.#node(n);
    const found = this.#axes.get(v) ?? own ?? unknown(v.type);
    this.#axes.set(v, found);
    return found;
  }

  #func(f: Func): void {
    if (this.#called.has(f.name)) return;
    this.#called.add(f.name);
    for (const n of topological(f.results.map((r) => r.value))) this.#node(n);
  }

  #node(n: Node): void {
    if (n.results.length > 0 && this.#axes.has(n.results[0])) return;
    if (n.leaf) return void this.#keep(n, [n.graph.sizesOf(n.results[0]) ?? unknown(n.results[0].type)]);
    if (n.region) this.#region(n, n.region);
    const called = callOf(n);
    if (called) return this.#call(n, called.func);
    this.#keep(n, this.#results(n) ?? []);
  }

  /** What was found, held to the sizes there: a term that has another number is none. */
  #keep(n: Node, found: readonly Axes[]): void {
    for (const [i, r] of n.results.entries()) {
      const plain = unknown(r.type);
      const axes = found[i]?.length === plain.length ? found[i] : plain;
      this.#axes.set(
        r,
        axes.map((t, j) => (fits(t, dimsOf(r.type)[j], this.#quantities) ? t : plain[j])),
      );
    }
  }

  #call(n: Node, name: string): void {
    const f = this.#module?.funcs.get(name);
    if (!f) return this.#keep(n, []);
    for (const [i, p] of f.params.entries()) if (!this.#axes.has(p.value)) this.#keep(p.value.node, [this.axes(n.operands[i])]);
    this.#func(f);
    this.#keep(
      n,
      f.results.map((r) => this.axes(r.value)),
    );
  }

  /** Parameters of a region are operands seen by one sequence or one expert. */
  #region(n: Node, region: Region): void {
    const of = n.op.traits.region === "sequences" ? n.operands.slice(1) : n.operands.slice(2);
    for (const [i, p] of region.params.entries()) {
      const given = this.axes(of[i]);
      const first = unknown(p.type).slice(0, 1);
      // A cache is its rows [s, w]; of a stack an expert sees one slice; everything else keeps its axes but the first.
      const stacked = dimsOf(p.type).length === given.length - 1;
      const rest = of[i].type.kind === "cache" ? given : given.slice(1);
      this.#keep(p.node, [stacked ? rest : [...first, ...rest]]);
    }
    for (const inner of bodyOf(region)) this.#node(inner);
  }

  #results(n: Node): readonly Axes[] | undefined {
    const ins = n.operands.map((o) => this.axes(o));
    if (n.region) {
      const inner = n.region.results.map((r) => this.axes(r));
      return inner.map((axes, i) => [...unknown(n.results[i].type).slice(0, 1), ...axes.slice(1)]);
    }
    const own = computed[n.op.name];
    if (own) return own(n, ins, this.#quantities);
    return n.op.of ? this.#ofParts(n, ins) : byLetters(n, ins);
  }

  /** Of a fused op by the graph that it stands for. */
  #ofParts(n: Node, ins: readonly Axes[]): readonly Axes[] {
    const { params, results } = partsOf(
      n.op,
      n.operands.map((o) => o.type),
      n.attrs,
    );
    const inner = this.within(params, ins);
    return results.map((r) => inner.axes(r));
  }
}

const dimsOf = (t: Type): readonly Dim[] => (t.kind === "tensor" ? t.dims : t.kind === "cache" ? [t.width] : []);

/** What is known of sizes without a config: symbols, and numbers of which nothing is known. */
const unknown = (t: Type): Axes =>
  dimsOf(t).map((d) => {
    const { times, symbol } = dimParts(d);
    return symbol === "" ? { given: times } : productOf([{ symbol }, times === 1 ? 1 : { given: times }]);
  });

/** Whether a term has the number of a size; of a run-time one its multiple. */
function fits(t: Term, d: Dim, q: Quantities): boolean {
  const { times, symbol } = dimParts(d);
  return valueOf(t, symbol === "" ? q : { ...q, [symbol]: 1 }) === times;
}

/** Results by the letters of the signature: the op is asked for its result over letters, each of which stands for a term. */
function byLetters(n: Node, ins: readonly Axes[]): readonly Axes[] | undefined {
  const by = new Map<string, Term>();
  const types = n.operands.map((o, i): Type => {
    const key = n.op.ins[Math.min(i, n.op.ins.length - 1)];
    const signature = n.op.signature.ins[key];
    const pattern = signature === undefined ? undefined : parsePattern(signature);
    if (pattern?.kind !== "tensor" || o.type.kind !== "tensor") return o.type;
    const fixed = pattern.dims.filter((d) => d.rest === undefined).length;
    const rest = o.type.dims.length - fixed;
    let at = 0;
    const dims = pattern.dims.flatMap((d): Dim[] => {
      if (d.size !== undefined) return (at++, [d.size]);
      const names = d.rest === undefined ? [d.name!] : Array.from({ length: rest }, (_, j) => `${d.rest}_${j}_`);
      return names.map((name) => {
        const term = ins[i][at++];
        const letter = `${name}${name.endsWith("_") ? "" : "__"}`;
        if (!by.has(letter)) by.set(letter, term);
        return letter;
      });
    });
    return { ...o.type, dims };
  });
  const found = n.op.infer(types, n.attrs);
  if (typeof found === "string") return undefined;
  return found.map((t, i) => {
    const dims = dimsOf(t);
    const plain = unknown(n.results[i].type);
    if (t.kind === "cache") return ins[n.operands.findIndex((o) => o.type.kind === "cache")] ?? plain;
    return dims.map((d, j) => {
      if (typeof d === "number") return d;
      return by.get(dimParts(d).symbol) ?? plain[j];
    });
  });
}

type Compute = (n: Node, ins: readonly Axes[], q: Quantities) => readonly Axes[] | undefined;

/** Replaces one axis, counted from the last. */
const withAxis = (axes: Axes, axis: number, t: Term): Axes => axes.map((x, i) => (i === axes.length + axis ? t : x));

/** Sizes that an op computes. Names of attributes that are quantities of a config are those of the frontend's sizes. */
const computed: Readonly<Record<string, Compute>> = {
  reshape: (n, [x], q) => [regrouped(x, (n.results[0].type as TensorType).dims, q)],
  split(n, [x], q) {
    const axis = Number(n.attrs.axis);
    const [left, right] = cut(x.at(axis)!, Number(n.attrs.at), q);
    return [withAxis(x, axis, left), withAxis(x, axis, right)];
  },
  concat: (n, [a, b]) => [withAxis(a, -1, sumOf([a.at(-1)!, b.at(-1)!]))],
  join_rows: (n, [a, b]) => [[sumOf([a[0], b[0]]), a[1]]],
  join_experts: (n, [a, b], q) => [[sumOf([a[0], quotient(b, a.slice(1), Number(n.attrs.parts), q)]), a[1], a[2]]],
  pad(n, [x]) {
    const axis = Number(n.attrs.axis);
    return [withAxis(x, axis, { roundedUp: x.at(axis)!, to: PADDED })];
  },
  einsum(n, [a, b]) {
    const spec = parseSpec(String(n.attrs.spec))!;
    const by = new Map([...spec.a].map((c, i) => [c, a[i]]));
    for (const [i, c] of [...spec.b].entries()) if (!by.has(c)) by.set(c, b[i]);
    return [[...spec.out].map((c) => by.get(c)!)];
  },
  route(n, [logits]) {
    const slots = sumOf(["topk", ...(Number(n.attrs.shared) ? ["shared"] : [])]);
    return [
      [logits[0], slots],
      [logits[0], slots],
    ];
  },
  sort_experts(n, [indices]) {
    const pairs = productOf([indices[0], indices[1]]);
    const shared = summandsOf(indices[1]).includes("shared") ? ["shared"] : [];
    return [[pairs], [sumOf(["experts", ...shared, 1])], [pairs]];
  },
};

/** Columns of a box of TMA: what passes/plan/pad-widths.ts rounds up to. */
const PADDED = 64;

/** The axes of a reshape: factors in their order, put together as far as each new axis goes. */
function regrouped(from: Axes, to: readonly Dim[], q: Quantities): Axes {
  const factors = from.flatMap(factorsOf);
  let next = 0;
  return to.map((d): Term => {
    const { times, symbol } = dimParts(d);
    const taken: Term[] = [];
    let [n, symbols] = [1, 0];
    while (next < factors.length && (n < times || symbols < (symbol === "" ? 0 : 1) || ones(factors[next], q))) {
      const f = factors[next++];
      taken.push(f);
      if (typeof f === "object" && "symbol" in f) symbols++;
      else n *= valueOf(f, q);
    }
    if (n === times) return productOf(taken);
    next = factors.length;
    return unknown({ kind: "tensor", dims: [d], dtype: "f32" })[0];
  });
}

const ones = (t: Term, q: Quantities): boolean => valueOf(t, q) === 1;

/** A sum in two at a place where one summand ends. */
function cut(t: Term, at: number, q: Quantities): [Term, Term] {
  const parts = summandsOf(t);
  for (let i = 1, n = 0; i < parts.length; i++) {
    n += valueOf(parts[i - 1], q);
    if (n === at) return [sumOf(parts.slice(0, i)), sumOf(parts.slice(i))];
  }
  return [{ given: at }, { given: valueOf(t, q) - at }];
}

/** How many `part`s a matrix is: the factors that its axes have more. */
function quotient(whole: Axes, part: Axes, parts: number, q: Quantities): Term {
  const rest = whole.flatMap(factorsOf);
  for (const f of part.flatMap(factorsOf)) {
    const at = rest.findIndex((x) => JSON.stringify(x) === JSON.stringify(f));
    if (at < 0) return { given: parts };
    rest.splice(at, 1);
  }
  const t = productOf(rest);
  return valueOf(t, q) === parts ? t : { given: parts };
}
