// A fused op by its parts: what serves an op that has no kernel of its own at a site, or none for so many rows. The op's own graph
// says what they are (ir/fused.ts); each is a site that the target chooses for as for any other, and rows between them lie in scratch.
import { dtypeOf, formats, scaleShape } from "../ir/dtype.ts";
import { partsOf } from "../ir/fused.ts";
import type { Node, Value } from "../ir/graph.ts";
import type { Arg, Choice, Chosen, Site, View } from "../ir/kernel/catalogue.ts";
import type { Op } from "../ir/op.ts";
import { opNamed, reshape } from "../ir/ops/index.ts";
import { mul, sizeOfDim, type Size } from "../ir/size.ts";
import { asTensor, batchType, cacheType, tensor, type Dim, type TensorType, type Type } from "../ir/types.ts";
import { by, oneAfterAnother } from "./cases.ts";
import { chooserAmong, familiesOf, type Families } from "./choose.ts";
import { families } from "./kernels/index.ts";
import type { Refusal } from "./family.ts";
import { num } from "./layouts.ts";

/** An operand of a part, and where it lies: among the operands of the whole, or in scratch. */
interface Operand {
  view: View;
  at: Arg;
}

/** An op among several that are one: its site, and where the operands of that site lie. */
interface Part {
  site: Site;
  ins: Operand[];
  /** None where the part writes the cache alone. */
  outs: Operand[];
}

/** An op that is made of others and has no tile family of the whole. */
function composedOp(name: string, among?: Families): Op | undefined {
  const op = opNamed(name);
  return op?.of && familiesOf(name, among).length === 0 ? op : undefined;
}

/** Whether the parts of an op serve it where a target has no kernel of the whole. */
export const isComposed = (op: string): boolean => composedOp(op) !== undefined;

/** A fused op's parts as sites: for a kernel of the whole that says what it does by what they do. */
export const partSites = (site: Site): Site[] => partsAt(opNamed(site.op)!, site).map((p) => p.site);

function partsAt(op: Op, whole: Site): Part[] {
  const at = new Map<Value, Operand>();
  const { params, nodes, results } = partsOf(op, typesOf(op, whole), whole.attrs);
  const isRow = (v: Value): boolean => v.type.kind === "tensor";
  for (const [i, p] of params.filter(isRow).entries()) at.set(p, { view: whole.ins[i], at: { in: i } });
  for (const [i, r] of results.filter(isRow).entries()) at.set(r, { view: whole.outs[i], at: { out: i } });
  const made = (v: Value): Operand => at.get(v) ?? scratch(v, at);
  return nodes.flatMap((n) => {
    if (reshape.made(n)) {
      // The same rows under other axes.
      at.set(n.results[0], { ...made(n.operands[0]), view: packed(asTensor(n.results[0].type)) });
      return [];
    }
    const [ins, outs] = [n.operands.filter(isRow).map(made), n.results.filter(isRow).map(made)];
    return [{ site: siteOf(n, ins, outs, whole), ins, outs }];
  });
}

/** A part's site; its caches are those of the whole. */
const siteOf = (n: Node, ins: Operand[], outs: Operand[], { caches }: Site): Site => ({
  op: n.op.name,
  attrs: n.attrs,
  ins: ins.map((o) => o.view),
  outs: outs.map((o) => o.view),
  ...(caches ? { caches } : {}),
});

/** Packed rows in scratch, scales beside them where they have any. */
function scratch(v: Value, at: Map<Value, Operand>): Operand {
  const view = packed(asTensor(v.type));
  const operand: Operand = {
    view,
    at: { scratch: `${v.node.op.name} ${v.node.id}.${v.index}`, dtype: view.dtype, shape: view.shape },
  };
  at.set(v, operand);
  return operand;
}

function packed({ dims, dtype }: TensorType): View {
  const { storage, scaled } = formats[dtype];
  const shape = dims.map(sizeOfDim);
  return {
    dtype: storage,
    ...(scaled ? { scaled: scaled.block } : {}),
    shape,
    strides: shape.map((_, i) => mul(...shape.slice(i + 1))),
  };
}

/** A size of a view as that of a type. */
function dimOf(s: Size): Dim {
  if (typeof s !== "object") return s;
  const [times, symbol, ...more] = s.of;
  if (s.op === "mul" && typeof times === "number" && typeof symbol === "string" && more.length === 0) return `${times}${symbol}`;
  throw new RangeError(`${JSON.stringify(s)} is no multiple of a symbol`);
}

/** The type of a value as it is viewed. */
export const typeOfView = ({ dtype, scaled, shape }: View): TensorType => tensor(shape.map(dimOf), dtypeOf(dtype, scaled));

/** Types of an op's operands at a site: tensors as they are viewed, the batch and the cache as the signature has them. */
export function typesOf(op: Op, site: Site): Type[] {
  const views = [...site.ins];
  const caches = [...(site.caches ?? [])];
  return op.ins.flatMap((key): Type[] => {
    const signature = op.signature.ins[key];
    if (signature === "batch") return [batchType];
    if (signature === "cache") {
      const cache = caches.shift();
      return [cacheType(cache?.width ?? 0, "f32", cache?.name)];
    }
    const view = views.shift();
    return view ? [typeOfView(view)] : [];
  });
}

/** The launches of a fused op's parts, as `choose` gives them; null for an op that is not made of others. */
export function composed(site: Site, choose: (s: Site) => Choice | Refusal, among?: Families): Choice | Refusal | null {
  const op = composedOp(site.op, among);
  if (!op) return null;
  const choices: Choice[] = [];
  for (const [i, p] of partsAt(op, site).entries()) {
    const choice = choose(p.site);
    if ("reason" in choice) return { reason: `its part ${p.site.op}: ${choice.reason}` };
    choices.push(placed(choice, p, i));
  }
  return choices.reduce(oneAfterAnother);
}

/** A chooser that serves fused ops by their parts and leaves everything else to `choose`. */
export function byParts(choose: (s: Site) => Choice | Refusal, among?: Families): (s: Site) => Choice | Refusal {
  const whole = (site: Site): Choice | Refusal => composed(site, whole, among) ?? choose(site);
  return whole;
}

/** A choice whose arguments are those of the whole; scratch of a part that is made of parts itself keeps apart from ours. */
function placed(choice: Choice, p: Part, index: number): Choice {
  const place = (a: Arg): Arg => {
    if ("scratch" in a) return { ...a, scratch: `${index}/${a.scratch}` };
    const operand = "in" in a ? p.ins[a.in] : "out" in a ? p.outs[a.out] : undefined;
    if (!operand) return a;
    const part = "part" in a && a.part ? { part: a.part } : {};
    if (!("scratch" in operand.at)) return { ...operand.at, ...part };
    if (!("part" in part)) return operand.at;
    const shape = scaleShape(operand.at.shape, operand.view.scaled!, (d, of) => Math.ceil(num(d) / of));
    return { scratch: `${operand.at.scratch} scales`, dtype: "f32", shape };
  };
  const launches = (list: readonly Chosen[]): Chosen[] =>
    list.map((c) => ({ ...c, args: c.args.map(place), part: c.part ?? p.site }));
  return "on" in choice
    ? { on: choice.on, cases: choice.cases.map((c) => ({ ...c, launches: launches(c.launches) })) }
    : launches(choice);
}

/** A choice for every size from one that ends at some: beyond its last case, the parts serve, or a tile program. */
export function completed(
  choice: Choice,
  site: Site,
  choose: (s: Site) => Choice | Refusal,
  among: Families = families,
): Choice | Refusal {
  const last = "on" in choice ? choice.cases.at(-1)!.most : null;
  if (!("on" in choice) || last === null) return choice;
  const rest = composed(site, choose, among) ?? chooserAmong(among)(site);
  if ("reason" in rest) return rest;
  const more = by(choice.on, rest);
  const beyond = "on" in more ? more.cases.filter((c) => (c.most ?? Infinity) > last) : [{ most: null, launches: more }];
  return { on: choice.on, cases: [...choice.cases, ...beyond] };
}
