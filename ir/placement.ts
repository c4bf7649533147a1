// How an op takes values that are divided over the ranks of a mesh. It follows from the signature: an axis that operand and result
// share passes a division through; one that the op declares to sum over (`traits.sums`) makes the result a partial sum; every other
// divided axis, and a partial sum where the op is not linear (`traits.linear`), is refused with the reason.
import type { Attrs } from "./attr.ts";
import type { Region } from "./graph.ts";
import type { MeshAxis } from "./mesh.ts";
import type { Bindings } from "./signature.ts";
import type { Traits } from "./traits.ts";
import { isPlaced, overOf, printType, type Across, type Dim, type TensorType, type Type } from "./types.ts";

/** An op at a site, its result types inferred as if nothing were divided but sizes. */
export interface Site {
  name: string;
  traits: Traits;
  /** Operand keys in order; the last stands for the rest where it takes any number. */
  ins: readonly string[];
  attrs: Attrs;
  bound: Bindings;
  region?: Region | undefined;
}

const tensors = (types: readonly Type[]): TensorType[] => types.filter((t) => t.kind === "tensor");

/** The types of the results with what ranks hold of them, or why the op cannot take such operands. */
export function placed(site: Site, operands: readonly Type[], results: readonly Type[]): Type[] | string {
  const { traits, name } = site;
  if (traits.meets) return [...results];
  const across = traits.region ? regionSums(site, operands) : plainSums(site, operands, results);
  if (typeof across === "string") return across;
  for (const t of tensors(results))
    for (const d of t.dims)
      if (across && overOf(d) === across.axis)
        return `${name} sums over an axis divided over ${across.axis}, and its result is too`;
  return results.map((t) => (t.kind === "tensor" && across ? { ...t, across } : t));
}

/** Of an op without a region: what its results are a sum of, if they are. */
function plainSums(site: Site, operands: readonly Type[], results: readonly Type[]): Across | string | undefined {
  const { traits, name, ins, bound } = site;
  const partial = joinAxes(tensors(operands).flatMap((t) => (t.across ? [t.across.axis] : [])));
  if (partial !== undefined) {
    const not = operands.findIndex((t) => t.kind === "tensor" && t.across?.axis !== partial);
    const who = operands.findIndex((t) => t.kind === "tensor" && t.across !== undefined);
    if (!traits.linear) return `operand ${ins[who]} is ${worded(operands[who])}, and ${name} is not linear`;
    if (not >= 0) return `operand ${ins[who]} is ${worded(operands[who])}, and operand ${ins[not]} is not`;
    if (operands.some((t) => t.kind === "tensor" && t.across?.kind === "per"))
      return `operand ${ins[who]} is ${worded(operands[who])}`;
  }
  const summed = sumsOf(site, operands);
  const whole = new Set([...(traits.whole ?? "")].map((letter) => bound.dims[letter]));
  const over = new Set<MeshAxis>();
  for (const [i, t] of operands.entries()) {
    if (t.kind !== "tensor") continue;
    for (const d of t.dims) {
      const axis = overOf(d);
      if (axis === undefined) continue;
      if (whole.has(d)) return `operand ${ins[i]} has the divided axis ${d}, and ${name} needs all of it`;
      if (summed.includes(d)) over.add(axis);
      else if (!tensors(results).some((r) => r.dims.some((kept) => overOf(kept) === axis)))
        return `operand ${ins[i]} has the divided axis ${d}, which ${name} neither keeps nor sums over`;
    }
  }
  const axis = joinAxes([...over]);
  return axis !== undefined && partial !== undefined
    ? `${name} would sum over ${axis} what is a sum over ${partial} already`
    : axis === undefined && partial === undefined
      ? undefined
      : { kind: "+", axis: (axis ?? partial)! };
}

const sumsOf = ({ traits, bound, attrs }: Site, operands: readonly Type[]): readonly Dim[] =>
  typeof traits.sums === "function"
    ? traits.sums(tensors(operands), attrs)
    : [...(traits.sums ?? "")].flatMap((letter) => bound.dims[letter] ?? []);

/** Of a region: what its one result is a sum of, and over experts whether only some of them are here. */
function regionSums({ traits, name, ins, region }: Site, operands: readonly Type[]): Across | string | undefined {
  const result = region?.results[0].type;
  const own = result?.kind === "tensor" ? result.across : undefined;
  if (traits.region === "sequences") {
    const bad = operands.findIndex((t) => t.kind === "tensor" && t.across !== undefined);
    return bad >= 0 ? `operand ${ins[Math.min(bad, ins.length - 1)]} is ${worded(operands[bad])}` : own;
  }
  // indices, weights, x, then stacks of experts.
  const [indices, weights, x, ...stacked] = operands as TensorType[];
  if (isPlaced(x)) return `operand x is ${printType(x)}: every rank needs all rows`;
  const axis = overOf(stacked[0].dims[0]);
  const here = [indices, weights].map((t) => (t.across?.kind === "per" ? t.across.axis : undefined));
  if (axis === undefined && here.some(Boolean)) return `${name} has all experts, and its choice is of a rank's own`;
  if (axis !== undefined && here.some((h) => h !== axis))
    return `the experts are divided over ${axis}, and the choice is not of a rank's own: own_experts makes it so`;
  const over = joinAxes([...(own ? [own.axis] : []), ...(axis ? [axis] : [])]);
  return over && { kind: "+", axis: over };
}

/** One axis that stands for several: those of experts and of their widths together are all ranks. */
function joinAxes(axes: readonly MeshAxis[]): MeshAxis | undefined {
  const set = new Set(axes);
  if (set.size < 2) return axes[0];
  return "tp";
}

const worded = (t: Type): string =>
  t.kind === "tensor" && t.across ? (t.across.kind === "+" ? `a sum over ${t.across.axis}` : `of a rank's own`) : printType(t);
