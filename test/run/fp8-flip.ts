// Quantised activations made visible, to explain one answer: a pass that adds what every quantising op reads and gives to the
// results of a step, and one that changes named e4m3 codes and nothing else. Rows quantised inside a map_sequences region (the
// latents of expanded attention) are not seen. A layer function is taken to serve one layer, as in the fixture.
import {
  gatedPair,
  gatedQuant,
  addNormBoth,
  addNormQuant,
  asTensor,
  call,
  dequantize,
  make,
  normQuant,
  rmsNorm,
  topological,
} from "../../ir/index.ts";
import type { Func, Module, NamedValue, Node, Op, Value } from "../../ir/index.ts";
import { pass, type Pass } from "../../passes/index.ts";
import { rebuild } from "../../passes/rewrite.ts";

/** One e4m3 code of one step: `reader` is the weight that meets the codes first, e.g. "dense_layer.wo". */
export interface Code {
  entry: "prefill" | "decode";
  /** Cached rows of the sequence after the step. */
  length: number;
  reader: string;
  row: number;
  column: number;
  /** Its value, a point of the e4m3 grid. */
  code: number;
}

const quantising = new Set(["quantize", "norm_quant", "gated_quant", "add_norm_quant", "add_norm_both"]);

/** The codes a quantising op gives: its last result. */
const codesOf = (node: Node): Value => node.results[node.results.length - 1];

/** The ops of a function that quantise rows, in the order they run. */
function quantisers(f: Func): { reader: string; node: Node }[] {
  const nodes = topological(f.results.map((r) => r.value));
  const readerOf = (v: Value): string => {
    for (const n of nodes) {
      if (!n.operands.includes(v)) continue;
      if (n.op.name === "gather_rows") return readerOf(n.results[0]);
      const w = n.operands.find((o) => o.node.op.name === "weight");
      if (w) return w.node.attrs.name as string;
    }
    throw new RangeError(`no weight reads a quantised row of @${f.name}`);
  };
  return nodes.filter((n) => quantising.has(n.op.name)).map((node) => ({ reader: readerOf(codesOf(node)), node }));
}

/** The row before it is quantised: an op of its own where the fused kernel never writes it. */
function rowOf(n: Node): Value {
  const { operands, results } = n;
  if (addNormQuant.made(n)) return rmsNorm({ x: results[0], gain: operands[2], eps: n.attrs.eps });
  if (addNormBoth.made(n)) return results[1];
  if (normQuant.made(n)) return rmsNorm({ x: operands[0], gain: operands[1], eps: n.attrs.eps });
  return gatedQuant.made(n) ? gatedPair({ x: operands[0], act: n.attrs.act, limit: n.attrs.limit }) : operands[0];
}

/** Adds results "L READER row" (before) and "L READER quantised" (codes times scales) for every quantising op of every layer. */
export const watch: Pass = pass({
  name: "watch",
  summary: "Give the rows that are quantised, before and after, as further results.",
  whole(m: Module): Module {
    const layers = new Map<string, { func: Func; extra: NamedValue[] }>();
    const funcs = new Map<string, Func>();
    for (const f of m.funcs.values()) {
      const extra = quantisers(f).flatMap(({ reader, node }) => [
        { name: `${reader} row`, value: rowOf(node) },
        { name: `${reader} quantised`, value: dequantize({ x: codesOf(node) }) },
      ]);
      // Calls are interned by the name of the callee: a function with more results needs another.
      const func = extra.length ? { ...f, name: `${f.name}/watched`, results: [...f.results, ...extra] } : f;
      if (extra.length) layers.set(f.name, { func, extra });
      const seen: NamedValue[] = [];
      const caller = rebuild(func, m.graph, (values, original) => {
        const callee = original.op.name === "call" ? layers.get(original.attrs.func as string) : undefined;
        if (!callee) return undefined;
        const layer = original.attrs.layer as number;
        const out = call(m.graph, callee.func, values[0].node.operands, layer);
        for (const { name } of callee.extra) seen.push({ name: `${layer} ${name}`, value: out[name] });
        return Object.values(out).slice(0, original.results.length);
      });
      funcs.set(func.name, { ...caller, results: [...caller.results, ...seen] });
    }
    return { ...m, funcs };
  },
});

/** Puts codes in place of those computed. For the interpreter only: no kernel does this. */
export const withCodes = (codes: readonly Code[]): Pass =>
  pass({
    name: "with-codes",
    summary: "Change named e4m3 codes.",
    run(f, { module }) {
      const changed = new Map<Node, Op>();
      for (const { reader, node } of quantisers(f)) {
        const here = codes.filter((c) => c.reader === reader && f.name.startsWith(`${c.entry}/`));
        if (here.length) changed.set(node, changing(node, here));
      }
      return rebuild(f, module.graph, (values, original) => {
        const op = changed.get(original);
        return op && make(op, values[0].node.operands, original.attrs, undefined, module.graph);
      });
    },
  });

function changing(node: Node, codes: readonly Code[]): Op {
  const { op } = node;
  const width = asTensor(codesOf(node).type).dims.at(-1) as number;
  return {
    ...op,
    // Nodes are interned by the name of their op.
    name: `${op.name} but ${JSON.stringify(codes)}`,
    reference(ins, attrs, env) {
      const all = op.reference!(ins, attrs, env);
      const out = all[node.results.indexOf(codesOf(node))];
      for (const c of codes) if (c.length === env.batch.lengths[0]) out.data[c.row * width + c.column] = c.code;
      return all;
    },
  };
}
