// Operands of a node with values. Numbers are drawn; whole numbers (routes, places, offsets, ids) are what the graph before the
// node makes of drawn numbers, so that they fit each other.
import type { Node, Value } from "../../ir/graph.ts";
import type { Env, Tensor } from "../../ir/interpret.ts";
import { formats, scaleShape } from "../../ir/dtype.ts";
import { roundTo } from "../../ir/numeric.ts";
import { asTensor, sizeOf } from "../../ir/types.ts";
import { filled, random, type Filling } from "../../passes/instance.ts";
import { Layout } from "./layout.ts";
import { scaleOf, valueOf } from "./numbers.ts";
import type { Step } from "./sizes.ts";

/** A value as a kernel is given it. */
export interface Given {
  tensor: Tensor;
  layout: Layout;
  /** The numbers of its buffers by which its values are made (numbers.ts), scales after it; none where they are listed. */
  buffer?: number;
}

/** Weights are the same at all steps: they are made once. */
export type Weights = Map<string, Given>;

export const envOf = ({ batch }: Step): Env => ({
  mode: "typed",
  batch,
  positions: batch.starts.slice(1).flatMap((end, b) => {
    const t = end - batch.starts[b];
    return Array.from({ length: t }, (_, i) => batch.lengths[b] - t + i);
  }),
  run: () => [],
});

export class Values {
  readonly #known = new Map<Value, Given>();
  readonly #step: Step;
  readonly #vocab: number;
  readonly #filling: Filling;
  readonly #seed: number;
  readonly #weights: Weights;
  #buffers = 0;

  constructor(step: Step, vocab: number, filling: Filling, seed: number, weights: Weights) {
    [this.#step, this.#vocab, this.#filling, this.#seed, this.#weights] = [step, vocab, filling, seed, weights];
  }

  /** The number of the next buffer: data and scales. */
  next(): number {
    this.#buffers += 2;
    return this.#buffers - 2;
  }

  /** A tensor value; `layout`: where its elements lie. */
  of(v: Value, layout?: Layout): Given {
    const known = this.#known.get(v);
    if (known) return known;
    const { dims, dtype } = asTensor(v.type);
    const at = layout ?? new Layout(dims.map((d) => sizeOf(d, this.#step.sizes)));
    const made = dtype === "i32" ? this.#whole(v, at) : this.#numbers(v, at);
    this.#known.set(v, made);
    return made;
  }

  #numbers(v: Value, layout: Layout): Given {
    const { dtype } = asTensor(v.type);
    const buffer = this.next();
    const weight = v.node.leaf?.kind === "weight";
    const name = `${buffer} ${weight ? v.node.leaf!.name : ""}`;
    const held = weight ? this.#weights.get(name) : undefined;
    if (held) return held;
    const given: Given =
      weight || this.#filling === "plain"
        ? { tensor: drawn(layout, dtype, buffer + 64 * this.#seed), layout, buffer: buffer + 64 * this.#seed }
        : { tensor: hard(layout, dtype, random(1 + buffer + this.#seed), this.#filling), layout };
    if (weight) this.#weights.set(name, given);
    return given;
  }

  #whole(v: Value, layout: Layout): Given {
    const { node } = v;
    if (node.leaf || !node.op.reference) {
      // Ids are the one whole number that comes from outside.
      const next = random(3 + this.#seed);
      const data = Float64Array.from({ length: layout.count }, () => Math.floor(((next() + 1) / 2) * this.#vocab));
      return { tensor: { shape: [...layout.shape], dtype: "i32", data }, layout };
    }
    const made = node.op.reference(
      node.operands.map((o) => this.tensor(o)),
      node.attrs,
      envOf(this.#step),
    );
    for (const [i, r] of node.results.entries())
      if (r.type.kind === "tensor" && r !== v) this.#known.set(r, { tensor: made[i], layout: new Layout(made[i].shape) });
    return { tensor: made[v.index], layout };
  }

  /** What the reference of an op is given for a value. */
  tensor(v: Value): Tensor {
    if (v.type.kind === "tensor") return this.of(v).tensor;
    return { shape: [], dtype: "i32", data: new Float64Array() };
  }
}

/** Numbers of a buffer, by the place of each. */
function drawn(layout: Layout, dtype: Tensor["dtype"], buffer: number): Tensor {
  const { storage, scaled } = formats[dtype];
  const data = new Float64Array(layout.count);
  for (let i = 0; i < data.length; i++) data[i] = valueOf(storage, buffer, layout.place(i));
  const shape = [...layout.shape];
  if (!scaled) return { shape, dtype, data };
  const blocks = scaleShape(shape, scaled.block, (d, of) => Math.ceil(d / of)).reduce((a, b) => a * b, 1);
  return { shape, dtype, data, scales: Float64Array.from({ length: blocks }, (_, i) => scaleOf(buffer + 1, i)) };
}

/** Rows of zeros, of ties, large, small: what edges of arithmetic show at. */
function hard(layout: Layout, dtype: Tensor["dtype"], next: () => number, filling: Filling): Tensor {
  const t = filled([...layout.shape], dtype, next, filling);
  if (t.scales) t.scales = t.scales.map(Math.fround);
  else roundTo(t.data, dtype);
  return t;
}

/** What the results of a node should be: its op's own reference in float64. */
export const referenceOf = (node: Node, operands: readonly Tensor[], step: Step): Tensor[] =>
  node.op.reference!(operands, node.attrs, envOf(step));
