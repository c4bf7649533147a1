// One case of a kernel from outside: operands with drawn values, where they lie, and what the op's own reference makes of them.
import type { Case } from "../../codegen/family.ts";
import type { Attrs } from "../../ir/attr.ts";
import { formats, scaleShape } from "../../ir/dtype.ts";
import type { Site, View } from "../../ir/kernel/catalogue.ts";
import type { Tensor } from "../../ir/interpret.ts";
import { roundTo } from "../../ir/numeric.ts";
import { keyOf, type Op } from "../../ir/op.ts";
import { bindings, instantiate, parsePattern } from "../../ir/signature.ts";
import { asTensor, fixed, printType, type TensorType, type Type } from "../../ir/types.ts";
import { filled, random, type Filling } from "../../passes/instance.ts";

/** An operand or a result as it lies in memory; of a result, what it should be. */
export interface Held {
  key: string;
  view: View;
  tensor: Tensor;
}

export interface Trial {
  /** In words: "clipped_swiglu {limit = 7} of gate [3, 130] f32, up [3, 130] f32". */
  what: string;
  site: Site;
  ins: Held[];
  outs: Held[];
  within: number;
}

/** How a case is tried: values of every kind, and rows that lie further apart than they are wide. */
export interface Variation {
  seed: number;
  filling: Filling;
  /** Elements between the end of a row of the first operand and the next. */
  gap: number;
}

export const variations: readonly Variation[] = [
  { seed: 1, filling: "plain", gap: 0 },
  { seed: 2, filling: "hard", gap: 0 },
  { seed: 3, filling: "plain", gap: 8 },
];

/** The trial of a case, or why there is none: an operand that only a step has, a signature that the sizes do not fit. */
export function trialOf(op: Op, c: Case, { seed, filling, gap }: Variation): Trial | { reason: string } {
  const keys = op.ins.filter((k) => !k.endsWith("?") || c.optional?.includes(keyOf(k)));
  const types = typesOf(op, keys, c);
  if (typeof types === "string") return { reason: types };
  const attrs: Attrs = Object.fromEntries(Object.entries(op.attrs).map(([k, kind]) => [k, c.attrs?.[k] ?? kind.initial!]));
  const results = op.infer(types, attrs);
  if (typeof results === "string") return { reason: results };
  const next = random(seed);
  const ins = keys.map((key, i): Held => {
    const type = asTensor(types[i]);
    return { key: keyOf(key), view: viewOf(type, i === 0 ? gap : 0), tensor: valuesOf(keyOf(key), type, c, next, filling) };
  });
  const outs = op.reference!(
    ins.map((o) => o.tensor),
    attrs,
    { mode: "real", batch: { starts: [0], lengths: [], ids: [] }, positions: [], run: () => [] },
  ).map((tensor, i): Held => ({ key: op.outs[i], view: viewOf(asTensor(results[i])), tensor }));
  return {
    what: `${op.name} of ${ins.map((o, i) => `${o.key} ${printType(types[i])}`).join(", ")}${words(c.attrs)}`,
    site: { op: op.name, attrs, ins: ins.map((o) => o.view), outs: outs.map((o) => o.view) },
    ins,
    outs,
    within: c.within ?? 1e-5,
  };
}

const words = (attrs: Attrs = {}): string =>
  Object.keys(attrs).length
    ? `, ${Object.entries(attrs)
        .map(([k, v]) => `${k} = ${String(v)}`)
        .join(", ")}`
    : "";

/** Types of the operands under a case's sizes. */
function typesOf(op: Op, keys: readonly string[], c: Case): Type[] | string {
  const b = { ...bindings(), dims: { ...c.sizes }, dtypes: { ...c.dtypes } };
  const types: Type[] = [];
  for (const key of keys) {
    const p = parsePattern(op.signature.ins[key]);
    if (p.kind !== "tensor")
      return `${op.name} reads ${p.kind === "batch" ? "the sequences of a step" : "a cache"}, which a case has not`;
    for (const d of p.dims) {
      if (d.rest !== undefined) (b.rests as Record<string, readonly number[]>)[d.rest] = c.rest ?? [c.sizes.T ?? 3];
      if (d.name !== undefined && c.sizes[d.name] === undefined)
        return `sizes has no ${d.name}, which ${keyOf(key)} is ${op.signature.ins[key]} by`;
    }
    if (!Object.hasOwn(formats, p.dtype)) b.dtypes[p.dtype] ??= "f32";
    types.push(instantiate(p, b));
  }
  return types;
}

/** Where a tensor lies: packed, or its rows `gap` elements apart. */
function viewOf({ dims, dtype }: TensorType, gap = 0): View {
  const { storage, scaled } = formats[dtype];
  const shape = dims.map(fixed);
  const apart = scaled || shape.length < 2 ? 0 : gap;
  const wide = shape.map((n, i) => (i === shape.length - 1 ? n + apart : n));
  return {
    dtype: storage,
    ...(scaled ? { scaled: scaled.block } : {}),
    shape,
    strides: shape.map((_, i) => wide.slice(i + 1).reduce((x, y) => x * y, 1)),
  };
}

function valuesOf(key: string, { dims, dtype }: TensorType, c: Case, next: () => number, filling: Filling): Tensor {
  const shape = dims.map(fixed);
  if (dtype === "i32") {
    const of = c.values?.[key] ?? (() => 0);
    return { shape, dtype, data: Float64Array.from({ length: shape.reduce((x, y) => x * y, 1) }, (_, i) => of(i)) };
  }
  const t = filled(shape, dtype, next, filling);
  if (!t.scales) roundTo(t.data, dtype);
  else t.scales = t.scales.map(Math.fround);
  return t;
}

/** Extents of the scales beside a scaled view. */
export const scalesOf = ({ scaled, shape }: View): number[] =>
  scaled ? scaleShape(shape.map(Number), scaled, (d, of) => Math.ceil(Number(d) / of)).map(Number) : [];
