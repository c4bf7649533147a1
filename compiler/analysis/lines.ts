// A kernel's text line by line: what each line is, the ops it serves with their tensors and rules, and where its numbers came from. As
// data of `dsc inspect OUT KERNEL --line N --json`.
import type { TargetBackend } from "../../codegen/backend.ts";
import { inside, type Manifest, type Step } from "../../ir/artifact.ts";
import { boundBuffers, type Problem } from "../../ir/kernel/catalogue.ts";
import { constantOf, numeralsOf, type Constant, type Numeral } from "./constants.ts";
import type { Fields } from "./fields.ts";
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
  /** Of a helper its name, of a statement of the tile program its text. */
  name?: string;
  origins: LineOrigin[];
}

export interface KernelLines {
  kernel: string;
  lines: Line[];
}

/** What is known of a kernel of an artifact. */
export interface KernelFacts {
  kernel: string;
  manifest: Manifest;
  text: string;
  problem: Problem | undefined;
  /** Absent where its family is not known here, or prints another text now. */
  target?: Pick<TargetBackend, "sourceOf">;
}

export function linesOf({ kernel, manifest, text, problem, target }: KernelFacts, o: Origins): KernelLines {
  const { family } = manifest.kernels[kernel];
  const runs = o.kernels[kernel]?.lines ?? [];
  const lines = text.replace(/\n$/, "").split("\n");
  const launches = o.launches.filter((l) => l.kernel === kernel);
  const numbers = numeralsIn(text, problem, family, target);
  const served = new Map<number, string[]>();
  for (const l of launches) if (l.node !== undefined) served.set(l.node, [...(served.get(l.node) ?? []), l.site]);
  const first = new Map(launches.toReversed().flatMap((l) => (l.node === undefined ? [] : [[l.node, l] as const])));
  const weights = weightsBound(manifest, kernel);
  const groups = alike(
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
      const [, kind, name] = runs[at] ?? [1, "body"];
      const numerals = kind === "header" || kind === "helper" ? [] : (numbers?.[i] ?? []);
      return {
        line: i + 1,
        text: content,
        kind,
        ...(name === undefined ? {} : { name }),
        origins: groups.map((g) => originOf(g, content, numerals)),
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
  const { params } = kernels[kernel];
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

function originOf({ node, op, sites, weights, fields }: Group, text: string, numerals: readonly Numeral[]): LineOrigin {
  const constants = numerals.map((n) => constantOf(n, fields));
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

/** A text, or undefined where its family is not known here: a plug-in's. */
function printable(print: () => string): string | undefined {
  try {
    return print();
  } catch (e) {
    if (e instanceof TypeError) return undefined;
    throw e;
  }
}

/** The numbers of the text by line; undefined where the kernel cannot be printed again as it is. */
function numeralsIn(
  text: string,
  problem: Problem | undefined,
  family: string,
  target: KernelFacts["target"],
): Numeral[][] | undefined {
  if (!problem || !target) return undefined;
  const print = (p: object): string => target.sourceOf(family, p);
  const own = printable(() => print(problem));
  if (own === undefined) return undefined;
  if (!text.endsWith(own)) return undefined;
  const above = text.slice(0, text.length - own.length).split("\n").length - 1;
  return [...Array.from({ length: above }, () => []), ...numeralsOf(own, problem, print)];
}
