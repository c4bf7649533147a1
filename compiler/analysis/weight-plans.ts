// What the manifest says of every weight: its dtype, shape, layers and where it is read from.
import type { WeightDType, WeightPlan } from "../../ir/artifact.ts";
import { everyNode, sizeOf, type Module } from "../../ir/index.ts";

/** Weights some function still reads; those only load functions read need not stay. */
export function weightPlans(m: Module): Record<string, WeightPlan> {
  const resident = new Set<string>();
  const staged = new Set<string>();
  const loads = new Set(m.load.map((l) => l.func));
  for (const f of m.funcs.values())
    for (const n of everyNode(f)) if (n.leaf?.kind === "weight") (loads.has(f.name) ? staged : resident).add(n.leaf.name);
  const out: Record<string, WeightPlan> = {};
  for (const w of m.weights.values()) {
    if (!resident.has(w.name) && !staged.has(w.name)) continue;
    out[w.name] = {
      dtype: w.type.dtype as WeightDType,
      shape: w.type.dims.map((d) => sizeOf(d, {})),
      layers: w.layers ? [...w.layers] : null,
      source: w.source,
      ...(resident.has(w.name) ? {} : { staging: true }),
    };
  }
  return out;
}
