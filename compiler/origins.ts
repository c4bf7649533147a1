// Where every launch came from, kept in the artifact as origins.json: the line of the graph, the checkpoint's tensors, config keys
// and rules. `dsc inspect OUT KERNEL --origin` reads it, so a line of kernel text leads back to config.json.
import { costOf } from "../ir/cost.ts";
import type { Func, Module, Node } from "../ir/graph.ts";
import { nodeLines, printLayers } from "../ir/print.ts";
import type { Draft } from "../passes/plan/select.ts";
import type { ModelSpec } from "./frontend/spec.ts";

export interface Launch {
  kernel: string;
  /** As manifest.json names it: function and value. */
  site: string;
  op: string;
  /** The node in the graph after the last pass; none for copies. */
  line?: string;
  /** Tensors of the checkpoint behind the weights it reads. */
  tensors?: string[];
  /** Config keys of all it was made from. */
  keys?: string[];
  /** "pass: rule", in the order they fired. */
  rules?: string[];
  /** At the sizes the function assumes. */
  bytes?: number;
  flops?: number;
}

export interface Origins {
  /** Numbers of the config, and products of them that layouts are made of: "1536" to "q_lora_rank". */
  numbers: Record<string, string[]>;
  launches: Launch[];
}

/** Collects launches while functions are planned. */
export class OriginLog {
  readonly launches: Launch[] = [];
  readonly #module: Module;
  readonly #lines = new Map<string, Map<Node, string>>();

  constructor(module: Module) {
    this.#module = module;
  }

  add(kernel: string, f: Func, { site, node }: Draft & { kind: "kernel" }): void {
    if (!node) return void this.launches.push({ kernel, site, op: "copy" });
    if (!this.#lines.has(f.name)) this.#lines.set(f.name, nodeLines(f));
    const origins = node.graph.originsOf(node);
    const tensors = node.operands.flatMap((o) => (o.node.op.name === "weight" ? this.#tensors(o.node.attrs.name as string) : []));
    const cost = Object.keys(f.assume).length ? costOf(node, f.assume) : undefined;
    this.launches.push({
      kernel,
      site,
      op: node.op.name,
      line: this.#lines.get(f.name)!.get(node),
      tensors,
      keys: [...new Set(origins.flatMap((o) => (o.kind === "config" ? o.keys : [])))],
      rules: origins.flatMap((o) => (o.kind === "rule" ? [`${o.pass}: ${o.rule}`] : o.kind === "plugin" ? [`plug-in ${o.file}`] : [])),
      ...(cost ? { bytes: cost.bytes, flops: cost.flops } : {}),
    });
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

/** Which config keys a number in a kernel's text may be. Small numbers are everywhere and mean nothing. */
export function numbersOf(s: ModelSpec): Record<string, string[]> {
  const out = new Map<number, string[]>();
  const key = (field: string): string => s.keys[field]?.[0] ?? field;
  const note = (value: number | null | undefined, name: string): void => {
    if (value === null || value === undefined || value < 16) return;
    const names = out.get(value) ?? [];
    if (!names.includes(name)) out.set(value, [...names, name]);
  };
  for (const f of ["hidden", "vocab", "heads", "qLora", "kvLora", "nope", "rope", "vDim", "intermediate"] as const) note(s[f], key(f));
  const [heads, nope, rope, v, r] = ["heads", "nope", "rope", "vDim", "kvLora"].map(key);
  note(s.nope + s.rope, `${nope} + ${rope}`);
  note(s.kvLora + s.rope, `${r} + ${rope}`);
  note(s.heads * (s.nope + s.rope), `${heads} * (${nope} + ${rope})`);
  note(s.heads * (s.nope + s.vDim), `${heads} * (${nope} + ${v})`);
  note(s.heads * s.vDim, `${heads} * ${v}`);
  note(2 * s.intermediate, `2 * ${key("intermediate")}`);
  if (s.qLora !== null) note(s.qLora + s.kvLora + s.rope, `${key("qLora")} + ${r} + ${rope}`);
  if (s.moe) {
    note(s.moe.experts, "n_routed_experts");
    note(s.moe.topk, "num_experts_per_tok");
    note(s.moe.groups, "n_group");
    note(s.moe.kept, "topk_group");
    note(s.moe.intermediate, "moe_intermediate_size");
    note(2 * s.moe.intermediate, "2 * moe_intermediate_size");
    if (s.moe.shared > 1) note(s.moe.shared * s.moe.intermediate, "n_shared_experts * moe_intermediate_size");
  }
  return Object.fromEntries([...out].toSorted(([a], [b]) => a - b).map(([n, names]) => [String(n), names]));
}

/** A launch a line, so that files differ where launches do. */
export const originsText = ({ numbers, launches }: Origins): string =>
  `{\n "numbers": ${JSON.stringify(numbers)},\n "launches": [\n${launches.map((l) => `  ${JSON.stringify(l)}`).join(",\n")}\n ]\n}\n`;
