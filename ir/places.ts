// Where the parts of a module stand in a text: in the one it was parsed from, or in the one it prints as.
import { lineSpan, type Span } from "./diagnostic.ts";
import type { Func, Graph, Module, Node } from "./graph.ts";
import { everyNode, printFunc, printModule, rowsOf } from "./print.ts";

/** Lines of the text that a graph was parsed from. */
export interface Places {
  nodes: Map<Node, Span>;
  /** Heads of functions, by name. */
  funcs: Map<string, Span>;
  /** Lines that name an entry, by its kind. */
  entries: Map<string, Span>;
}

const parsed = new WeakMap<Graph, Places>();

/** The lines of a graph's text; the parser fills them. */
export function placesOf(graph: Graph): Places {
  const known = parsed.get(graph) ?? { nodes: new Map(), funcs: new Map(), entries: new Map() };
  parsed.set(graph, known);
  return known;
}

/** The place of a word of a line: of the first character of the line where the word is not in it. */
function underlined(line: Span, word: string | undefined): Span {
  const text = line.text ?? "";
  const at = word === undefined ? -1 : text.search(new RegExp(`(?<![\\w.@%])${word.replace(/[^\w]/g, "\\$&")}(?![\\w.])`));
  if (at < 0) return line;
  return { ...line, column: at + 1, length: word!.length };
}

/** Places in one module. Nodes that no text has are found in what the module prints as, under the name of `file`. */
export class ModulePlaces {
  readonly #module: Module;
  readonly #file: string;
  #printed: string[] | undefined;

  constructor(module: Module, file: string) {
    [this.#module, this.#file] = [module, file];
  }

  /** The line of a node, or of what reads it where it has none of its own: weights and parameters. */
  node(f: Func, n: Node, word?: string): Span {
    const nodes = everyNode(f);
    const written = placesOf(n.graph).nodes;
    const line = [n, ...nodes.filter((r) => r.operands.some((o) => o.node === n))];
    const text = line.find((l) => written.has(l));
    if (text) return underlined(written.get(text)!, word);
    const rows = rowsOf(f);
    const row = line.find((l) => rows.has(l));
    return underlined(this.#inFunc(f, row ? rows.get(row)! : rows.size + 1), word);
  }

  /** The line of an entry: "entry decode = @nothing". */
  entry(kind: string, word: string): Span {
    const text = placesOf(this.#module.graph).entries.get(kind);
    const row = this.#lines().findIndex((l) => l.startsWith(`entry ${kind} = `));
    return underlined(text?.text?.endsWith(word) ? text : this.#line(row), word);
  }

  /** A line of a function, counted from its head. */
  #inFunc(f: Func, row: number): Span {
    const head = printFunc(f).split("\n", 1)[0];
    return this.#line(this.#lines().indexOf(head) + row);
  }

  #line(row: number): Span {
    return lineSpan(this.#file, row + 1, this.#lines()[row] ?? "");
  }

  #lines(): string[] {
    return (this.#printed ??= printModule(this.#module).split("\n"));
  }
}
