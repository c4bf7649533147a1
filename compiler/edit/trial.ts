// One trial of a kernel: all launches of a node it serves at one step, the buffers they bind with what lies in them, and what
// the results should be by the node's op. Where a launch serves no op (a copy), or the operands are too large for a reference
// in float64, results are those of the kernel as it was compiled.
import { isScaled, scaleShape } from "../../ir/dtype.ts";
import { partsOf } from "../../ir/fused.ts";
import { flopsOf } from "../../ir/cost.ts";
import type { Manifest } from "../../ir/artifact.ts";
import { isWeight, type Node } from "../../ir/graph.ts";
import type { Tensor } from "../../ir/interpret.ts";
import type { Arg, View } from "../../ir/kernel/catalogue.ts";
import { evaluate } from "../../ir/size.ts";
import type { Filling } from "../../passes/instance.ts";
import { Elements, Layout, widths } from "./layout.ts";
import { bitsOf, e4m3Of, scaleOf, valueOf, type Stored } from "./numbers.ts";
import type { Kernel, KernelSite } from "./sites.ts";
import type { Step } from "./sizes.ts";
import { envOf, referenceOf, Values, type Given, type Weights } from "./values.ts";

/** What memory begins as: NaN as f32, bf16 and e4m3, -1 as i32. */
export const BLANK = 0xff;

/** A buffer of a trial. */
export interface TrialBuffer {
  name: string;
  dtype: Stored;
  /** Before the first launch. */
  data: Uint8Array<ArrayBuffer>;
  /** The number by which its values were made (numbers.ts), or those of scales. */
  drawn?: { buffer: number; scales: boolean };
  /** Elements that a result has here. */
  result?: Result;
}

/** A result: where its elements lie, and what they should be. */
export interface Result {
  name: string;
  layout: Layout;
  /** Absent where the kernel as it was compiled says it. */
  want?: Float64Array;
  kind: "numbers" | "codes" | "scales" | "whole";
}

export interface TrialLaunch {
  kernel: string;
  /** Buffers in the kernel's order. */
  binds: readonly TrialBuffer[];
  dims: readonly number[];
}

export interface Trial {
  /** "norm_quant: 3 rows of 2 sequences, 66 cached; plain". */
  what: string;
  op: string;
  step: Step;
  filling: Filling;
  launches: readonly TrialLaunch[];
  buffers: readonly TrialBuffer[];
  /** Whether codes of eight bits lie between operands and results: one that rounds the other way is a step, not an error. */
  rounds: boolean;
}

/** Elements of operands that a reference in float64 may take, and operations of one trial. */
const MOST_ELEMENTS = 150e6;
const MOST_FLOPS = 2e10;

/** Operations of a node at a step. */
export const workAt = (node: Node | null, { sizes }: Step): number =>
  node === null
    ? 0
    : flopsOf(
        node.op,
        node.operands.map((o) => ({ type: o.type, weight: isWeight(o) })),
        node.results.map((r) => r.type),
        node.attrs,
        sizes,
      );

/** Elements of the operands and results of a launch at a step. */
export const elementsAt = ({ ins, outs }: Kernel, { sizes }: Step): number =>
  [...ins, ...outs].reduce((n, v) => n + v.shape.reduce<number>((a, s) => a * evaluate(s, sizes), 1), 0);

/** Whether an op's reference can judge a place at a step. */
export const judged = ({ draft }: KernelSite, step: Step): boolean =>
  draft.node?.op.reference !== undefined && elementsAt(draft, step) <= MOST_ELEMENTS && workAt(draft.node, step) <= MOST_FLOPS;

/** How one trial differs from another. */
export interface Variant {
  step: Step;
  filling: Filling;
  seed: number;
}

export function trialOf(site: KernelSite, manifest: Manifest, v: Variant, weights: Weights): Trial {
  const builder = new Builder(site, manifest, v, weights);
  return builder.trial();
}

class Builder {
  readonly #site: KernelSite;
  readonly #manifest: Manifest;
  readonly #v: Variant;
  readonly #values: Values;
  readonly #judged: boolean;
  readonly #buffers = new Map<string, TrialBuffer>();
  #ins: Given[] = [];
  #outs: Tensor[] = [];
  #caches: { name: string; width: number; before?: Tensor; after?: Tensor }[] = [];

  constructor(site: KernelSite, manifest: Manifest, v: Variant, weights: Weights) {
    [this.#site, this.#manifest, this.#v] = [site, manifest, v];
    this.#values = new Values(v.step, manifest.model.vocab, v.filling, v.seed, weights);
    this.#judged = judged(site, v.step);
  }

  trial(): Trial {
    const { draft, group, nameOf } = this.#site;
    const { step, filling } = this.#v;
    if (this.#judged) this.#refer(draft.node!);
    this.#settle();
    const launches = group.map((k) => ({
      kernel: nameOf(k),
      binds: k.chosen.args.map((a) => this.#buffer(k, a)),
      dims: k.chosen.dims.map((d) => evaluate(d, step.sizes)),
    }));
    const buffers = [...this.#buffers.values()];
    const op = draft.node?.op.name ?? draft.chosen.family;
    return {
      what: `${step.what}${filling === "plain" ? "" : "; rows of zeros, ties, large and small"}`,
      op,
      step,
      filling,
      launches,
      buffers,
      rounds: draft.node !== null && roundsInside(draft.node),
    };
  }

  /** Values of all operands, and what the op makes of them. */
  #refer(node: Node): void {
    const { draft } = this.#site;
    const { step } = this.#v;
    let tensors = 0;
    const operands = node.operands.map((o): Tensor => {
      if (o.type.kind === "tensor") {
        const given = this.#values.of(o, Layout.of(draft.ins[tensors++], step.sizes));
        this.#ins.push(given);
        return given.tensor;
      }
      if (o.type.kind !== "cache") return this.#values.tensor(o);
      const { name, width } = o.type;
      const before = this.#cached(name, width, writes(node, name));
      this.#caches.push({ name, width, before });
      return before;
    });
    const results = referenceOf(node, operands, step);
    for (const [i, r] of node.results.entries())
      if (r.type.kind === "tensor") this.#outs.push(results[i]);
      else if (r.type.kind === "cache") {
        const { name } = r.type;
        const of = this.#caches.find((c) => c.name === name);
        if (of) of.after = results[i];
      }
  }

  /** Rows of a cache as its pages hold them; of an op that appends, those that were there before. */
  #cached(name: string, width: number, appends: boolean): Tensor {
    const { batch } = this.#v.step;
    const buffer = this.#buffer(this.#site.draft, { cache: name });
    const elements = new Elements(buffer.data, buffer.dtype);
    const rows = batch.lengths.map((length, b) => {
      const count = appends ? length - (batch.starts[b + 1] - batch.starts[b]) : length;
      return Float64Array.from({ length: count * width }, (_, i) =>
        elements.get(this.#rowAt(b, Math.floor(i / width)) * width + (i % width)),
      );
    });
    return { shape: [width], dtype: buffer.dtype as "f32" | "bf16", data: new Float64Array(), rows };
  }

  /** The row of a cache's pages that a row of a sequence is. */
  #rowAt(sequence: number, row: number): number {
    const { pageRows } = this.#manifest.model;
    return this.#page(sequence, Math.floor(row / pageRows)) * pageRows + (row % pageRows);
  }

  /** Pages of sequences lie apart and out of order. */
  #page(sequence: number, nth: number): number {
    const { lengths } = this.#v.step.batch;
    const { pageRows } = this.#manifest.model;
    const before = lengths.slice(0, sequence).reduce((n, l) => n + Math.ceil(l / pageRows), 0);
    const all = this.#pages();
    return all - 1 - (before + nth);
  }

  #pages(): number {
    return this.#v.step.batch.lengths.reduce((n, l) => n + Math.ceil(l / this.#manifest.model.pageRows), 0) + 1;
  }

  #buffer(k: Kernel, a: Arg): TrialBuffer {
    const key = JSON.stringify("in" in a ? [a.in, a.part, "in"] : "scratch" in a ? a.scratch : a);
    let made = this.#buffers.get(key);
    if (!made) this.#buffers.set(key, (made = this.#made(k, a)));
    return made;
  }

  #made(k: Kernel, a: Arg): TrialBuffer {
    const { sizes } = this.#v.step;
    if ("scratch" in a) {
      const count = a.shape.reduce<number>((n, s) => n * evaluate(s, sizes), 1);
      return { name: a.scratch, dtype: a.dtype, data: blank(count * widths[a.dtype]) };
    }
    if ("batch" in a) return this.#table(a.batch);
    if ("cache" in a) return this.#cache(a.cache, k);
    if ("in" in a) return this.#operand(k, a.in, a.part === "scales");
    return this.#result(k.outs[a.out], a.out, a.part === "scales");
  }

  #operand(k: Kernel, index: number, scales: boolean): TrialBuffer {
    const view = k.ins[index];
    const name = `${scales ? "scales of " : ""}${this.#nameOf(index)}`;
    const dtype = scales ? "f32" : view.dtype;
    const layout = scales ? scalesLayout(view, this.#v.step) : Layout.of(view, this.#v.step.sizes);
    if (!this.#judged) return flat(name, dtype, layout, scales, 2 * index + (scales ? 1 : 0));
    const { tensor, buffer } = this.#ins[index];
    const data = encoded(layout, dtype, scales ? tensor.scales! : tensor.data);
    return { name, dtype, data, ...(buffer === undefined ? {} : { drawn: { buffer: buffer + (scales ? 1 : 0), scales } }) };
  }

  #nameOf(index: number): string {
    const { node } = this.#site.draft;
    const v = node?.operands.filter((o) => o.type.kind === "tensor")[index];
    return (v && (v.node.leaf?.name ?? v.node.graph.nameOf(v))) ?? `operand ${index}`;
  }

  #result(view: View, index: number, scales: boolean): TrialBuffer {
    const { node } = this.#site.draft;
    const v = node?.results.filter((r) => r.type.kind === "tensor")[index];
    const called = (v && v.node.graph.nameOf(v)) ?? node?.op.outs[index] ?? "result";
    const layout = scales ? scalesLayout(view, this.#v.step) : Layout.of(view, this.#v.step.sizes);
    const dtype = scales ? "f32" : view.dtype;
    const kind = scales ? "scales" : dtype === "e4m3" ? "codes" : dtype === "i32" ? "whole" : "numbers";
    const want = this.#judged ? (scales ? this.#outs[index].scales : this.#outs[index].data) : undefined;
    const name = scales ? `scales of ${called}` : called;
    return { name, dtype, data: blank(layout.span * widths[dtype]), result: { name, layout, kind, ...(want ? { want } : {}) } };
  }

  #table(name: Extract<Arg, { batch: unknown }>["batch"]): TrialBuffer {
    const { batch, sizes } = this.#v.step;
    const { positions } = envOf(this.#v.step);
    const list = {
      positions: () => positions,
      sequence: () => batch.lengths.flatMap((_, b) => Array<number>(batch.starts[b + 1] - batch.starts[b]).fill(b)),
      starts: () => batch.starts,
      lengths: () => batch.lengths,
      pages: () =>
        batch.lengths.flatMap((l, b) =>
          Array.from({ length: sizes.P }, (_, i) => (i < Math.ceil(l / this.#manifest.model.pageRows) ? this.#page(b, i) : 0)),
        ),
    }[name]();
    return { name, dtype: "i32", data: new Uint8Array(Int32Array.from(list).buffer) };
  }

  /** All pages of a cache, and one that no sequence has. */
  #cache(name: string, k: Kernel): TrialBuffer {
    const { width, dtype } = this.#manifest.model.caches[name];
    const { pageRows } = this.#manifest.model;
    const count = this.#pages() * pageRows * width;
    const buffer = 48 + 2 * Object.keys(this.#manifest.model.caches).indexOf(name);
    const made = flat(`cache ${name}`, dtype, new Layout([count]), false, buffer);
    if (!k.node || !writes(k.node, name)) return made;
    // Every row of every page: those that are not the new ones stay as they are.
    made.result = { name: made.name, layout: new Layout([this.#pages() * pageRows, width]), kind: "numbers" };
    return made;
  }

  /** What a cache that is written should hold. */
  #settle(): void {
    for (const { name, width, after } of this.#caches) {
      const made = this.#buffers.get(JSON.stringify({ cache: name }));
      if (!made?.result || !after?.rows) continue;
      const elements = new Elements(made.data, made.dtype);
      const want = Float64Array.from({ length: made.result.layout.count }, (_, i) => elements.get(i));
      for (const [b, rows] of after.rows.entries())
        for (let r = 0; r * width < rows.length; r++)
          want.set(rows.subarray(r * width, (r + 1) * width), this.#rowAt(b, r) * width);
      made.result = { ...made.result, want };
    }
  }
}

const blank = (bytes: number): Uint8Array<ArrayBuffer> => new Uint8Array(bytes).fill(BLANK);

function scalesLayout(view: View, { sizes }: Step): Layout {
  const shape = view.shape.map((s) => evaluate(s, sizes));
  return new Layout(scaleShape(shape, view.scaled!, (d, of) => Math.ceil(d / of)));
}

function encoded(layout: Layout, dtype: Stored, values: Float64Array): Uint8Array<ArrayBuffer> {
  const data = blank(layout.span * widths[dtype]);
  const elements = new Elements(data, dtype);
  for (let i = 0; i < values.length; i++) elements.set(layout.place(i), values[i]);
  return data;
}

/** A whole buffer of drawn values. */
function flat(name: string, dtype: Stored, layout: Layout, scales: boolean, buffer: number): TrialBuffer {
  const data = new Uint8Array(layout.span * widths[dtype]);
  if (dtype === "e4m3") for (let i = 0; i < data.length; i++) data[i] = e4m3Of(bitsOf(buffer, i));
  else if (dtype !== "i32") {
    const elements = new Elements(data, dtype);
    for (let i = 0; i < layout.span; i++) elements.set(i, scales ? scaleOf(buffer, i) : valueOf(dtype, buffer, i));
  }
  return { name, dtype, data, ...(dtype === "i32" ? {} : { drawn: { buffer, scales } }) };
}

/** Whether a node gives a cache back, with rows appended. */
const writes = (node: Node, cache: string): boolean => node.results.some((r) => r.type.kind === "cache" && r.type.name === cache);

/** Whether codes lie between the operands of an op and its results. */
function roundsInside({ op, operands, attrs }: Node): boolean {
  if (!op.of) return false;
  const { nodes, results } = partsOf(
    op,
    operands.map((o) => o.type),
    attrs,
  );
  return nodes.some((n) => n.results.some((r) => r.type.kind === "tensor" && isScaled(r.type.dtype) && !results.includes(r)));
}
