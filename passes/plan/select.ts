// Kernel selection: every node becomes launches of kernels the target's catalogue offers for its problem; views become
// strides; regions become loops over slices. What has no kernel is named, with the target's reason.
import {
  callOf,
  fixed,
  formats,
  reshape,
  scaleShape,
  split,
  storageBytes,
  times,
  weightName,
  type Block,
  type DType,
} from "../../ir/index.ts";
import { collectives, type ArgPlan, type CollectiveStep } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { bodyOf, topological, type Func, type Module, type Node, type Value } from "../../ir/graph.ts";
import type { CacheView, Catalogue, Chosen, Choice, View } from "../../ir/kernel/catalogue.ts";
import { mul, sizeOfDim, type Size } from "../../ir/size.ts";
import { asTensor, type CacheType, type Dim, type Type } from "../../ir/types.ts";
import { noKernel } from "../diagnostics.ts";
import { labelsOf } from "../site.ts";
import { contiguous, reshaped, type Buffer, type Slice } from "./view.ts";

/** A launch or loop over buffers that have no address yet. */
export type Draft =
  | {
      kind: "kernel";
      chosen: Chosen;
      args: DraftRef[];
      site: string;
      node: Node | null;
      /** Without a node: the value that is copied, or of the region that it is for. */
      of?: Value;
      ins: View[];
      outs: View[];
    }
  | { kind: "call"; function: string; layer: number; args: Record<string, DraftRef> }
  | { kind: "cases"; on: Size; cases: { most: number | null; steps: Draft[] }[] }
  | { kind: "slices"; over: "sequences"; steps: Draft[] }
  | { kind: "slices"; over: "experts"; offsets: DraftRef; count: number; steps: Draft[] }
  | (Omit<CollectiveStep, "args"> & { args: DraftRef[] });

/** A buffer with what its Ref will add. */
export interface DraftRef {
  buffer: Buffer;
  offset?: Size;
  rowBytes?: number;
  expertBytes?: number;
}

export interface DraftFunc {
  name: string;
  inputs: ArgPlan[];
  results: ArgPlan[];
  steps: Draft[];
}

/** `catalogueOf`: where functions take their kernels from, if not all from one. */
export function selectModule(
  m: Module,
  catalogue: Catalogue,
  catalogueOf: (f: Func) => Catalogue = () => catalogue,
  makerOf?: MakerOf,
): DraftFunc[] {
  return [...m.funcs.values()].map((f) => new Selection(m, f, catalogueOf(f), makerOf).run());
}

/** One catalogue for the decode step and what it calls, another for everything else: of `selectModule`. */
export const inSteps = (m: Module, steps: Catalogue, others: Catalogue): ((f: Func) => Catalogue) => {
  const step = m.entries.decode;
  return (f) => (f.name === step || f.name.startsWith(`${step}/`) ? steps : others);
};

/** Who made a node of a function, in words. */
export type MakerOf = (f: Func, n: Node) => string | undefined;

class Selection {
  readonly #m: Module;
  readonly #f: Func;
  readonly #catalogue: Catalogue;
  readonly #at = new Map<Value, Slice>();
  readonly #planned = new Map<Value, Slice>();
  #steps: Draft[] = [];

  readonly #makerOf: MakerOf | undefined;
  #labels: Map<Value, string> | undefined;

  constructor(m: Module, f: Func, catalogue: Catalogue, makerOf?: MakerOf) {
    this.#makerOf = makerOf;
    this.#m = m;
    this.#f = f;
    this.#catalogue = catalogue;
  }

  run(): DraftFunc {
    const inputs: ArgPlan[] = [];
    for (const p of this.#f.params) {
      const t = p.value.type;
      if (t.kind !== "tensor") continue;
      // Some arrive with the batch: the token of every row.
      const role = p.value.node.leaf?.kind === "param" ? p.value.node.leaf.role : undefined;
      this.#at.set(p.value, whole(t, role ? { batch: role } : { arg: p.name }));
      if (!role) inputs.push(argPlan(p.name, t));
    }
    const results: ArgPlan[] = [];
    const copies: { from: Value; to: Slice }[] = [];
    for (const r of this.#f.results) {
      if (r.value.type.kind !== "tensor") continue;
      results.push(argPlan(r.name, r.value.type));
      const to = whole(r.value.type, { arg: r.name });
      // A value made by a kernel is written where the caller wants it; anything else is copied at the end.
      if (produced(r.value) && !this.#planned.has(r.value)) this.#planned.set(r.value, to);
      else copies.push({ from: r.value, to });
    }
    for (const n of topological(this.#f.results.map((r) => r.value))) this.#node(n);
    for (const c of copies) this.#copy(c.from, this.#slice(c.from), c.to, "result");
    return { name: this.#f.name, inputs, results, steps: this.#steps };
  }

  /** Where a value lies; made on demand for weights. */
  #slice(v: Value): Slice {
    const known = this.#at.get(v);
    if (known) return known;
    const weight = weightName(v);
    if (weight === undefined) throw new RangeError(`value of ${v.node.op.name} has no place in @${this.#f.name}`);
    const t = asTensor(v.type);
    const s = whole(t, { weight, part: "data" });
    if (s.scales) s.scales = { ...s.scales, place: { weight, part: "scales" } };
    this.#at.set(v, s);
    return s;
  }

  #label(v: Value): string | undefined {
    this.#labels ??= labelsOf(this.#f);
    return this.#labels.get(v);
  }

  /** A fresh arena buffer (and its scales) for a value, unless a place was planned. */
  #make(v: Value): Slice {
    const s = this.#planned.get(v) ?? whole(asTensor(v.type), { arena: true }, this.#label(v));
    this.#at.set(v, s);
    return s;
  }

  #node(n: Node): void {
    if (n.leaf) return;
    if (reshape.made(n)) return this.#reshape(n);
    if (split.made(n)) return this.#split(n, n.attrs);
    const called = callOf(n);
    if (called) return this.#call(n, called);
    if (n.op.traits.meets) return this.#meet(n);
    if (n.op.traits.region === "sequences") return this.#sequences(n);
    if (n.op.traits.region === "experts") return this.#experts(n);
    const outs = n.results.filter((r) => r.type.kind === "tensor").map((r) => this.#make(r));
    const ins = n.operands.filter((o) => o.type.kind === "tensor").map((o) => this.#slice(o));
    const caches = n.operands.flatMap((o) => (o.type.kind === "cache" ? [this.#cacheView(o.type)] : []));
    const site = {
      op: n.op.name,
      attrs: n.attrs,
      ins: ins.map(viewOf),
      outs: outs.map(viewOf),
      ...(caches.length ? { caches } : {}),
    };
    this.#launch(this.#catalogue.choose(site), ins, outs, n.op.name, n);
  }

  #cacheView = ({ name, width }: CacheType): CacheView => ({ name, width, pageRows: this.#catalogue.pageRows });

  #launch(choice: Choice | { reason: string }, ins: Slice[], outs: Slice[], what: string, node: Node | null, of?: Value): void {
    if ("reason" in choice) {
      const label = node?.results[0] && (labelsOf(this.#f).get(node.results[0]) ?? node.op.name);
      throw new DiagnosticError(
        noKernel({
          op: what,
          target: this.#catalogue.target,
          reason: choice.reason,
          site: `${this.#f.name}${label === undefined ? "" : `/${label}`}`,
          maker: node ? this.#makerOf?.(this.#f, node) : undefined,
        }),
      );
    }
    const scratch = new Map<string, Buffer>();
    if (!("on" in choice)) return this.#launches(choice, ins, outs, scratch, what, node, of);
    const cases = choice.cases.map((c) => ({
      most: c.most,
      steps: this.#inside(() => this.#launches(c.launches, ins, outs, scratch, what, node, of)),
    }));
    this.#steps.push({ kind: "cases", on: choice.on, cases });
  }

  #launches(
    chosen: readonly Chosen[],
    ins: Slice[],
    outs: Slice[],
    scratch: Map<string, Buffer>,
    what: string,
    node: Node | null,
    of?: Value,
  ): void {
    for (const c of chosen) {
      const args = c.args.map((a): DraftRef => {
        if ("batch" in a) return { buffer: { place: { batch: a.batch }, dtype: "i32", shape: [] } };
        if ("cache" in a) return { buffer: { place: { cache: a.cache }, dtype: "f32", shape: [] } };
        if ("scratch" in a)
          return {
            buffer: entry(scratch, a.scratch, () => ({
              place: { arena: true },
              dtype: a.dtype,
              shape: a.shape,
              name: `${node ? (this.#label(node.results[0]) ?? what) : what}: ${a.scratch}`,
            })),
          };
        return refOf("in" in a ? ins[a.in] : outs[a.out], a.part);
      });
      this.#steps.push({
        kind: "kernel",
        chosen: c,
        args,
        site: `${this.#f.name}/${node ? (node.graph.nameOf(node.results[0]) ?? what) : what}`,
        node,
        ...(of ? { of } : {}),
        ins: ins.map(viewOf),
        outs: outs.map(viewOf),
      });
    }
  }

  /** Copies a value, which lies as `from` says. */
  #copy(of: Value, from: Slice, to: Slice, what: string): void {
    this.#launch(this.#catalogue.copy(viewOf(from), viewOf(to)), [from], [to], `copy (${what})`, null, of);
  }

  #reshape(n: Node): void {
    const from = this.#slice(n.operands[0]);
    const t = asTensor(n.results[0].type);
    const strides = reshaped(from.dims, from.strides, t.dims);
    if (strides) return void this.#at.set(n.results[0], { ...from, dims: t.dims, strides });
    const whole = this.#make(n.results[0]);
    const middle = { ...whole, dims: from.dims, strides: contiguous(from.dims) };
    this.#copy(n.operands[0], from, middle, "reshape");
  }

  #split(n: Node, { at, axis: fromLast }: { at: number; axis: number }): void {
    const from = this.#slice(n.operands[0]);
    const axis = from.dims.length + fromLast;
    for (const [i, r] of n.results.entries()) {
      const half = { ...from, dims: asTensor(r.type).dims, offset: from.offset + (i === 0 ? 0 : at * fixed(from.strides[axis])) };
      if ((half.offset * storageBytes[half.buffer.dtype]) % (this.#catalogue.align ?? 1) === 0) this.#at.set(r, half);
      else this.#copy(r, half, this.#make(r), "split");
    }
  }

  /** Ranks take part with whole buffers. */
  #meet(n: Node): void {
    const ins = n.operands.map((o) => {
      const from = this.#slice(o);
      if (isWhole(from)) return from;
      const to = whole(asTensor(o.type), { arena: true });
      this.#copy(o, from, to, n.op.name);
      return to;
    });
    const outs = n.results.map((r) => this.#make(r));
    const op = collectives.find((c) => c === n.op.name);
    const [given, made] = [asTensor(n.operands[0].type), asTensor(n.results[0].type)];
    const site = `${this.#f.name}/${n.graph.nameOf(n.results[0]) ?? n.op.name}`;
    if (!op)
      throw new DiagnosticError(
        noKernel({ op: n.op.name, target: this.#catalogue.target, reason: "no transport has it yet", site }),
      );
    const runs = op === "reduce_scatter" ? made : given;
    const cut =
      runs.dims.length +
      (typeof n.attrs.axis === "number" ? n.attrs.axis : op === "pick_max" || op === "own_experts" ? -1 : -runs.dims.length);
    const size = (dims: readonly Dim[]): Size => mul(...dims.map(sizeOfDim));
    this.#steps.push({
      kind: "collective",
      op,
      dtype: argDType(given.dtype),
      args: [...ins, ...outs].map((s) => refOf(s)),
      outer: size(runs.dims.slice(0, cut)),
      inner: size(runs.dims.slice(cut)),
      ...(op === "own_experts" ? { experts: Number(n.attrs.experts), width: Number(n.attrs.width) } : {}),
      site,
    });
  }

  #call(n: Node, { func, layer }: { func: string; layer: number }): void {
    const callee = this.#m.funcs.get(func)!;
    const args: Record<string, DraftRef> = {};
    for (const [i, p] of callee.params.entries()) {
      if (p.value.type.kind !== "tensor") continue;
      let from = this.#slice(n.operands[i]);
      if (!isWhole(from)) {
        const to = whole(p.value.type, { arena: true }, `${p.name} of ${callee.name}`);
        this.#copy(n.operands[i], from, to, "argument");
        from = to;
      }
      args[p.name] = refOf(from);
    }
    for (const [i, r] of callee.results.entries())
      if (r.value.type.kind === "tensor") args[r.name] = refOf(this.#make(n.results[i]));
    this.#steps.push({ kind: "call", function: callee.name, layer, args });
  }

  /** Steps of a region, collected apart. */
  #inside(body: () => void): Draft[] {
    const outer = this.#steps;
    this.#steps = [];
    body();
    const steps = this.#steps;
    this.#steps = outer;
    return steps;
  }

  #region(n: Node, out: Slice): void {
    const result = n.region!.results[0];
    const rows: Slice = { ...out, dims: asTensor(result.type).dims, rows: true };
    if (produced(result)) this.#planned.set(result, rows);
    for (const inner of bodyOf(n.region!)) this.#node(inner);
    if (!produced(result)) this.#copy(result, this.#slice(result), rows, n.op.name);
  }

  #sequences(n: Node): void {
    const out = this.#make(n.results[0]);
    for (const o of n.operands) if (o.type.kind === "tensor") this.#slice(o);
    const steps = this.#inside(() => {
      for (const [i, p] of n.region!.params.entries()) {
        const o = n.operands[i + 1];
        if (o.type.kind !== "cache") {
          this.#at.set(p, { ...this.#slice(o), dims: asTensor(p.type).dims, rows: true });
          continue;
        }
        const rows = this.#make(p);
        this.#launch(
          this.#catalogue.choose({
            op: "cache_rows",
            attrs: {},
            ins: [],
            outs: [viewOf(rows)],
            caches: [this.#cacheView(o.type)],
          }),
          [],
          [rows],
          "cache_rows",
          null,
          o,
        );
      }
      this.#region(n, out);
    });
    this.#steps.push({ kind: "slices", over: "sequences", steps });
  }

  /** Undispatched experts: sort, gather, one expert after the other, combine. */
  #experts(n: Node): void {
    const [indices, weights, x, ...stacked] = n.operands;
    const k = fixed(asTensor(indices.type).dims[1]);
    const count = fixed(asTensor(stacked[0].type).dims[0]);
    const rowCount = times(asTensor(x.type).dims[0], k);
    const result = asTensor(n.region!.results[0].type);
    const order = whole({ kind: "tensor", dims: [rowCount], dtype: "i32" }, { arena: true }, "order");
    const offsets = whole({ kind: "tensor", dims: [count + 1], dtype: "i32" }, { arena: true }, "offsets");
    const places = whole({ kind: "tensor", dims: [rowCount], dtype: "i32" }, { arena: true }, "places");
    const xs = whole(
      { kind: "tensor", dims: [rowCount, ...asTensor(x.type).dims.slice(1)], dtype: asTensor(x.type).dtype },
      { arena: true },
      "rows of x",
    );
    const ys = whole(
      { kind: "tensor", dims: [rowCount, ...result.dims.slice(1)], dtype: result.dtype },
      { arena: true },
      "rows of y",
    );
    const launch = (op: string, attrs: Record<string, number>, ins: Slice[], outs: Slice[]): void =>
      this.#launch(
        this.#catalogue.choose({ op, attrs, ins: ins.map(viewOf), outs: outs.map(viewOf) }),
        ins,
        outs,
        op,
        null,
        n.results[0],
      );
    launch("sort_experts", { experts: count }, [this.#slice(indices)], [order, offsets, places]);
    launch("gather_rows", { per: k }, [this.#slice(x), order], [xs]);
    for (const s of stacked) this.#slice(s);
    const steps = this.#inside(() => {
      for (const [i, p] of n.region!.params.entries()) {
        if (i === 0) {
          this.#at.set(p, { ...xs, dims: asTensor(p.type).dims, rows: true });
          continue;
        }
        const stack = this.#slice(stacked[i - 1]);
        const per = fixed(stack.strides[0]);
        const blocks = stack.scaled ? scaleDims(stack.dims.slice(1), stack.scaled).reduce<number>((a, d) => a * fixed(d), 1) : 0;
        this.#at.set(p, {
          ...stack,
          dims: stack.dims.slice(1),
          strides: stack.strides.slice(1),
          expert: { data: per, scales: blocks },
        });
      }
      this.#region(n, ys);
    });
    this.#steps.push({ kind: "slices", over: "experts", offsets: refOf(offsets), count, steps });
    launch("combine", {}, [ys, places, this.#slice(weights)], [this.#make(n.results[0])]);
  }
}

/** Made by a kernel of its own, so that its place can be chosen. */
const produced = (v: Value): boolean => !v.node.leaf && v.node.op.traits.view !== "strides";

/** What a map has under a key, made on first use. */
function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}

const isWhole = (s: Slice): boolean =>
  s.offset === 0 && !s.rows && JSON.stringify(s.strides) === JSON.stringify(contiguous(s.dims));

/** Shape of the scales of a scaled tensor. */
const scaleDims = (dims: readonly Dim[], block: Block): Dim[] => scaleShape(dims, block, (d, of) => Math.ceil(fixed(d) / of));

function whole(t: Type & { kind: "tensor" }, place: Buffer["place"], name?: string): Slice {
  const { storage, scaled: format } = formats[t.dtype];
  const scaled = format?.block;
  return {
    buffer: { place, dtype: storage, shape: t.dims.map(sizeOfDim), ...(name === undefined ? {} : { name }) },
    ...(scaled
      ? {
          scaled,
          scales: {
            place,
            dtype: "f32" as const,
            shape: scaleDims(t.dims, scaled).map(sizeOfDim),
            ...(name === undefined ? {} : { name: `scales of ${name}` }),
          },
        }
      : {}),
    offset: 0,
    dims: t.dims,
    strides: contiguous(t.dims),
  };
}

function argDType(d: DType): ArgPlan["dtype"] {
  const { storage } = formats[d];
  if (storage === "e4m3") throw new RangeError(`no function takes or gives ${d}`);
  return storage;
}

const argPlan = (name: string, t: Type & { kind: "tensor" }): ArgPlan => ({
  name,
  dtype: argDType(t.dtype),
  shape: t.dims.map(sizeOfDim),
});

const viewOf = (s: Slice): View => ({
  dtype: s.buffer.dtype,
  ...(s.scaled ? { scaled: s.scaled } : {}),
  shape: s.dims.map(sizeOfDim),
  strides: [...s.strides],
});

function refOf(s: Slice, part?: "scales"): DraftRef {
  const b = part === "scales" ? s.scales! : s.buffer;
  const size = storageBytes[b.dtype];
  const perRow = (): number =>
    part === "scales"
      ? scaleDims(s.dims, s.scaled!)
          .slice(1)
          .reduce<number>((a, d) => a * fixed(d), 1)
      : fixed(s.strides[0]);
  return {
    buffer: b,
    ...(s.offset && part !== "scales" ? { offset: s.offset * size } : {}),
    ...(s.rows ? { rowBytes: perRow() * size } : {}),
    ...(s.expert ? { expertBytes: (part === "scales" ? s.expert.scales : s.expert.data) * size } : {}),
  };
}
