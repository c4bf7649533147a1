// Names of places in a function, for people: a value's printed name, else its op, numbered where several share it.
import type { Func, Value } from "../ir/graph.ts";
import { everyNode } from "../ir/print.ts";

/** A label for every value a node of the function makes; unique within the function, and stable for the same input. */
export function labelsOf(f: Func): Map<Value, string> {
  const labels = new Map<Value, string>();
  const taken = new Map<string, number>();
  for (const n of everyNode(f))
    for (const r of n.results) {
      if (n.leaf?.kind === "weight") continue;
      const name = n.graph.nameOf(r) ?? n.op.name;
      const seen = taken.get(name) ?? 0;
      taken.set(name, seen + 1);
      labels.set(r, seen === 0 ? name : `${name}.${seen}`);
    }
  return labels;
}
