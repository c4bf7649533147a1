// Where every launch, every field of a kernel's problem and every line of a kernel's text came from: origins.json of an artifact. It is
// written while functions are planned, from what made each part; nothing is found by comparing numbers. docs/inspect.md has the schema.
import type { TargetBackend } from "../../codegen/backend.ts";
import { everyNode, isWeight, weightName } from "../../ir/index.ts";
import { Terms } from "../../ir/terms.ts";
import type { Func, Module, Node, Value } from "../../ir/graph.ts";
import type { KernelText, Segment } from "../../ir/kernel/catalogue.ts";
import { nodeLines, printLayers, rowsOf } from "../../ir/print.ts";
import type { Tenant } from "../../passes/plan/memory.ts";
import type { Draft } from "../../passes/plan/select.ts";
import { labelsOf } from "../../passes/site.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import { FieldLog, type Fields, type Naming } from "./fields.ts";
import { keysOfNode, namingOf } from "./naming.ts";

export const ORIGINS = "dsc-origins/3";

/** origins.json. */
export interface Origins {
  schema: typeof ORIGINS;
  /** Nodes of the last graph that are launched. */
  nodes: NodeOrigin[];
  launches: LaunchOrigin[];
  /** Fields of problems by path, with where each came from; launches refer to them. */
  fields: Fields[];
  /** Kernels by name, those that the runtime launches for itself too: what the lines of their texts are. */
  kernels: Record<string, { lines: Run[] }>;
  functions: Record<string, { buffers: Tenant[] }>;
  /** Values of config keys that anything is made of, as JSON; none of a model that was made small. */
  config: Record<string, string>;
  /** Of the kernels that the runtime launches for itself: what their texts are made of, beside what they say themselves. */
  system?: Fields;
}

/**
 * A run of lines: the number of its first line (from 1), what it is, its name (of a helper, of a role, of what a header says; of a
 * statement its text), and the ops of a fused op's graph that it computes, where it serves not all of them.
 */
export type Run = readonly [line: number, kind: Segment["kind"], name?: string | null, ops?: readonly string[]];

/** A node of the graph after the last pass. */
export interface NodeOrigin {
  function: string;
  op: string;
  /** Its results as the ledger calls them. */
  results: string[];
  /** The line of it in its function's text, and which line of the function that is, the head being 0. */
  line: string;
  row: number;
  /** Tensors of the checkpoint behind the weights it reads. */
  tensors: string[];
  /** Config keys that its sizes, attributes and formats are made of. */
  keys: string[];
  /** Config keys of all that was consumed on the way to it: a wider list. */
  from: string[];
  /** "pass: rule", in the order they fired. */
  rules: string[];
}

/** A launch of the plan, in the order of the plan. */
export interface LaunchOrigin {
  kernel: string;
  /** As manifest.json names it: function and value. */
  site: string;
  /** The op that it serves; of an op made of others, the part. "copy" where it moves what no view can say. */
  op: string;
  /** Index into `nodes`: the node that it serves, or whose value it moves. */
  node?: number;
  /** Index into `fields`. */
  fields: number;
}

/** A launch and its node as one record. */
export interface Launch {
  kernel: string;
  site: string;
  op: string;
  line?: string;
  tensors?: string[];
  keys?: string[];
  rules?: string[];
}

/** The launches of origins.json, each with what its node says. */
export const launchesIn = ({ launches, nodes }: Pick<Origins, "launches" | "nodes">): Launch[] =>
  launches.map(({ kernel, site, op, node }) => {
    if (node === undefined) return { kernel, site, op };
    const { line, tensors, keys, rules } = nodes[node];
    return { kernel, site, op, line, tensors, keys, rules };
  });

/** Collects launches and buffers while functions are planned. */
export class OriginLog {
  readonly origins: Origins = { schema: ORIGINS, nodes: [], launches: [], fields: [], kernels: {}, functions: {}, config: {} };
  readonly #module: Module;
  readonly #known = new Map<Func, Map<Node, number>>();
  readonly #texts = new Map<Func, { lines: Map<Node, string>; rows: Map<Node, number>; labels: ReturnType<typeof labelsOf> }>();

  readonly #terms: Terms;
  readonly #naming: Naming;
  readonly #specKeys: ModelSpec["keys"];
  readonly #log: FieldLog;
  readonly #fields = new Map<string, number>();

  constructor(module: Module, spec: ModelSpec, target: Pick<TargetBackend, "problemsOf">) {
    this.#module = module;
    this.#specKeys = spec.keys;
    this.origins.config = Object.fromEntries(Object.entries(spec.values).toSorted(([a], [b]) => (a < b ? -1 : 1)));
    this.#naming = namingOf(spec, (n) => this.#tensorsOf(n));
    this.#terms = Terms.of(module, this.#naming.quantities);
    this.#log = new FieldLog(this.#terms, this.#naming, target, outerValues(module));
  }

  /** A buffer of a function's arena. */
  keep(f: Func, tenant: Tenant): void {
    (this.origins.functions[f.name] ??= { buffers: [] }).buffers.push(tenant);
  }

  /** The kernels that the runtime launches for itself. */
  system(texts: readonly KernelText[], vocab: number): void {
    for (const { name, segments } of texts) this.text(name, segments ?? []);
    const keys = this.#naming.keysOf("vocab");
    this.origins.system = { vocab: { value: vocab, from: keys.join(", "), keys } };
  }

  /** What the lines of a kernel's text are. */
  text(kernel: string, segments: readonly Segment[]): void {
    this.origins.kernels[kernel] = {
      lines: segments.map(({ line, kind, name, ops }): Run => {
        if (ops) return [line + 1, kind, name ?? null, ops];
        return name === undefined ? [line + 1, kind] : [line + 1, kind, name];
      }),
    };
  }

  add(kernel: string, f: Func, d: Draft & { kind: "kernel" }): void {
    const { site, node, of, chosen } = d;
    const op = chosen.part?.op ?? node?.op.name ?? "copy";
    const behind = node ?? (of && !of.node.leaf ? of.node : undefined);
    const fields = this.#log.of(d);
    const text = JSON.stringify(fields);
    let at = this.#fields.get(text);
    if (at === undefined) this.#fields.set(text, (at = this.origins.fields.push(fields) - 1));
    this.origins.launches.push({ kernel, site, op, ...(behind ? { node: this.#node(f, behind) } : {}), fields: at });
  }

  #node(f: Func, n: Node): number {
    const known = this.#known.get(f) ?? new Map<Node, number>();
    this.#known.set(f, known);
    let index = known.get(n);
    if (index === undefined) known.set(n, (index = this.origins.nodes.push(this.#describe(f, n)) - 1));
    return index;
  }

  #describe(f: Func, n: Node): NodeOrigin {
    const text = this.#texts.get(f) ?? { lines: nodeLines(f), rows: rowsOf(f), labels: labelsOf(f) };
    this.#texts.set(f, text);
    const origins = n.graph.originsOf(n);
    return {
      function: f.name,
      op: n.op.name,
      results: n.results.map((r) => text.labels.get(r) ?? n.op.name),
      line: text.lines.get(n)!.replace(/ {2,}/g, " "),
      row: text.rows.get(n)!,
      tensors: this.#tensorsOf(n),
      keys: keysOfNode(n, this.#terms, this.#naming, this.#specKeys),
      from: [...new Set(origins.flatMap((o) => (o.kind === "config" ? o.keys : [])))],
      rules: origins.flatMap((o) =>
        o.kind === "rule" ? [`${o.pass}: ${o.rule}`] : o.kind === "plugin" ? [`plug-in ${o.file}`] : [],
      ),
    };
  }

  /** Tensors behind the weights that a node reads, through views of them. */
  #tensorsOf(n: Node): string[] {
    const stored = (v: Value): Value => (v.node.op.traits.view === "strides" ? stored(v.node.operands[0]) : v);
    return [...new Set(n.operands.map(stored).flatMap((o) => (isWeight(o) ? this.#tensors(weightName(o)!) : [])))];
  }

  #tensors(symbol: string): string[] {
    const decl = this.#module.weights.get(symbol)!;
    const of = decl.layers ? ` (layers ${printLayers(decl.layers)})` : "";
    if (decl.source.kind === "checkpoint") return decl.source.pieces.map((p) => p.tensor + of);
    if (decl.source.kind === "rope") return ["none: computed from the rope settings"];
    // What a load function computes has the tensors of what it reads.
    const from = symbol.replace(/\.exact$/, "");
    return this.#module.weights.has(from) && from !== symbol ? this.#tensors(from) : [`computed by @${decl.source.by}`];
  }
}

/** What the parameters of regions stand for. */
function outerValues(m: Module): Map<Value, Value> {
  const outer = new Map<Value, Value>();
  for (const f of m.funcs.values())
    for (const { region, operands, op } of everyNode(f))
      for (const [i, p] of region?.params.entries() ?? [])
        outer.set(p, operands.slice(op.traits.region === "sequences" ? 1 : 2)[i]);
  return outer;
}

/** A record a line, so that files differ where launches do. */
export function originsText(o: Origins): string {
  const list = (items: readonly unknown[]): string =>
    items.length ? `[\n${items.map((i) => `  ${JSON.stringify(i)}`).join(",\n")}\n ]` : "[]";
  const record = (of: object): string => {
    const lines = Object.entries(of).map(([name, v]) => `  ${JSON.stringify(name)}: ${JSON.stringify(v)}`);
    return lines.length ? `{\n${lines.join(",\n")}\n }` : "{}";
  };
  return [
    `{\n "schema": ${JSON.stringify(o.schema)}`,
    ` "nodes": ${list(o.nodes)}`,
    ` "launches": ${list(o.launches)}`,
    ` "fields": ${list(o.fields)}`,
    ` "kernels": ${record(o.kernels)}`,
    ` "config": ${record(o.config)}`,
    ` "functions": ${record(o.functions)}${o.system ? `,\n "system": ${JSON.stringify(o.system)}` : ""}\n}\n`,
  ].join(",\n");
}
