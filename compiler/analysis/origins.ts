// Where every launch came from, kept in the artifact as origins.json: the line of the graph, the checkpoint's tensors, config keys
// and rules. `dsc inspect OUT KERNEL --origin` reads it, so a line of kernel text leads back to config.json.
import { isWeight, weightName } from "../../ir/index.ts";
import type { Func, Module, Node } from "../../ir/graph.ts";
import { nodeLines, printLayers } from "../../ir/print.ts";
import type { Draft } from "../../passes/plan/select.ts";

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
}

export interface Origins {
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
    const tensors = node.operands.flatMap((o) => (isWeight(o) ? this.#tensors(weightName(o)!) : []));
    this.launches.push({
      kernel,
      site,
      op: node.op.name,
      line: this.#lines.get(f.name)!.get(node),
      tensors,
      keys: [...new Set(origins.flatMap((o) => (o.kind === "config" ? o.keys : [])))],
      rules: origins.flatMap((o) =>
        o.kind === "rule" ? [`${o.pass}: ${o.rule}`] : o.kind === "plugin" ? [`plug-in ${o.file}`] : [],
      ),
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

/** A launch a line, so that files differ where launches do. */
export const originsText = ({ launches }: Origins): string =>
  `{\n "launches": [\n${launches.map((l) => `  ${JSON.stringify(l)}`).join(",\n")}\n ]\n}\n`;
