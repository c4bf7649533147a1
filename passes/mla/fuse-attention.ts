// Attention fusion: the chain score, scale, softmax, mix becomes one `attend`; then what belongs to query rows alone
// moves out of the per-sequence region, and a region that is nothing but attend over latents becomes `mla_attend`.
import {
  add,
  attend,
  bodyOf,
  captures,
  einsum,
  make,
  mapSequences,
  mlaAttend,
  param,
  partsOf,
  scale,
  softmaxCausal,
  split,
  type Func,
  type Graph,
  type Node,
  type Region,
  type Value,
} from "../../ir/index.ts";
import { pass, type Cx } from "../pass.ts";
import { rebuild } from "../rewrite.ts";
import { rule } from "../rule.ts";

/** softmax((q kᵀ + qp kpᵀ) * scale) v, keys and values per head. */
const fuseHeads = rule("attention of expanded heads in one pass", {
  vars: { q: "[t, h, n] a", qp: "[t, h, d] a", k: "[s, h, n] a", kp: "[s, d] a", v: "[s, h, v] a" },
  attrs: { by: 0.25 },
  from: ({ q, qp, k, kp, v, by }) =>
    einsum(
      "ths,shv->thv",
      softmaxCausal({ x: scale({ x: add({ a: einsum("thn,shn->ths", q, k), b: einsum("thd,sd->ths", qp, kp) }), by }) }),
      v,
    ),
  to: ({ q, qp, k, kp, v, by }) => attend({ q, qp, k, kp, v, scale: by }),
});

/** The same over latents: every head reads the same rows. */
const fuseLatents = rule("attention over latents in one pass", {
  vars: { q: "[t, h, r] a", qp: "[t, h, d] a", k: "[s, r] a", kp: "[s, d] a", v: "[s, w] a" },
  attrs: { by: 0.25 },
  from: ({ q, qp, k, kp, v, by }) =>
    einsum(
      "ths,sw->thw",
      softmaxCausal({ x: scale({ x: add({ a: einsum("thr,sr->ths", q, k), b: einsum("thd,sd->ths", qp, kp) }), by }) }),
      v,
    ),
  to: ({ q, qp, k, kp, v, by }) => attend({ q, qp, k, kp, v, scale: by }),
});

const allSequences = "attention of all sequences over the paged cache";
const moved = "row-wise nodes out of the region";

export const fuseAttention = pass({
  name: "fuse-attention",
  summary: "One attention op per body; scores are never stored. Over latents, one op for all sequences.",
  rules: [fuseHeads, fuseLatents],
  steps: {
    [allSequences]: "a map_sequences region with attend in it",
    [moved]: "a map_sequences region that begins or ends with row-wise nodes",
  },
  promises: [
    { rules: [fuseHeads.name, fuseLatents.name], before: (b) => b.all(mapSequences).length },
    {
      rules: [allSequences],
      before: (b) => b.all(mapSequences).length,
      after: (sites, ran) => (ran.fired("absorb W_uk into the query") ? sites : 0),
    },
  ],
  run(f: Func, cx: Cx): Func {
    const graph = cx.module.graph;
    return rebuild(f, graph, (values, original) => {
      const node = values[0].node;
      if (node.op.traits.region !== "sequences") return undefined;
      const rows = moveRows(node, graph);
      if (rows !== node.results[0]) cx.fired(moved, { at: original.results[0] });
      const fused = overLatents(rows, graph);
      if (fused) cx.fired(allSequences, { at: original.results[0] });
      else if (bodyOf(node.region!).some(attend.made))
        cx.unmatched(allSequences, "keys and values are expanded per sequence", original.results[0]);
      else cx.unmatched(allSequences, "its attention was not fused", original.results[0]);
      return [fused ?? rows];
    });
  },
});

/** Whether a node treats every row of its first operand alike: it commutes with cutting rows into sequences. */
function rowwise({ op, attrs }: Node): boolean {
  const { rowwise } = op.traits;
  return typeof rowwise === "function" ? rowwise(attrs) : rowwise === true;
}

/** map f(g(x)) = g outside: leading row-wise nodes are hoisted, a trailing one is sunk. */
function moveRows(node: Node, graph: Graph): Value {
  const [batch, ...xs] = node.operands;
  const region = node.region!;
  const outer = new Set(captures(region));
  const outside = new Map<Value, Value>();
  for (const [i, p] of region.params.entries()) if (isRows(p)) outside.set(p, xs[i]);
  const params = [...region.params];
  const operands = [...xs];
  const swapped = new Map<Value, Value>();
  // Hoist: a node over t rows and captured values only.
  for (const n of bodyOf(region)) {
    if (!rowwise(n) || !isRows(n.results[0]) || !n.operands.every((o, i) => (i === 0 ? outside.has(o) : outer.has(o)))) continue;
    const hoisted = graph.from(graph.originsOf(n), () =>
      make(n.op, [outside.get(n.operands[0])!, ...n.operands.slice(1)], n.attrs),
    )[0];
    outside.set(n.results[0], hoisted);
    const p = param(graph, "ql", n.results[0].type);
    graph.name(hoisted, "ql");
    params.push(p);
    operands.push(hoisted);
    swapped.set(n.results[0], p);
  }
  // Sink: the result is a row-wise node of something made inside.
  let result = region.results[0];
  const after: Node[] = [];
  while (
    rowwise(result.node) &&
    isRows(result.node.operands[0]) &&
    !swapped.has(result) &&
    result.node.operands.slice(1).every((o) => outer.has(o)) &&
    !region.params.includes(result.node.operands[0])
  ) {
    after.unshift(result.node);
    result = result.node.operands[0];
  }
  if (swapped.size === 0 && after.length === 0) return node.results[0];
  const inner = substitute([result], swapped, graph)[0];
  const used = new Set<Value>();
  const mark = (v: Value): void => {
    if (used.has(v)) return;
    used.add(v);
    for (const o of v.node.operands) mark(o);
  };
  mark(inner);
  const kept = params.map((p, i) => [p, operands[i]] as const).filter(([p]) => used.has(p));
  let out = mapSequences({
    batch,
    xs: kept.map(([, o]) => o),
    region: { params: kept.map(([p]) => p), results: [inner] } satisfies Region,
  });
  for (const n of after) out = graph.from(graph.originsOf(n), () => make(n.op, [out, ...n.operands.slice(1)], n.attrs))[0];
  return out;
}

const isRows = (v: Value): boolean => v.type.kind === "tensor" && partsOf(v.type.dims[0] ?? 1).symbol === "t";

function substitute(values: readonly Value[], by: ReadonlyMap<Value, Value>, graph: Graph): Value[] {
  const done = new Map<Value, Value>(by);
  const visit = (v: Value): Value => {
    const known = done.get(v);
    if (known) return known;
    const n = v.node;
    const operands = n.operands.map(visit);
    const results = operands.every((o, i) => o === n.operands[i])
      ? n.results
      : graph.from(graph.originsOf(n), () => make(n.op, operands, n.attrs, n.region));
    for (const [i, r] of n.results.entries()) done.set(r, results[i]);
    return done.get(v)!;
  };
  return values.map(visit);
}

/** map_sequences { attend(ql, qp, c, kp, c) } with c, kp the halves of the cached rows = mla_attend. */
function overLatents(value: Value, graph: Graph): Value | null {
  const map = findMap(value);
  if (!map) return null;
  const a = map.region!.results[0].node;
  if (!attend.made(a)) return null;
  const [q, qp, k, kp, v] = a.operands;
  const rows = k.node.operands[0];
  if (k !== v || !split.made(k.node) || k.index !== 0 || kp.node !== k.node || kp.index !== 1) return null;
  const at = (x: Value): number => map.region!.params.indexOf(x);
  if (at(q) < 0 || at(qp) < 0 || at(rows) < 0) return null;
  const operand = (x: Value): Value => map.operands[at(x) + 1];
  const cache = operand(rows);
  if (cache.type.kind !== "cache") return null;
  const fused = graph.from([...graph.originsOf(map), ...graph.originsOf(a)], () =>
    mlaAttend({ ql: operand(q), qp: operand(qp), cache, batch: map.operands[0], scale: a.attrs.scale }),
  );
  graph.name(fused, "ol");
  return substitute([value], new Map([[map.results[0], fused]]), graph)[0];
}

function findMap(v: Value): Node | null {
  for (let n = v.node; ; n = n.operands[0].node) {
    if (n.op.traits.region === "sequences") return n;
    if (!rowwise(n) || !n.operands.length) return null;
  }
}
