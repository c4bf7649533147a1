// A function's text as nodes and edges, read line by line: the text is the graph, and the page keeps no second copy of it.

export interface GraphNode {
  id: string;
  op: string;
  /** Printed names of its results, with %. */
  results: string[];
  /** %values and @weights. */
  operands: string[];
  attrs: string;
  type: string;
  /** The line of the text, from 0. */
  line: number;
  /** Of a call: the function, and the layers of all the calls in a row it stands for. */
  call?: { name: string; layers: number[] };
  /** Of a region: what is inside. */
  body?: FunctionGraph;
}

export interface FunctionGraph {
  params: { name: string; type: string }[];
  nodes: GraphNode[];
  /** What it returns or yields: names of results where it says them, and values. */
  returns: { name: string; value: string }[];
}

/** Splits at commas outside brackets. */
function split(text: string): string[] {
  const out: string[] = [];
  let depth = 0;
  let from = 0;
  for (let i = 0; i <= text.length; i++) {
    const c = text[i];
    if (c === "(" || c === "[" || c === "{") depth++;
    else if (c === ")" || c === "]" || c === "}") depth--;
    else if (c === undefined || (c === "," && depth === 0)) {
      const part = text.slice(from, i).trim();
      if (part) out.push(part);
      from = i + 1;
    }
  }
  return out;
}

const paramsOf = (text: string): FunctionGraph["params"] =>
  split(text).map((p) => {
    const at = p.indexOf(": ");
    return { name: p.slice(0, at), type: p.slice(at + 2).replace(/ from .*/, "") };
  });

const returnsOf = (text: string): FunctionGraph["returns"] =>
  split(text).map((r) => {
    const at = r.indexOf(" = ");
    return at < 0 ? { name: "", value: r } : { name: r.slice(0, at), value: r.slice(at + 3) };
  });

/** Reads lines from `at` on until the graph's end; gives the line after it. */
function read(
  lines: readonly string[],
  at: number,
  params: FunctionGraph["params"],
): { graph: FunctionGraph; next: number; close: string } {
  const graph: FunctionGraph = { params, nodes: [], returns: [] };
  for (let i = at; i < lines.length; i++) {
    const line = lines[i].trim();
    if (line.startsWith("}")) return { graph, next: i + 1, close: line };
    if (line.startsWith("return ") || line.startsWith("yield ")) graph.returns = returnsOf(line.replace(/^\w+ /, ""));
    else if (line.startsWith("... ")) moreCalls(graph, line);
    else if (line.includes(" = ")) {
      const { node, region } = readNode(line, i);
      if (region !== undefined) {
        const inner = read(lines, i + 1, paramsOf(region));
        node.body = inner.graph;
        node.type = inner.close.replace(/^\}\s*:?\s*/, "");
        i = inner.next - 1;
      }
      push(graph, node);
    }
  }
  return { graph, next: lines.length, close: "" };
}

const HEAD = /^(.*?) = (\S+) ?(.*)$/;

function readNode(line: string, at: number): { node: GraphNode; region?: string } {
  const [, results, op, rest] = HEAD.exec(line)!;
  const region = /\{ \((.*)\) ->$/.exec(rest)?.[1];
  const body = region === undefined ? rest : rest.slice(0, rest.lastIndexOf("{ ("));
  const colon = region === undefined ? body.lastIndexOf(" : ") : -1;
  const type = colon < 0 ? "" : body.slice(colon + 3).trim();
  const args = (colon < 0 ? body : body.slice(0, colon)).trim();
  const attrs = /\{(.*)\}$/.exec(args)?.[1] ?? "";
  const named = attrs ? args.slice(0, args.length - attrs.length - 2).trim() : args;
  const callee = op === "call" ? /^@(\S+?),? /.exec(`${named} `)?.[1] : undefined;
  const operands = split(callee === undefined ? named : named.slice(callee.length + 1)).filter((o) => /^[%@]/.test(o));
  const layer = /layer = (\d+)/.exec(attrs)?.[1];
  return {
    node: {
      id: `n${at}`,
      op,
      results: results.split(", "),
      operands,
      attrs,
      type,
      line: at,
      ...(callee === undefined ? {} : { call: { name: callee, layers: layer === undefined ? [] : [Number(layer)] } }),
    },
    ...(region === undefined ? {} : { region }),
  };
}

/** Calls in a row of one function are one node, which takes what the first takes and gives what the last gives. */
function push(graph: FunctionGraph, node: GraphNode): void {
  const last = graph.nodes.at(-1);
  if (node.call && last?.call?.name === node.call.name) {
    last.call.layers.push(...node.call.layers);
    last.results = node.results;
  } else graph.nodes.push(node);
}

function moreCalls(graph: FunctionGraph, line: string): void {
  const found = /layers (\d+) to (\d+)/.exec(line);
  const last = graph.nodes.at(-1);
  if (found && last?.call) for (let l = Number(found[1]); l <= Number(found[2]); l++) last.call.layers.push(l);
}

export function parseFunction(text: string): FunctionGraph {
  const lines = text.split("\n");
  const head = lines[0];
  const open = head.indexOf("(");
  let depth = 0;
  let close = open;
  for (; close < head.length; close++) {
    if (head[close] === "(") depth++;
    if (head[close] === ")" && --depth === 0) break;
  }
  return read(lines, 1, paramsOf(head.slice(open + 1, close))).graph;
}

/** Nodes of a graph and of the regions in it. */
export const everyNode = (g: FunctionGraph): GraphNode[] => g.nodes.flatMap((n) => (n.body ? [n, ...everyNode(n.body)] : [n]));

/** How many ops a function's text has. */
export const opCount = (text: string): number =>
  everyNode(parseFunction(text)).reduce((n, x) => n + Math.max(1, x.call?.layers.length ?? 1), 0);
