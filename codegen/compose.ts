// Fused ops as their parts: what serves an op that has no kernel of its own at a site, or none for so many rows. Every part is a site
// that the target chooses for as for any other; rows that one part hands to the next lie in scratch.
import type { Arg, Cases, Choice, Chosen, Site, View } from "../ir/kernel/catalogue.ts";
import { evaluate, mul, type Size } from "../ir/size.ts";
import { chooseTiles } from "./choose.ts";
import { headsOf } from "./kernels/bmm.ts";
import { num } from "./layouts.ts";

type Refusal = { reason: string };

/** An operand of a part, and where it lies: among the operands of the whole, or in scratch. */
interface Operand {
  view: View;
  at: Arg;
}

/** An op among several that are one: its site, and where the operands of that site lie. */
interface Part {
  op: string;
  attrs: Site["attrs"];
  ins: Operand[];
  /** None where the part writes the cache alone. */
  outs: Operand[];
}

/** By fused op, the ops that it stands for, in order. */
const parts: Readonly<Record<string, (s: Site) => Part[]>> = {
  norm_linear(s) {
    const [x, w, gain] = operands(s);
    const normed = row("normed", x.view.shape, x.view.dtype);
    return [part("rms_norm", [x, gain], normed, { eps: s.attrs.eps }), part("linear", [normed, w], result(s), { dtype: s.attrs.dtype })];
  },

  linear_add(s) {
    const [x, w, residual] = operands(s);
    const y = row("product", s.outs[0].shape, s.outs[0].dtype);
    return [part("linear", [x, w], y, { dtype: "same" }), part("add", [residual, y], result(s))];
  },

  silu_linear_add(s) {
    const [x, w, residual] = operands(s);
    const act = row("act", x.view.shape.toSpliced(-2, 1), x.view.dtype);
    return [part("silu_mul", [x], act), part("linear_add", [act, w, residual], result(s))];
  },

  mla_query(s) {
    const [qc, wUk, qr, c, kr, gain, table] = operands(s);
    const { eps, interleaved } = s.attrs;
    return [
      part("einsum", [qc, wUk], result(s, 0), { spec: "abc,bcd->abd" }), part("rope", [qr, table], result(s, 1), { interleaved }), part("rope_append", [c, kr, gain, table], [], { eps, interleaved }),
    ];
  },

  route_experts_add(s) {
    const [x, gateUp, down, logits, residual, bias] = operands(s);
    const { scale, ...routing } = s.attrs;
    const shape = [logits.view.shape[0], (routing.topk as number) + (routing.shared as number)];
    const [indices, weights] = [row("indices", shape, "i32"), row("weights", shape, "f32")];
    return [part("route", [logits, bias], [indices, weights], routing), part("experts_add", [x, gateUp, down, indices, weights, residual], result(s), { scale, shared: routing.shared })];
  },

  experts_add(s) {
    const [x, gateUp, down, indices, weights, residual] = operands(s);
    const [[tokens, per], d, [experts, parts, n, k]] = [indices.view.shape, residual.view.shape[1], gateUp.view.shape];
    const pairs = mul(per, tokens);
    const dtype = residual.view.dtype;
    const [order, offsets, places] = [row("order", [pairs], "i32"), row("offsets", [num(experts) + 1], "i32"), row("places", [pairs], "i32")];
    const [xs, between, act, ys] = [coded("xs", [pairs, k]), row("gate_up", [pairs, parts, n], dtype), coded("act", [pairs, n]), row("ys", [pairs, d], dtype)];
    return [
      part("sort_experts", [indices], [order, offsets, places], { experts: num(experts) }), part("gather_rows", [x, order], xs, { per: num(per) }),
      part("grouped_linear", [xs, gateUp, offsets], between, { dtype }), part("silu_mul_quant", [between], act, { scale: s.attrs.scale }),
      part("grouped_linear", [act, down, offsets], ys, { dtype }), part("combine_add", [ys, places, weights, residual], result(s)),
    ];
  },

  norm_block_linear(s) {
    const [x, w, gain] = operands(s);
    const codes = coded("codes", x.view.shape);
    return [part("norm_quant", [x, gain], codes, { eps: s.attrs.eps, scale: s.attrs.scale }), part("block_linear", [codes, w], result(s), { dtype: s.attrs.dtype })];
  },

  block_linear_add(s) {
    const [x, w, residual] = operands(s);
    const y = row("product", s.outs[0].shape, s.outs[0].dtype);
    return [part("block_linear", [x, w], y, { dtype: y.view.dtype }), part("add", [residual, y], result(s))];
  },

  einsum_quant(s) {
    const [a, b] = operands(s);
    const heads = headsOf(String(s.attrs.spec), a.view, b.view);
    const made = row("heads", heads.shape, heads.dtype);
    // Heads side by side are one row of the same buffer.
    const side = { ...made, view: row("heads", s.outs[0].shape, heads.dtype).view };
    return [part("einsum", [a, b], made, { spec: s.attrs.spec }), part("quantize", [side], result(s), { scale: s.attrs.scale })];
  },
};

/** Results in order; none where the part writes the cache alone. */
const part = (op: string, ins: Operand[], outs: Operand | Operand[], attrs: Part["attrs"] = {}): Part => ({ op, attrs, ins, outs: [outs].flat() });

const operands = (s: Site): Operand[] => s.ins.map((view, i) => ({ view, at: { in: i } }));
const result = (s: Site, i = 0): Operand => ({ view: s.outs[i], at: { out: i } });

/** Packed rows in scratch. */
const row = (name: string, shape: readonly Size[], dtype: View["dtype"]): Operand => ({
  view: { dtype, shape: [...shape], strides: shape.map((_, i) => mul(...shape.slice(i + 1))) },
  at: { scratch: name, dtype, shape: [...shape] },
});

/** Packed codes in scratch, their scales beside them. */
const coded = (name: string, shape: readonly Size[]): Operand => {
  const { view, at } = row(name, shape, "e4m3");
  return { view: { ...view, scaled: "1x128" }, at };
};

/** A part's site; its caches are those of the whole. */
const siteOf = (p: Part, { caches }: Site): Site => ({
  op: p.op, attrs: p.attrs, ins: p.ins.map((o) => o.view), outs: p.outs.map((o) => o.view), ...(caches ? { caches } : {}),
});

/** A fused op's parts as sites: for a kernel of the whole that says what it does by what they do. */
export const partSites = (site: Site): Site[] => parts[site.op](site).map((p) => siteOf(p, site));

/** Whether an op is made of others: its parts serve it where a target has no kernel of the whole. */
export const isComposed = (op: string): boolean => op in parts;

/** The launches of a fused op's parts, as `choose` gives them; null for an op that is not made of others. */
export function composed(site: Site, choose: (s: Site) => Choice | Refusal): Choice | Refusal | null {
  const made = parts[site.op]?.(site);
  if (!made) return null;
  const choices: Choice[] = [];
  for (const p of made) {
    const of = siteOf(p, site);
    const choice = choose(of);
    if ("reason" in choice) return { reason: `its part ${p.op}: ${choice.reason}` };
    choices.push(placed(choice, p, of));
  }
  return choices.reduce(oneAfterAnother);
}

/** A chooser that serves fused ops by their parts and leaves everything else to `choose`. */
export function byParts(choose: (s: Site) => Choice | Refusal): (s: Site) => Choice | Refusal {
  const whole = (site: Site): Choice | Refusal => composed(site, whole) ?? choose(site);
  return whole;
}

/** A choice whose arguments are those of the whole. */
function placed(choice: Choice, p: Part, site: Site): Choice {
  const place = (a: Arg): Arg => {
    const operand = "in" in a ? p.ins[a.in] : "out" in a ? p.outs[a.out] : undefined;
    if (!operand) return a;
    const part = "part" in a && a.part ? { part: a.part } : {};
    if (!("scratch" in operand.at)) return { ...operand.at, ...part };
    return "part" in part ? { scratch: `${operand.at.scratch} scales`, dtype: "f32", shape: scaleShape(operand.at.shape) } : operand.at;
  };
  const launches = (list: readonly Chosen[]): Chosen[] => list.map((c) => ({ ...c, args: c.args.map(place), part: c.part ?? site }));
  return "on" in choice ? { on: choice.on, cases: choice.cases.map((c) => ({ ...c, launches: launches(c.launches) })) } : launches(choice);
}

/** A scale for every 128 columns of a row. */
const scaleShape = (shape: readonly Size[]): Size[] => [...shape.slice(0, -1), Math.ceil(num(shape.at(-1)) / 128)];

/** Two choices as one: by the sizes at which either changes. */
function oneAfterAnother(a: Choice, b: Choice): Choice {
  if (!("on" in a) && !("on" in b)) return [...a, ...b];
  const on = !("on" in b) || ("on" in a && of(a.on, b.on) === null) ? (a as Cases).on : b.on;
  const [left, right] = [by(on, a), by(on, b)];
  const mosts = new Set([...("on" in left ? left.cases : []), ...("on" in right ? right.cases : [])].map((c) => c.most));
  const sizes = [...mosts].toSorted((x, y) => (x ?? Infinity) - (y ?? Infinity));
  const at = (c: Choice, most: number | null): Chosen[] => ("on" in c ? c.cases.find((x) => (x.most ?? Infinity) >= (most ?? Infinity))!.launches : c);
  return { on, cases: sizes.map((most) => ({ most, launches: [...at(left, most), ...at(right, most)] })) };
}

/** How many times one size is another, where it is so whatever the batch: rows of pairs and of tokens. Null where it is not. */
function of(size: Size, one: Size): number | null {
  const times = [1, 7].map((T) => evaluate(size, { T, B: T }) / evaluate(one, { T, B: T }));
  return times[0] === times[1] && Number.isInteger(times[0]) ? times[0] : null;
}

/** A choice by another size, of which its own is a multiple. */
function by(on: Size, c: Choice): Choice {
  if (!("on" in c)) return c;
  const times = of(c.on, on);
  if (times === null) throw new RangeError(`cases by ${JSON.stringify(c.on)} are no cases by ${JSON.stringify(on)}`);
  const cases = c.cases.map((x) => ({ ...x, most: x.most === null ? null : Math.floor(x.most / times) }));
  return { on, cases: cases.filter((x, i) => x.most === null || x.most > (cases[i - 1]?.most ?? 0)) };
}

/** A choice for every size from one that ends at some: beyond its last case, the parts serve, or a tile program. */
export function completed(choice: Choice, site: Site, choose: (s: Site) => Choice | Refusal): Choice | Refusal {
  const last = "on" in choice ? choice.cases.at(-1)!.most : null;
  if (!("on" in choice) || last === null) return choice;
  const rest = composed(site, choose) ?? chooseTiles(site);
  if ("reason" in rest) return rest;
  const more = by(choice.on, rest);
  const beyond = "on" in more ? more.cases.filter((c) => (c.most ?? Infinity) > last) : [{ most: null, launches: more }];
  return { on: choice.on, cases: [...choice.cases, ...beyond] };
}
