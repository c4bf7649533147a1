// Where every field of a kernel's problem came from. A family makes its problem of a site: axes, strides, attributes, pages. It is asked
// again with one quantity of the config at another value, everything that is made of it following (ir/term.ts): what differs in the
// problem then is of that quantity. So a field is what makes it, and never what happens to have its number.
import { PAGE_ROWS, type TargetBackend } from "../../codegen/backend.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { partsOf } from "../../ir/fused.ts";
import type { AttrKind, AttrValue, Attrs } from "../../ir/attr.ts";
import type { Node, Value } from "../../ir/graph.ts";
import type { CacheView, Problem, Site, View } from "../../ir/kernel/catalogue.ts";
import {
  factorsOf,
  printTerm,
  productOf,
  quantitiesOf,
  summandsOf,
  sumOf,
  valueOf,
  type Quantities,
  type Term,
} from "../../ir/term.ts";
import type { Terms } from "../../ir/terms.ts";
import { sizeOfDim, type Size } from "../../ir/size.ts";
import { partsOf as dimParts, type Dim } from "../../ir/types.ts";
import { contiguous, reshaped } from "../../passes/plan/view.ts";
import type { Draft } from "../../passes/plan/select.ts";

/** Where one number, word or flag of a problem came from. */
export interface FieldOrigin {
  value: number | string | boolean;
  /** "kv_lora_rank + qk_rope_head_dim", "rows of a page of the cache", "the kernel's schedule": in words that name the keys. */
  from: string;
  keys: readonly string[];
}
/** By path in the problem: "d", "x[1]", "schedule.rows". */
export type Fields = Readonly<Record<string, FieldOrigin>>;

/** What a config says of quantities and settings: names for people, and keys. */
export interface Naming {
  quantities: Quantities;
  /** Config keys of a quantity; its name in terms where there is just one. */
  keysOf(quantity: string): readonly string[];
  /** Where an attribute of a node came from. */
  setting(attr: string, node: Node): { from: string; keys: readonly string[] } | undefined;
}

type Leaf = number | string | boolean;

/** The leaves of a problem by path. */
export function leavesOf(p: unknown, path = "", out = new Map<string, Leaf>()): Map<string, Leaf> {
  if (Array.isArray(p)) p.forEach((x, i) => leavesOf(x, `${path}[${i}]`, out));
  else if (typeof p === "object" && p !== null)
    for (const [k, v] of Object.entries(p)) leavesOf(v, path === "" ? k : `${path}.${k}`, out);
  else if (p !== undefined) out.set(path, p as Leaf);
  return out;
}

/** A site whose sizes can be asked for at other values. */
interface Movable {
  at(q: Quantities): Site;
  /** What the site is of, perhaps in the graph of a fused op, and the node that the plan launches. */
  node: Node;
  whole: Node;
  /** Terms that a field may be, as it is read off the site. */
  terms: Term[];
}

export class FieldLog {
  readonly #known = new Map<string, Fields>();
  readonly #byNode = new Map<Node, Map<string, Fields>>();
  readonly #terms: Terms;
  readonly #naming: Naming;
  readonly #target: Pick<TargetBackend, "problemsOf">;
  /** What a parameter of a region stands for; one of a fused op's graph stands for a value of the graph around it. */
  readonly #outer: ReadonlyMap<Value, Value>;
  readonly #around: FieldLog;

  constructor(
    terms: Terms,
    naming: Naming,
    target: Pick<TargetBackend, "problemsOf">,
    outer: ReadonlyMap<Value, Value>,
    around?: FieldLog,
  ) {
    [this.#terms, this.#naming, this.#target, this.#outer] = [terms, naming, target, outer];
    this.#around = around ?? this;
  }

  /** The fields of a launch's problem. */
  of(d: Draft & { kind: "kernel" }): Fields {
    const { family, problem } = d.chosen;
    const { schedule, tile, ...own } = problem as { schedule?: unknown; tile?: unknown };
    const chosen = { ...(schedule === undefined ? {} : { schedule }), ...(tile === undefined ? {} : { tile }) };
    const before = this.#seen(d, own);
    let fields = before.get();
    if (!fields) {
      const movable = this.#movable(d);
      const settings = movable && Object.keys(movable.whole.attrs).map((a) => this.#naming.setting(a, movable.whole)?.from);
      // Prefill, extend and decode have the same sites: what is known of one is known of all.
      const key = JSON.stringify([family, own, movable?.at(this.#naming.quantities), movable?.terms, settings]);
      fields = this.#known.get(key) ?? (movable ? this.#traced(family, own, movable) : untraced(own));
      this.#known.set(key, fields);
      before.set(fields);
    }
    return { ...fields, ...choices(chosen) };
  }

  /** What was found for a node before: kernels that differ in their schedule alone have the same problem. */
  #seen({ node, of, chosen }: Draft & { kind: "kernel" }, own: object): { get(): Fields | undefined; set(f: Fields): void } {
    const at = node ?? of?.node;
    if (!at) return { get: () => undefined, set: () => undefined };
    const byProblem = this.#byNode.get(at) ?? new Map<string, Fields>();
    this.#byNode.set(at, byProblem);
    const key = JSON.stringify([chosen.family, own, chosen.part, node ? null : of?.index]);
    return { get: () => byProblem.get(key), set: (f) => void byProblem.set(key, f) };
  }

  #traced(family: string, problem: Problem, site: Movable): Fields {
    const { quantities: q } = this.#naming;
    const base = site.at(q);
    const index = this.#target.problemsOf(family, base).findIndex((p) => JSON.stringify(p) === JSON.stringify(problem));
    if (index < 0) return untraced(problem);
    const ask = (s: Site): ReadonlyMap<string, Leaf> | undefined => {
      try {
        const found = this.#target.problemsOf(family, s)[index];
        return found && leavesOf(found);
      } catch (e) {
        // A family may count on sizes that fit each other; where these do not, it says nothing.
        if (e instanceof RangeError || e instanceof TypeError || e instanceof DiagnosticError) return undefined;
        throw e;
      }
    };
    const leaves = leavesOf(problem);
    const of = new Map<string, Set<string>>([...leaves.keys()].map((k) => [k, new Set()]));
    const moved: { q: Quantities; leaves: ReadonlyMap<string, Leaf> }[] = [];
    const refused: string[] = [];
    for (const name of new Set(site.terms.flatMap(quantitiesOf))) {
      const answer = steps(q[name])
        .map((v) => ({ ...q, [name]: v }))
        .map((at) => ({ q: at, leaves: ask(site.at(at)) }))
        .find((a) => a.leaves !== undefined);
      if (!answer?.leaves) {
        refused.push(name);
        continue;
      }
      moved.push({ q: answer.q, leaves: answer.leaves });
      for (const [k, v] of leaves) if (answer.leaves.get(k) !== v) of.get(k)!.add(name);
    }
    const others = this.#settings(base, site, leaves, ask);
    return Object.fromEntries(
      [...leaves].map(([k, value]): [string, FieldOrigin] => {
        const made = [...of.get(k)!];
        if (made.length) return [k, { value, ...this.#ofQuantities(k, value, made, site.terms, moved) }];
        const other = others.get(k);
        if (other) return [k, { value, ...other }];
        if (typeof value === "number" && refused.length && value > 1)
          return [
            k,
            { value, from: `a size that the kernel is written for: ${this.#names(refused)}`, keys: this.#keys(refused) },
          ];
        return [k, { value, from: inWords(value), keys: [] }];
      }),
    );
  }

  /** What attributes and pages make of a problem. */
  #settings(
    base: Site,
    { node, whole }: Movable,
    leaves: ReadonlyMap<string, Leaf>,
    ask: (s: Site) => ReadonlyMap<string, Leaf> | undefined,
  ): Map<string, Omit<FieldOrigin, "value">> {
    const out = new Map<string, Omit<FieldOrigin, "value">>();
    const note = (site: Site, from: Omit<FieldOrigin, "value">): void => {
      const found = ask(site);
      if (found) for (const [k, v] of leaves) if (found.get(k) !== v && !out.has(k)) out.set(k, from);
    };
    for (const [name, value] of Object.entries(base.attrs)) {
      const from = this.#naming.setting(name, whole) ?? { from: `attribute ${name} of ${base.op}`, keys: [] };
      for (const other of otherValues(value, node.op.attrs[name]))
        note({ ...base, attrs: { ...base.attrs, [name]: other } }, from);
    }
    if (base.caches)
      note(
        { ...base, caches: base.caches.map((c) => ({ ...c, pageRows: 2 * c.pageRows })) },
        { from: "rows of a page of the cache", keys: [] },
      );
    return out;
  }

  #keys = (names: readonly string[]): string[] => [...new Set(names.flatMap((n) => this.#naming.keysOf(n)))];
  #names = (names: readonly string[]): string => names.map((n) => this.#name(n)).join(", ");
  #name = (quantity: string): string => {
    const keys = this.#naming.keysOf(quantity);
    return keys.length === 1 ? keys[0] : quantity;
  };

  /** The term of the site that a field is, at every value that was tried; else the quantities that make it. */
  #ofQuantities(
    path: string,
    value: Leaf,
    made: readonly string[],
    terms: readonly Term[],
    moved: readonly { q: Quantities; leaves: ReadonlyMap<string, Leaf> }[],
  ): Omit<FieldOrigin, "value"> {
    const forms: readonly [(n: number) => number, (t: string) => string][] = [
      [(n) => n, (t) => t],
      [(n) => Math.ceil(n / 128), (t) => `blocks of 128 in ${t}`],
      [(n) => n / 2, (t) => `half of ${t}`],
      [(n) => 2 * n, (t) => `2 * (${t})`],
    ];
    for (const [form, words] of forms)
      for (const t of terms) {
        const is = (q: Quantities, v: Leaf | undefined): boolean => form(valueOf(t, q)) === v;
        if (!is(this.#naming.quantities, value) || !moved.every((m) => is(m.q, m.leaves.get(path)))) continue;
        return { from: words(printTerm(t, this.#name)), keys: this.#keys(quantitiesOf(t)) };
      }
    return { from: `made of ${this.#names(made)}`, keys: this.#keys(made) };
  }

  // --- Sites at other sizes ---

  #movable(d: Draft & { kind: "kernel" }): Movable | undefined {
    const { node, of, chosen } = d;
    if (!node && of?.type.kind === "cache") return this.#cached(of, d);
    if (!node) return of && !of.node.leaf ? this.#copied(of, d) : undefined;
    if (!chosen.part) return this.#siteOf(node, d.ins, d.outs);
    return this.#partOf(node, chosen.part);
  }

  #copied(of: Value, { ins, outs }: Draft & { kind: "kernel" }): Movable | undefined {
    const [from, to] = [ins[0], outs[0]];
    if (ins.length !== 1 || !to || JSON.stringify(this.#view(of, from, this.#naming.quantities)) !== JSON.stringify(from))
      return undefined;
    return {
      node: of.node,
      whole: of.node,
      terms: this.#candidates([of]),
      at: (q) => ({
        op: "copy",
        attrs: {},
        ins: [this.#view(of, from, q)],
        outs: [{ ...to, ...packedAt(this.#dims(of, q)) }],
      }),
    };
  }

  /** Rows of a cache, copied out of its pages. */
  #cached(of: Value, { outs }: Draft & { kind: "kernel" }): Movable {
    const width = (q: Quantities): number => valueOf(this.#terms.axes(of)[0], q);
    const rows = (q: Quantities): View => {
      const dims = [...outs[0].shape.slice(0, -1), width(q)];
      return { ...outs[0], shape: dims, strides: [width(q), 1] };
    };
    return {
      node: of.node,
      whole: of.node,
      terms: this.#candidates([of]),
      at: (q) => ({ op: "cache_rows", attrs: {}, ins: [], outs: [rows(q)], caches: [this.#cache(of, q)] }),
    };
  }

  #siteOf(node: Node, ins: readonly View[], outs: readonly View[]): Movable | undefined {
    const tensors = (vs: readonly Value[]): Value[] => vs.filter((v) => v.type.kind === "tensor");
    const [from, to] = [tensors(node.operands), tensors(node.results)];
    if (from.length !== ins.length || to.length !== outs.length) return undefined;
    const caches = node.operands.filter((o) => o.type.kind === "cache");
    const sizes = Object.values(attributeTerms(node, (v) => this.#terms.axes(v)));
    return {
      node,
      whole: node,
      terms: [...this.#candidates([...from, ...to, ...caches]), ...sizes.filter((t) => known(t, node, this.#naming.quantities))],
      at: (q) => ({
        op: node.op.name,
        attrs: this.#attrs(node.attrs, node, (v) => this.#terms.axes(v), q),
        ins: from.map((v, i) => this.#view(v, ins[i], q)),
        outs: to.map((v, i) => this.#view(v, outs[i], q)),
        ...(caches.length ? { caches: caches.map((c) => this.#cache(c, q)) } : {}),
      }),
    };
  }

  #cache = (c: Value, q: Quantities): CacheView => {
    if (c.type.kind !== "cache") throw new TypeError("no cache");
    return { name: c.type.name, width: valueOf(this.#terms.axes(c)[0], q), pageRows: PAGE_ROWS };
  };

  /** A part of a fused op: its node in the op's own graph, at operands packed as scratch is. */
  #partOf(node: Node, part: Site): Movable | undefined {
    const { terms, graph, outer } = this.#inside(node);
    const q0 = this.#naming.quantities;
    const same = (s: Site): boolean =>
      s.op === part.op &&
      JSON.stringify(s.attrs) === JSON.stringify(part.attrs) &&
      JSON.stringify([...s.ins, ...s.outs].map((v) => v.shape)) ===
        JSON.stringify([...part.ins, ...part.outs].map((v) => v.shape));
    const inner = new FieldLog(terms, this.#naming, this.#target, outer, this);
    for (const n of graph) {
      const found = inner.#siteOf(n, part.ins, part.outs);
      if (found && same(found.at(q0))) return { ...found, whole: node };
      if (n.op.of) {
        const deeper = inner.#partOf(n, part);
        if (deeper) return { ...deeper, whole: node };
      }
    }
    return undefined;
  }

  #inside(node: Node): { terms: Terms; graph: readonly Node[]; outer: ReadonlyMap<Value, Value> } {
    const { nodes, params } = partsOf(
      node.op,
      node.operands.map((o) => o.type),
      node.attrs,
    );
    const axes = node.operands.map((o) => this.#terms.axes(o));
    return { terms: this.#terms.within(params, axes), graph: nodes, outer: new Map(params.map((p, i) => [p, node.operands[i]])) };
  }

  #dims(v: Value, q: Quantities): Dim[] {
    const plain = v.type.kind === "tensor" ? v.type.dims : [];
    return this.#terms.axes(v).map((t, i) => {
      const { symbol } = dimParts(plain[i]);
      if (symbol === "") return valueOf(t, q);
      const times = valueOf(t, { ...q, [symbol]: 1 });
      return times === 1 ? symbol : `${times}${symbol}`;
    });
  }

  /** A value as it lies: packed where it was, else by the strides of what it is a view of. */
  #view(v: Value, as: View, q: Quantities): View {
    const dims = this.#dims(v, q);
    const plain = this.#dims(v, this.#naming.quantities);
    const packed = JSON.stringify(as.strides) === JSON.stringify(contiguous(plain));
    const strides = packed ? undefined : this.#strides(v, q);
    return { ...as, shape: dims.map(sizeOfDim), strides: [...(strides ?? contiguous(dims))] };
  }

  #strides(v: Value, q: Quantities): readonly Size[] | undefined {
    const outer = this.#outer.get(v);
    if (outer) {
      // Rows of a cache are copied before a region reads them.
      if (outer.type.kind === "cache") return undefined;
      const around = this.#around;
      const whole: readonly Size[] = around.#strides(outer, q) ?? contiguous(around.#dims(outer, q));
      return whole.slice(whole.length - this.#dims(v, q).length);
    }
    const { op, operands } = v.node;
    if (op.traits.view !== "strides" || operands.length !== 1) return undefined;
    const from = this.#strides(operands[0], q) ?? contiguous(this.#dims(operands[0], q));
    if (op.name === "split") return from;
    return reshaped(this.#dims(operands[0], q), from, this.#dims(v, q)) ?? undefined;
  }

  /** Attributes that are sizes follow them; the rest stay. */
  #attrs(attrs: Attrs, n: Node, axes: (v: Value) => readonly Term[], q: Quantities): Attrs {
    const sizes = attributeTerms(n, axes);
    return Object.fromEntries(
      Object.entries(attrs).map(([k, v]) => {
        const term = sizes[k];
        const known = term !== undefined && valueOf(term, this.#naming.quantities) === v;
        return [k, known ? valueOf(term, q) : v];
      }),
    );
  }

  /** What a field may be: an axis, a run of axes, the stride of a row. */
  #candidates(values: readonly Value[]): Term[] {
    const out = new Map<string, Term>();
    const add = (t: Term): void => void out.set(JSON.stringify(t), t);
    for (const v of values) {
      const axes = this.#terms.axes(v);
      for (const t of axes) for (const f of [t, ...factorsOf(t)]) add(withoutSymbols(f));
      for (let i = 0; i < axes.length; i++)
        for (let j = i + 2; j <= axes.length; j++) add(withoutSymbols(productOf(axes.slice(i, j))));
      for (let from: Value | undefined = this.#outer.get(v) ?? v; from && from.node.op.traits.view === "strides";) {
        from = from.node.operands[0];
        const whole = this.#terms.axes(from);
        for (let i = 1; i < whole.length; i++) add(withoutSymbols(productOf(whole.slice(i))));
        from = this.#outer.get(from) ?? from;
      }
    }
    return [...out.values()];
  }
}

const withoutSymbols = (t: Term): Term => productOf(factorsOf(t).filter((f) => !(typeof f === "object" && "symbol" in f)));

const packedAt = (dims: readonly Dim[]): Pick<View, "shape" | "strides"> => ({
  shape: dims.map(sizeOfDim),
  strides: contiguous(dims),
});

/** Values to try in place of a quantity: multiples first, for what divided it then divides still. */
const steps = (v: number): number[] => [
  ...new Set([2 * v, 3 * v, 4 * v, v + 128, v + 64, v + 8, v + 1, v / 2].filter((n) => Number.isInteger(n) && n > 0 && n !== v)),
];

/** Whether an attribute of a node is what a term says. */
const known = (t: Term, { attrs }: Node, q: Quantities): boolean => Object.values(attrs).includes(valueOf(t, q));

/** Attributes that are sizes, by what they are. */
function attributeTerms(n: Node, axes: (v: Value) => readonly Term[]): Readonly<Record<string, Term>> {
  const { op, operands } = n;
  const slots = (v: Value | undefined): Term | undefined => (v ? productOf(factorsOf(axes(v)[0]).slice(1)) : undefined);
  switch (op.name) {
    case "gather_rows":
      return { per: slots(operands[1]) ?? { given: NaN } };
    case "sort_experts":
      return { experts: sumOf(summandsOf(axes(n.results[1])[0]).filter((t) => t !== 1)) };
    default:
      return { topk: "topk", groups: "groups", kept: "kept", shared: "shared" };
  }
}

/** Other values of an attribute, of its kind. */
function otherValues(v: AttrValue, kind: AttrKind | undefined): AttrValue[] {
  if (typeof v === "boolean") return [!v];
  if (typeof v === "number") return kind?.kind === "int" ? [2 * v, v + 1, v + 2] : [1.5 * v + 0.25];
  if (typeof v === "string") return (kind?.choices ?? []).filter((c) => c !== v);
  return [];
}

/** What a target or a search decides. */
const choices = (p: object): Fields =>
  Object.fromEntries(
    [...leavesOf(p)].map(([k, value]) => [
      k,
      {
        value,
        from: k.startsWith("schedule") ? "the kernel's schedule: dsc why OUT kernels SITE" : "a tile that suits the target",
        keys: [],
      },
    ]),
  );

/** What is said of a leaf that no quantity and no setting moves. */
const inWords = (v: Leaf): string =>
  typeof v !== "string"
    ? "the shape of the operands"
    : ["f32", "bf16", "e4m3", "i32"].includes(v)
      ? "dtypes of the operands"
      : "a size that is known at run time, or the op's name";

const untraced = (p: Problem): Fields =>
  Object.fromEntries([...leavesOf(p)].map(([k, value]) => [k, { value, from: "the site, as a whole", keys: [] }]));
