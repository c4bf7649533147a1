// An analysis: which products a model has, of which sizes, and what launches the plan makes of a step. Changes nothing.
import { asTensor, blockLinear, everyNode, groupedLinear, linear, printType } from "dsc/ir";
import { plugin } from "dsc/plugin";
import type { Report } from "dsc/plugin";

const products: Report = {
  name: "count-products",
  summary: "Count the products of every function, by the shape of their weights.",
  graph(m) {
    const counts = new Map<string, { sites: number; funcs: Set<string> }>();
    for (const f of m.funcs.values())
      for (const n of everyNode(f)) {
        if (!linear.made(n) && !blockLinear.made(n) && !groupedLinear.made(n)) continue;
        const shape = printType(asTensor(n.operands[1].type));
        const row = counts.get(shape) ?? { sites: 0, funcs: new Set<string>() };
        counts.set(shape, { sites: row.sites + 1, funcs: row.funcs.add(f.name) });
      }
    return {
      columns: ["weight", "sites", "functions"],
      rows: [...counts].map(([shape, { sites, funcs }]) => [shape, sites, funcs.size]),
    };
  },
  plan(plan, cx) {
    const rows = Object.entries(plan.functions).map(([name, f]) => [name, f.steps.length, f.slots.length]);
    cx.report({ columns: ["function", "steps", "slots"], rows }, "the plan");
    return undefined;
  },
};

export default plugin({ name: "count-products", version: "1.0.0", reports: [products] });
