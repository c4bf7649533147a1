// A kernel's text line by line: what each line is, the ops it serves with their tensors and rules, and where its numbers came from. As
// data of `dsc inspect OUT KERNEL --line N --json`.
import { inside, type Manifest, type Step } from "../../ir/artifact.ts";
import { boundBuffers } from "../../ir/kernel/catalogue.ts";
import { constantOf, type Constant, type Numeral } from "./constants.ts";
import type { Fields } from "./fields.ts";
import { numbersOf, ownWords, type KernelFacts } from "./kernel-numbers.ts";
import type { NodeOrigin, Origins, Run } from "./origins.ts";

/** One op that a line serves. */
export interface LineOrigin {
  op: string;
  /** What the numbers of the line are made of; where it has none of a config's, what the op's sizes and attributes are made of. */
  keys: string[];
  /** Of the weights that the line names; where it names none, of those that the op reads. */
  tensors: string[];
  /** The last rule that made the op's node, "pass: rule", and all of them; null for what the frontend wrote. */
  rule: string | null;
  rules: string[];
  /** The line of the graph, and the places of the plan that launch the kernel for it. */
  graph: string;
  sites: string[];
  constants: Constant[];
  /** Whether keys and tensors are those of this line, or of the op as a whole. */
  of: "line" | "op";
}

export interface Line {
  line: number;
  text: string;
  kind: Run[1];
  /** Of a helper its name, of a header what it says, of a role of warps its name, of a statement of the tile program its text. */
  name?: string;
  /** Of a kernel for a fused op: the ops of its graph that the line computes; absent where it serves all of it. */
  computes?: readonly string[];
  origins: LineOrigin[];
}

export interface KernelLines {
  kernel: string;
  lines: Line[];
}

/** The lines of a kernel's text. */
export function linesOf(facts: KernelFacts, o: Origins): KernelLines {
  const { kernel, manifest, text } = facts;
  const runs = o.kernels[kernel]?.lines ?? [];
  const lines = text.replace(/\n$/, "").split("\n");
  const launches = o.launches.filter((l) => l.kernel === kernel);
  const system = manifest.system?.[kernel] !== undefined;
  const numbers = numbersOf(facts);
  const served = new Map<number, string[]>();
  for (const l of launches) if (l.node !== undefined) served.set(l.node, [...(served.get(l.node) ?? []), l.site]);
  const first = new Map(launches.toReversed().flatMap((l) => (l.node === undefined ? [] : [[l.node, l] as const])));
  const weights = weightsBound(manifest, kernel);
  const groups = system
    ? [ofRuntime(o)]
    : alike(
        [...served].map(([n, sites]) => ({
          node: o.nodes[n],
          op: first.get(n)!.op,
          sites,
          weights: weights.get(sites[0]) ?? new Map(),
          fields: o.fields[first.get(n)!.fields],
        })),
      );
  let at = 0;
  return {
    kernel,
    lines: lines.map((content, i): Line => {
      while (at + 1 < runs.length && runs[at + 1][0] <= i + 1) at++;
      const [, kind, name, computes] = runs[at] ?? [1, "body"];
      const own = (fields: Fields): string => ownWords({ kind, name: name ?? "", fixed: numbers?.fixed ?? [], fields });
      return {
        line: i + 1,
        text: content,
        kind,
        ...(typeof name === "string" ? { name } : {}),
        ...(computes ? { computes } : {}),
        origins: groups.map((g) => originOf(g, content, numbers?.lines[i] ?? [], own(g.fields))),
      };
    }),
  };
}

interface Group {
  node: NodeOrigin;
  op: string;
  sites: string[];
  /** Tensors behind the weights that it binds, by the name of the parameter. */
  weights: ReadonlyMap<string, readonly string[]>;
  fields: Fields;
}

/** Nodes that differ in their function alone are one: prefill, extend and decode write the same op. */
function alike(groups: readonly Group[]): Group[] {
  const by = new Map<string, Group>();
  for (const g of groups) {
    const { keys, tensors, rules } = g.node;
    const key = JSON.stringify([g.op, keys, tensors, rules, g.fields]);
    const known = by.get(key);
    by.set(key, known ? { ...known, sites: [...known.sites, ...g.sites] } : g);
  }
  return [...by.values()];
}

/** Of every place that launches a kernel: the tensors of the weights it binds, by parameter, and by TMA descriptors over one. */
function weightsBound({ functions, kernels, weights }: Manifest, kernel: string): Map<string, Map<string, readonly string[]>> {
  const params = kernels[kernel]?.params ?? [];
  const names = boundBuffers(params);
  const out = new Map<string, Map<string, readonly string[]>>();
  const walk = (steps: readonly Step[]): void => {
    for (const s of steps) {
      walk(inside(s));
      if (s.kind !== "kernel" || s.kernel !== kernel || out.has(s.site)) continue;
      const bound = new Map<string, readonly string[]>();
      for (const [i, a] of s.args.entries()) {
        if (!("weight" in a)) continue;
        const { source } = weights[a.weight];
        const tensors =
          source.kind !== "checkpoint" ? [] : source.pieces.map((p) => (a.part === "scales" ? (p.scales ?? p.tensor) : p.tensor));
        for (const p of params)
          if (p.name === names[i] || (p.kind === "tensormap" && p.of === names[i])) bound.set(p.name, tensors);
      }
      out.set(s.site, bound);
    }
  };
  for (const f of Object.values(functions)) walk(f.steps);
  return out;
}

function originOf(
  { node, op, sites, weights, fields }: Group,
  text: string,
  numerals: readonly Numeral[],
  own: string,
): LineOrigin {
  const constants = numerals.map((n) => constantOf(n, fields, own));
  const keys = [...new Set(constants.flatMap((c) => c.keys))];
  const words = new Set(text.match(/[A-Za-z_]\w*/g));
  const tensors = [...new Set([...weights].flatMap(([name, of]) => (words.has(name) ? of : [])))];
  return {
    op: op === node.op ? op : `${op} of ${node.op}`,
    keys: keys.length ? keys : node.keys,
    tensors: tensors.length ? tensors : node.tensors,
    rule: node.rules.at(-1) ?? null,
    rules: node.rules,
    graph: node.line,
    sites: [...new Set(sites)],
    constants,
    of: keys.length || tensors.length ? "line" : "op",
  };
}

/** A kernel that no op of the model has. */
function ofRuntime({ system = {} }: Origins): Group {
  const keys = Object.values(system).flatMap((f) => f.keys);
  const node: NodeOrigin = {
    function: "",
    op: "runtime",
    results: [],
    line: "the runtime launches it beside a step",
    row: 0,
    tensors: [],
    keys,
    from: keys,
    rules: [],
  };
  return { node, op: node.op, sites: [], weights: new Map(), fields: system };
}
