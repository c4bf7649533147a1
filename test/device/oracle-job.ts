// What the reference is asked (oracle_reference.py): the graph of a compiled model as JSON, and batches for its entries; and the way
// back, from a step of the plan to the node it is of and to how its operands lie.
import { targetOf } from "../../codegen/target.ts";
import type { Compiled } from "../../compiler/compile.ts";
import type { Step } from "../../ir/artifact.ts";
import { bodyOf, topological, type Func, type Node, type Value } from "../../ir/graph.ts";
import type { Catalogue, Chosen, Site, View } from "../../ir/kernel/catalogue.ts";
import { sizeOf, type Type } from "../../ir/index.ts";
import { selectModule, type Draft } from "../../passes/plan/select.ts";

/** A batch of an entry: row starts, lengths with the new rows, and ids of some sequences. */
export interface JobCall {
  name: string;
  /** Calls of one group go on from each other's caches. */
  group: string;
  entry: string;
  starts: number[];
  lengths: number[];
  ids: number[];
  /** Of the extra layer's entry, which continues what the call before it gave. */
  layer?: number;
  /** Layers to compute; the call ends before another. */
  layers: number[];
  /** Whether refmodel is run beside the graph. */
  reference: boolean;
  absorbed: boolean;
}

export const idOf = (v: Value): string => `${v.node.id}.${v.index}`;

/** Names of a node's operands, as its reference has them. */
const names = (n: Node): string[] =>
  n.operands.map((_, i) => (n.op.ins[i] && !n.op.ins[i].startsWith("...") ? n.op.ins[i].replace("?", "") : `x${i}`));

const nodeOf = (n: Node): object => ({
  op: n.op.name,
  attrs: n.attrs,
  names: names(n),
  ins: n.operands.map(idOf),
  outs: n.results.map((r, i) => ({ name: n.op.outs[i] ?? String(i), id: idOf(r), type: r.type })),
  ...(n.region
    ? { region: { params: n.region.params.map(idOf), nodes: bodyOf(n.region).map(nodeOf), results: n.region.results.map(idOf) } }
    : {}),
});

const named = (list: Func["params"]): object[] => list.map((p) => ({ name: p.name, id: idOf(p.value), type: p.value.type }));

/** The job as JSON. */
export function jobOf({ outcome: { module } }: Compiled, config: object, seed: number, calls: readonly JobCall[]): string {
  const funcs = Object.fromEntries(
    [...module.funcs.values()].map((f) => [
      f.name,
      { params: named(f.params), nodes: topological(f.results.map((r) => r.value)).map(nodeOf), results: named(f.results) },
    ]),
  );
  const weights = Object.fromEntries(
    [...module.weights.values()].map((w) => [
      w.name,
      { dtype: w.type.dtype, shape: w.type.dims.map((d) => sizeOf(d, {})), layers: w.layers, source: w.source },
    ]),
  );
  const load = module.load.map((l) => ({ func: l.func, layers: l.layers }));
  return JSON.stringify({ config, seed, funcs, weights, load, calls });
}

/** Whether an entry, or what it calls, attends over latents. */
export function isAbsorbed({ outcome: { module } }: Compiled, name: string): boolean {
  const all = topological(module.funcs.get(name)!.results.map((r) => r.value));
  return all.some(
    (n) =>
      n.op.name === "mla_attend" ||
      (n.op.name === "call" && isAbsorbed({ outcome: { module } } as Compiled, n.attrs.func as string)),
  );
}

/** What a step of the plan is of: a node (none for a copy of the planner), what it binds, and how operands and results lie. */
export interface Placed {
  func: Func;
  node: Node | null;
  chosen: Chosen;
  site: Site;
}

/** Every launch of every function by its step: selection is repeated, noting what it is asked, and walked beside the plan. */
export function placedSteps(c: Compiled, options: Parameters<typeof targetOf>[1]): Map<Step, Placed> {
  const asked = new Map<Chosen, Site>();
  const note = (chosen: Chosen, site: Site): Chosen => {
    const copy = { ...chosen };
    asked.set(copy, site);
    return copy;
  };
  const { catalogue } = targetOf("cuda", options);
  const noting: Catalogue = {
    ...catalogue,
    choose(site) {
      const choice = catalogue.choose(site);
      if ("reason" in choice) return choice;
      if (!("on" in choice)) return choice.map((x) => note(x, site));
      return {
        on: choice.on,
        cases: choice.cases.map((k) => ({ most: k.most, launches: k.launches.map((x) => note(x, site)) })),
      };
    },
    copy(from: View, to: View) {
      const choice = catalogue.copy(from, to);
      return "reason" in choice ? choice : choice.map((x) => note(x, { op: "copy", attrs: {}, ins: [from], outs: [to] }));
    },
  };
  const out = new Map<Step, Placed>();
  const walk = (func: Func, drafts: readonly Draft[], steps: readonly Step[]): void => {
    for (const [i, d] of drafts.entries()) {
      const s = steps[i];
      if (d.kind !== s.kind) throw new RangeError(`the plan of ${func.name} was not made from this graph`);
      if (d.kind === "kernel") out.set(s, { func, node: d.node, chosen: d.chosen, site: asked.get(d.chosen)! });
      else if (d.kind === "cases" && s.kind === "cases")
        for (const [j, k] of d.cases.entries()) walk(func, k.steps, s.cases[j].steps);
      else if (d.kind === "slices" && s.kind === "slices") walk(func, d.steps, s.steps);
    }
  };
  for (const d of selectModule(c.outcome.module, noting))
    walk(c.outcome.module.funcs.get(d.name)!, d.steps, c.manifest.functions[d.name].steps);
  return out;
}

/** The first axis of a type: "T", "B", "9T", "s", or a number. */
export const firstAxis = (t: Type): string | number => (t.kind === "tensor" ? t.dims[0] : "");
