// Which tile family serves which site: the choice of every target for what it has nothing better for. What no family takes is
// refused with the reason.
import type { Chosen, Problem, Site, View } from "../ir/kernel/catalogue.ts";
import { refuse, type Family, type Match, type Refusal } from "./family.ts";
import { copyFamily, matchCopy } from "./kernels/copy.ts";
import { families } from "./kernels/index.ts";

/** Launches of a site, or why there are none. */
export type Choose = (s: Site) => Chosen[] | Refusal;

const launches = <P extends object>({ name }: Family<P>, found: Match<P>[] | Refusal): Chosen[] | Refusal =>
  "reason" in found ? found : found.map(({ problem, args, dims }) => ({ family: name, problem: problem as Problem, args, dims }));

/** Families by name. */
export type Families = Readonly<Record<string, Family>>;

/** The tile families that serve an op, in the order of their list. */
export const familiesOf = (op: string, among: Families = families): Family[] =>
  Object.values(among).filter((f) => f.serves.includes(op));

/** A chooser among these families: the launches of the first that takes a site, or why none does. */
export const chooserAmong =
  (among: Families): ((site: Site) => Chosen[] | Refusal) =>
  (site) => {
    let refusal = refuse(`no kernel family serves ${site.op}`);
    for (const f of familiesOf(site.op, among)) {
      const found = launches(f, f.match(site));
      if (!("reason" in found)) return found;
      refusal = found;
    }
    return refusal;
  };

/** The launches of the first of dsc's families that takes a site, or why none does. */
export const chooseTiles = chooserAmong(families);

/** The launch that copies one strided view into another of the same shape. */
export const copyOf = (from: View, to: View): Chosen[] | Refusal => launches(copyFamily, matchCopy(from, to));

/** The problems that a tile family makes of a site; of a copy, its operand and its result are the two views. */
export function tileProblems(family: string, site: Site, among: Families = families): Problem[] {
  const known = among[family];
  if (!known) return [];
  const found = site.op === "copy" ? matchCopy(site.ins[0], site.outs[0]) : known.match(site);
  return "reason" in found ? [] : found.map((m) => m.problem as Problem);
}
