// Work done once. A stack of stored weights is placement: bytes are read straight to where they belong. What must be
// computed from weights alone (a dequantised W_UK, W_UV) moves into a `load` function.
import { type Func, type Module, type Value, type WeightDecl } from "../../ir/graph.ts";
import type { Piece } from "../../ir/artifact.ts";
import {
  asTensor,
  dequantize,
  einsumOp,
  einsumQuant,
  everyNode,
  fixed,
  isWeight,
  joinExperts,
  joinRows,
  pad,
  stack,
  weight,
  weightName,
  type Node,
  type Source,
} from "../../ir/index.ts";
import { scaledLinears } from "../fp8/fp8-block-gemm.ts";
import { pass, type Cx } from "../pass.ts";
import { atLoad, sizesIn } from "../at-load.ts";
import { rebuild } from "../rewrite.ts";

/** stack(@gate, @up) = @gate_up, whose pieces are the two tensors at leading index 0 and 1. */
export const placeStacks = (m: Module, cx: Cx): Module =>
  placed(m, cx, stack, (pieces, i) => pieces[i].map((p) => ({ ...p, at: [...p.at, i] })));

/** join_rows(@wq_a, @wkv_a) = @wq_a_wkv_a: the first tensor's rows, then the second's. */
export const placeJoined = (m: Module, cx: Cx): Module =>
  placed(m, cx, joinRows, (pieces, i, [a, b]) => {
    const [n, k] = [fixed(a.type.dims[0]), fixed(b.type.dims[0])];
    const from = i === 0 ? 0 : n;
    return pieces[i].map((p) => ({
      ...p,
      rows: p.rows ? [from + p.rows[0], from + p.rows[1]] : [from, from + (i === 0 ? n : k)],
    }));
  });

/**
 * join_experts(@experts.gate, @shared.gate): tensors of the routed experts at 0 .. e, that of the shared one at e; parts of one of
 * several at e, e + 1, ...
 */
export const placeExperts = (m: Module, cx: Cx): Module =>
  placed(m, cx, joinExperts, (pieces, i, [a], { attrs: { parts, of } }) => {
    const e = fixed(a.type.dims[0]);
    return pieces[i].flatMap((p): Piece[] => {
      if (i === 0) return [{ ...p, at: p.at.map((x, axis) => (axis === 0 && x === "*" ? (`0..${e}` as const) : x)) }];
      if (parts === 1) return [{ ...p, at: [e, ...p.at] }];
      return Array.from({ length: parts }, (_, index) => ({
        ...p,
        at: [e + index, ...p.at],
        part: { of, index, count: parts },
      }));
    });
  });

/** Replaces an op over two stored weights by one weight; `move` says where the pieces of operand i go. */
function placed<A>(
  m: Module,
  cx: Cx,
  by: { made(n: Node): n is Node & { attrs: A } },
  move: (pieces: Piece[][], i: number, decls: WeightDecl[], of: { attrs: A }) => Piece[],
): Module {
  const weights = new Map(m.weights);
  const graph = m.graph;
  const funcs = new Map<string, Func>();
  for (const f of m.funcs.values())
    funcs.set(
      f.name,
      rebuild(f, graph, (values) => {
        const n = values[0].node;
        if (!by.made(n) || !n.operands.every(isWeight)) return undefined;
        const decls = n.operands.map((o) => weights.get(weightName(o)!)!);
        const sources = decls.map((d) => d.source);
        if (!sources.every((s) => s.kind === "checkpoint")) return undefined;
        const [a, b] = decls;
        const name = joined(a.name, b.name);
        if (!weights.has(name)) cx.fired("place", { at: name });
        const pieces = sources.map((s) => s.pieces);
        const source: Source = { kind: "checkpoint", pieces: [...move(pieces, 0, decls, n), ...move(pieces, 1, decls, n)] };
        const decl: WeightDecl = {
          name,
          type: asTensor(values[0].type),
          layers: a.layers,
          source,
          origin: [...a.origin, ...b.origin],
          ...sizesIn(m, values[0]),
        };
        weights.set(name, decl);
        return [weight(graph, decl)];
      }),
    );
  return { ...m, weights, funcs };
}

/** pad(@w) = @w.padded: the same tensors among zeros. */
export function placePadded(m: Module): Module {
  const weights = new Map(m.weights);
  const funcs = new Map<string, Func>();
  for (const f of m.funcs.values())
    funcs.set(
      f.name,
      rebuild(f, m.graph, (values) => {
        const n = values[0].node;
        if (!pad.made(n)) return undefined;
        const decl = weights.get(weightName(n.operands[0]) ?? "");
        if (decl?.source.kind !== "checkpoint") return undefined;
        const name = `${decl.name}.padded`;
        const size = fixed(decl.type.dims.at(n.attrs.axis));
        const pieces = decl.source.pieces.map((p): Piece =>
          n.attrs.axis === -1 ? { ...p, columns: [0, size] } : { ...p, rows: p.rows ?? [0, size] },
        );
        const padded: WeightDecl = {
          ...decl,
          name,
          type: asTensor(values[0].type),
          source: { kind: "checkpoint", pieces },
          ...sizesIn(m, values[0]),
        };
        weights.set(name, padded);
        return [weight(m.graph, padded)];
      }),
    );
  return { ...m, weights, funcs };
}

/** "ffn.gate" and "ffn.up" -> "ffn.gate_up"; "experts.gate" and "shared.gate" -> "experts_shared.gate". */
const joined = (a: string, b: string): string => {
  const [x, y] = [a, b].map((n) => n.slice(n.lastIndexOf(".") + 1));
  // "experts.gate" and "shared.gate" -> "experts_shared.gate".
  if (x !== y) return `${a}_${y}`;
  const [one, other] = [a, b].map((n) => n.slice(0, n.lastIndexOf(".")));
  return `${one}_${other.slice(other.lastIndexOf(".") + 1)}.${x}`;
};

const atLoadStep = "compute when loading";

/** dequantize(@w) feeding products per head: computed once at load, kept as @w.exact. */
export const load = pass({
  name: "load",
  summary: "Compute what depends on weights alone once, when the weights are loaded.",
  steps: { [atLoadStep]: "a dequantised stored weight that an einsum reads" },
  promises: [
    {
      rules: [atLoadStep],
      // Once per kind of layer whose latents are absorbed.
      module(bodies, ran) {
        const absorbed = bodies.filter((b) => scaledLinears(b) > 0 && ran(b).fired("absorb W_uk into the query") > 0);
        return new Set(absorbed.map((b) => b.func.split("/").at(-1))).size;
      },
    },
  ],
  whole(m: Module, cx: Cx): Module {
    const loaded = atLoad(m);
    const funcs = new Map<string, Func>();
    const named = new Set<string>();
    for (const f of m.funcs.values()) {
      const wanted = readByEinsums(f);
      funcs.set(
        f.name,
        rebuild(f, m.graph, (_, original) => {
          if (!wanted.has(original.results[0])) return undefined;
          const [from] = original.operands;
          const name = `${weightName(from)!}.exact`;
          if (!named.has(name)) cx.fired(atLoadStep, { at: name });
          named.add(name);
          return [loaded.weight(name, [from], ([x]) => dequantize({ x, dtype: String(original.attrs.dtype) }))];
        }),
      );
    }
    return loaded.module(funcs);
  },
});

/** Dequantised weights that einsums read: a linear has a kernel for packed ones, and expanding those would cost their bytes again. */
function readByEinsums(f: Func): Set<Value> {
  const wanted = new Set<Value>();
  for (const n of everyNode(f)) {
    if (!einsumOp.made(n) && !einsumQuant.made(n)) continue;
    for (let v = n.operands[1]; ; v = v.node.operands[0]) {
      if (dequantize.made(v.node) && isWeight(v.node.operands[0])) wanted.add(v);
      if (v.node.op.traits.view !== "strides") break;
    }
  }
  return wanted;
}
