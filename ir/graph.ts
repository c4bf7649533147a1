// Graphs are immutable values: nodes are interned per graph, so equality is `===`, sharing is free, and analyses can be
// memoised forever. Names and origins live in side tables, outside a node's identity.
import type { AttrKind, Attrs } from "./attr.ts";
import type { Source } from "./artifact.ts";
import { deepFreeze, frozenMap } from "./freeze.ts";
import type { Mesh } from "./mesh.ts";
import { joinOrigins, type Origin } from "./origin.ts";
import type { Bindings } from "./signature.ts";
import type { Batch, Tensor } from "./tensor.ts";
import type { Quantities, Term } from "./term.ts";
import type { Traits } from "./traits.ts";
import { printType, type Dim, type TensorType, type Type } from "./types.ts";

/** One result of a node. The only class here besides Graph: values have identity. */
export class Value {
  readonly node: Node;
  readonly index: number;
  readonly type: Type;
  constructor(node: Node, index: number, type: Type) {
    this.node = node;
    this.index = index;
    this.type = type;
    Object.freeze(this);
  }
}

/** A body evaluated per sequence or per expert; it may also read values of the function around it. */
export interface Region {
  params: readonly Value[];
  results: readonly Value[];
}

/** What an op does, derived from its declaration. */
export interface Op {
  readonly name: string;
  readonly summary: string;
  /** Operand keys in order. "bias?" may be absent, "...xs" takes any number; both only at the end. */
  readonly ins: readonly string[];
  /** Signatures as declared, for docs. */
  readonly signature: { ins: Readonly<Record<string, string>>; outs: Readonly<Record<string, string>> };
  readonly outs: readonly string[];
  readonly attrs: Readonly<Record<string, AttrKind>>;
  readonly traits: Traits;
  /** Result types, or the mismatch in words. */
  infer(operands: readonly Type[], attrs: Attrs, region?: Region): Type[] | string;
  /**
   * Meaning on concrete tensors, operands in order; results in order. Absent for ops that only the interpreter itself gives
   * meaning (weight, param, call).
   */
  readonly reference?: (operands: readonly Tensor[], attrs: Attrs, env: Env) => Tensor[];
  /** Of an op that ranks take part in together: operands of every rank, in rank order, to results of every rank. */
  readonly ranks?: (all: readonly (readonly Tensor[])[], attrs: Attrs) => Tensor[][];
  /** Floating-point operations, from the bound sizes. */
  readonly flops?: (sizes: Extents, attrs: Attrs) => number;
  /** All axes that it visits, where no letters of the signature name them. */
  readonly axes?: (operands: readonly Type[], attrs: Attrs) => readonly Dim[];
  /** Of a fused op, the graph that it stands for, over its operands (ir/fused.ts). */
  readonly of?: (operands: readonly Value[], attrs: Attrs) => readonly Value[];
  /** Binds the letters of the signature to the operand types, for cost. */
  bind(operands: readonly Type[], attrs: Attrs): Bindings | string;
}

/** Sizes of an op at a site, as numbers: what `flops` is asked with. */
export interface Extents {
  /** Of the largest operand or result, weights aside. */
  elements: number;
  /** Product of the axes `..b`. */
  rows: number;
  /** Elements of the second operand. */
  weights: number;
  /** Product of `axes`. */
  axes: number;
  /** Letters of the signature, and symbols that the function assumes. */
  of: Readonly<Record<string, number>>;
}

/** What a reference may ask of its surroundings. */
export interface Env {
  mode: "real" | "typed";
  batch: Batch;
  /** Absolute position of every packed row. */
  positions: number[];
  region?: Region;
  /** Evaluates the node's region with these parameters. */
  run(region: Region, params: Tensor[]): Tensor[];
}

/** What a node without operands is. */
export type Leaf =
  | { readonly kind: "weight"; readonly name: string }
  | { readonly kind: "param"; readonly name: string; readonly role?: Role };

/** What a parameter is, where the step brings it along: "ids", the token of every row. Other parameters are the caller's. */
export type Role = "ids";

/** An op over operands, with attributes and results: immutable, and interned per graph, so that equality is `===`. */
export interface Node {
  /** Creation order within the graph: stable for the same input. */
  readonly id: number;
  readonly graph: Graph;
  readonly op: Op;
  readonly operands: readonly Value[];
  readonly attrs: Attrs;
  readonly results: readonly Value[];
  readonly region?: Region;
  /** Set on weights and parameters. */
  readonly leaf?: Leaf;
}

/** A weight, table or computed constant: declared by the module, read by `weight` leaves. */
export interface WeightDecl {
  name: string;
  type: TensorType;
  /** Layers that have an instance; null for one shared by all. */
  layers: readonly number[] | null;
  source: Source;
  origin: readonly Origin[];
  /** What its axes are in terms of the config, where that is known (ir/term.ts). */
  sizes?: readonly Term[];
}

/** A value and the name it goes by as a parameter or a result. */
export interface NamedValue {
  name: string;
  value: Value;
}

/** A function of a module: parameters, results, and the sizes its cost is judged at. It is what its results reach. */
export interface Func {
  name: string;
  params: readonly NamedValue[];
  results: readonly NamedValue[];
  /** Sizes the cost model assumes for the symbols: { T, B, t, s, S, m }. */
  assume: Readonly<Record<string, number>>;
}

/** Functions in definition order (callees first), and the weights they read. */
export interface Module {
  name: string;
  graph: Graph;
  weights: ReadonlyMap<string, WeightDecl>;
  funcs: ReadonlyMap<string, Func>;
  entries: { prefill: string; extend: string; decode: string; draft?: string };
  /** Load functions: what depends on weights alone and needs computing. */
  load: readonly { func: string; layers: readonly number[]; writes: Readonly<Record<string, string>> }[];
  /** Its weights are stored in several formats: passes over one of them fire less often than contracts ask. */
  mixed?: boolean;
  /** Numbers of the quantities that terms of sizes are made of (ir/term.ts); absent in a module that was read from text. */
  quantities?: Quantities;
  /** The ranks it is divided over; absent, it is for one. */
  mesh?: Mesh;
}

/** A list that cannot be written to; the caller's own stays its own. */
const frozen = <T>(list: readonly T[]): readonly T[] => (Object.isFrozen(list) ? list : Object.freeze([...list]));

const structuredAttrs = (attrs: Attrs): Attrs =>
  Object.isFrozen(attrs)
    ? attrs
    : Object.fromEntries(
        Object.entries(attrs).map(([k, v]) => [k, Array.isArray(v) ? [...(v as readonly (number | string)[])] : v]),
      );

/**
 * A module whose functions, weights, entries and lists cannot be written to: what passes are given and what is kept after each.
 */
export function frozenModule(m: Module): Module {
  if (Object.isFrozen(m)) return m;
  for (const f of m.funcs.values()) deepFreezeFunc(f);
  for (const w of m.weights.values()) deepFreeze(w);
  return Object.freeze({
    ...m,
    funcs: frozenMap(m.funcs),
    weights: frozenMap(m.weights),
    entries: deepFreeze(m.entries),
    load: deepFreeze(m.load),
  });
}

// Values are frozen as they are made; a function is its lists of them.
function deepFreezeFunc(f: Func): void {
  if (Object.isFrozen(f)) return;
  deepFreeze(f.assume);
  for (const list of [f.params, f.results]) {
    for (const named of list) Object.freeze(named);
    Object.freeze(list);
  }
  Object.freeze(f);
}

/** The arena of one module: interns nodes, remembers names and origins. */
export class Graph {
  readonly #interned = new Map<string, Node>();
  readonly #names = new Map<Value, string>();
  readonly #origins = new Map<Node, readonly Origin[]>();
  readonly #sizes = new Map<Value, readonly Term[]>();
  #next = 0;
  #origin: readonly Origin[] = [];

  /** The node for these parts: an existing one when equal. `fresh` nodes (parameters, regions) are never shared. */
  node(
    op: Op,
    operands: readonly Value[],
    attrs: Attrs,
    types: readonly Type[],
    options: { region?: Region; fresh?: boolean } = {},
  ): Node {
    // A weight is of one name, and of other types before and after it is divided over ranks.
    const typed = op.traits.leaf ? types.map(printType).join() : "";
    const key = `${op.name}(${operands.map((v) => `${v.node.id}.${v.index}`).join()})${JSON.stringify(attrs)}${typed}`;
    const share = !options.fresh && !options.region;
    let node = share ? this.#interned.get(key) : undefined;
    if (!node) {
      const results: Value[] = [];
      const { region } = options;
      node = {
        id: this.#next++,
        graph: this,
        op,
        operands: frozen(operands),
        attrs: deepFreeze(structuredAttrs(attrs)),
        results,
        region: region && Object.freeze({ params: frozen(region.params), results: frozen(region.results) }),
        leaf: leafOf(op, attrs),
      };
      for (const [i, t] of types.entries()) results.push(new Value(node, i, deepFreeze(t)));
      Object.freeze(results);
      Object.freeze(node);
      if (share) this.#interned.set(key, node);
    }
    if (this.#origin.length) this.#origins.set(node, joinOrigins(this.#origins.get(node), this.#origin));
    return node;
  }

  /** Every node made inside `body` (new or met again) also came from `origin`. */
  from<T>(origin: readonly Origin[], body: () => T): T {
    const before = this.#origin;
    this.#origin = joinOrigins(before, origin);
    try {
      return body();
    } finally {
      this.#origin = before;
    }
  }

  /** Says what the axes of a leaf are in terms of a config; of a cache, the width of a row. The first that is said stays. */
  sized(v: Value, axes: readonly Term[]): Value {
    if (!this.#sizes.has(v)) this.#sizes.set(v, deepFreeze([...axes]));
    return v;
  }

  /** What `sized` was told of a value. */
  sizesOf(v: Value): readonly Term[] | undefined {
    return this.#sizes.get(v);
  }

  originsOf(node: Node): readonly Origin[] {
    return this.#origins.get(node) ?? [];
  }

  /** Gives a value a name for printing; the first name stays. Returns the value. */
  name(v: Value, name: string): Value {
    if (!this.#names.has(v)) this.#names.set(v, name);
    return v;
  }

  nameOf(v: Value): string | undefined {
    return this.#names.get(v);
  }
}

function leafOf({ traits }: Op, attrs: Attrs): Leaf | undefined {
  const name = String(attrs.name);
  if (traits.leaf !== "param") return traits.leaf && Object.freeze({ kind: traits.leaf, name });
  return Object.freeze({ kind: traits.leaf, name, ...(attrs.role === "ids" ? { role: attrs.role } : {}) });
}

/** The name of the weight that a value reads; undefined for one that is computed or passed. */
export const weightName = (v: Value | undefined): string | undefined =>
  v?.node.leaf?.kind === "weight" ? v.node.leaf.name : undefined;

/** Whether a value is a weight as it is stored. */
export const isWeight = (v: Value | undefined): boolean => v?.node.leaf?.kind === "weight";

// Nobody may teach all graphs something else.
Object.freeze(Value.prototype);
Object.freeze(Value);
Object.freeze(Graph.prototype);
Object.freeze(Graph);

/** Nodes reachable from `roots`, operands first; regions' nodes are visited through their own roots, not here. */
export function topological(roots: readonly Value[], stop: (v: Value) => boolean = () => false): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>();
  // By hand, not by recursion: a chain of values may be longer than the stack is deep.
  const open: { node: Node; reads: readonly Value[]; next: number }[] = [];
  const enter = (v: Value): void => {
    if (stop(v) || seen.has(v.node)) return;
    seen.add(v.node);
    open.push({ node: v.node, reads: readsOf(v.node), next: 0 });
  };
  for (const r of roots) {
    enter(r);
    for (let top = open.at(-1); top; top = open.at(-1)) {
      if (top.next < top.reads.length) enter(top.reads[top.next++]);
      else order.push(open.pop()!.node);
    }
  }
  return order;
}

/** Values a node reads, those its region reads of the surrounding function included. */
const readsOf = (node: Node): readonly Value[] => (node.region ? [...node.operands, ...captures(node.region)] : node.operands);

const captured = new WeakMap<Region, readonly Value[]>();

/** Values of the surrounding function that a region reads. */
export function captures(region: Region): readonly Value[] {
  const known = captured.get(region);
  if (known) return known;
  // What depends on a parameter is inside; everything below comes first, so one look at what a node reads decides.
  const inside = new Set<Node>(region.params.map((p) => p.node));
  const below = topological(region.results, (v) => inside.has(v.node));
  for (const node of below) if (readsOf(node).some((v) => inside.has(v.node))) inside.add(node);
  const found = new Set<Value>();
  const walked = new Set<Node>(region.params.map((p) => p.node));
  const open: { reads: readonly Value[]; next: number }[] = [{ reads: region.results, next: 0 }];
  for (let top = open.at(-1); top; top = open.at(-1)) {
    if (top.next === top.reads.length) {
      open.pop();
      continue;
    }
    const v = top.reads[top.next++];
    if (!inside.has(v.node)) found.add(v);
    else if (!walked.has(v.node)) {
      walked.add(v.node);
      open.push({ reads: readsOf(v.node), next: 0 });
    }
  }
  const list = [...found];
  Object.freeze(list);
  captured.set(region, list);
  return list;
}

/** Nodes inside a region, operands first: those that depend on its parameters. Captured values are not among them. */
export function bodyOf(region: Region): Node[] {
  const outer = new Set(captures(region));
  return topological(region.results, (v) => outer.has(v)).filter((n) => n.leaf?.kind !== "param");
}
