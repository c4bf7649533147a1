// Positions, the cache and attention in ONNX. A graph serves one sequence, so a region over sequences is its body once.
import type { Node, Value } from "../../ir/graph.ts";
import { attend, mlaAttend, rope } from "../../ir/ops/index.ts";
import { fixed } from "../../ir/types.ts";
import { as, dimsOf, given, resultElem, sizes, type Emitted, type Lower, type Lowering } from "./lowering.ts";
import { elem } from "./proto.ts";

/** Pairs side by side become halves first: rotated lanes are in half-split order, in the cache and in queries alike. */
const rotated: Lower = (at, n, [x, table]) => {
  if (!rope.made(n)) throw new TypeError("no rope");
  const { s } = at;
  const dims = dimsOf(n.operands[0]).slice(1).map(fixed);
  const [d, all] = [dims.at(-1)!, dims.reduce((a, b) => a * b, 1)];
  let rows = as(at, x, elem.FLOAT);
  if (n.attrs.interleaved) {
    const pairs = s.op("Reshape", [rows, s.ints([-1, all / d, d / 2, 2])], {}, "pairs");
    rows = s.op("Transpose", [pairs], { perm: [0, 1, 3, 2] }, "halves");
  }
  const row = s.op("Reshape", [rows, s.ints([1, -1, all])], {}, "row");
  const { cos, sin } = table.rotary!;
  const y = s.op("RotaryEmbedding", [row, cos, sin], { interleaved: 0, num_heads: all / d }, "rope");
  return [given(at, n, s.op("Reshape", [y, s.ints(sizes(dimsOf(n.results[0])))]), elem.FLOAT)];
};

/** The rows so far and the new ones. */
const cacheAppend: Lower = (at, _n, [cache, c, kp]) => {
  const { s } = at;
  const row = s.op("Concat", [as(at, c, cache.elem), as(at, kp, cache.elem)], { axis: -1 }, "row");
  return [{ name: s.op("Concat", [cache.name, row], { axis: 0 }, "present"), elem: cache.elem }];
};

const mapSequences: Lower = (at, n, [, ...xs]) => at.region(n, xs, at.s);

const softmaxCausal: Lower = (at, n, [x]) => {
  const { s } = at;
  const seen = s.once("mask by head", () => s.op("Unsqueeze", [at.step.mask, s.ints([1])], {}, "seen"));
  const to = resultElem(at, n);
  const never = s.cast(s.floats(-Infinity), elem.FLOAT, to);
  return [given(at, n, s.op("Softmax", [s.op("Where", [seen, as(at, x, to), never])], { axis: -1 }))];
};

/** Lanes of several values side by side, heads in one row: [1, rows, heads x lanes]. */
function heads(at: Lowering, n: Node, parts: readonly string[], lanes: number): string {
  const { s } = at;
  const whole = parts.length === 1 ? parts[0] : s.op("Concat", parts, { axis: -1 }, "lanes");
  return s.op("Reshape", [whole, s.ints([1, -1, lanes])], {}, "heads");
}

const widthOf = (v: Value): number => fixed(dimsOf(v).at(-1));

/** The standard operator over queries, keys and values with their heads in one row. The mask says what a row sees. */
function attention(
  at: Lowering,
  n: Node,
  [q, k, v]: readonly string[],
  count: number,
  keyHeads: number,
  scale: number,
): Emitted[] {
  const { s } = at;
  const y = s.op(
    "Attention",
    [q, k, v, at.step.mask],
    { q_num_heads: count, kv_num_heads: keyHeads, scale: { f: scale } },
    "attention",
  );
  return [given(at, n, s.op("Reshape", [y, s.ints(sizes(dimsOf(n.results[0])))]))];
}

/** Keys [s, ..g, n] and values [s, ..g, v]: of every head, or the same for all. */
const attended: Lower = (at, n, [q, qp, k, kp, v]) => {
  if (!attend.made(n)) throw new TypeError("no attend");
  const { s } = at;
  const to = resultElem(at, n);
  const [Q, QP, K, KP, V] = n.operands;
  const count = fixed(dimsOf(Q)[1]);
  const [own, ownValues] = [dimsOf(K).length === 3, dimsOf(V).length === 3];
  // Heads share what they share only together: what some have of their own, all are given.
  const shared = !own && !ownValues;
  const each = (x: Emitted, is: boolean, width: number): string => {
    const name = as(at, x, to);
    if (is || shared) return name;
    return s.op("Expand", [s.op("Unsqueeze", [name, s.ints([1])]), s.ints([1, count, width])], {}, "every_head");
  };
  const [nope, rope, out] = [widthOf(Q), widthOf(QP), widthOf(V)];
  const keyHeads = shared ? 1 : count;
  const queries = heads(at, n, [as(at, q, to), as(at, qp, to)], count * (nope + rope));
  const keys = heads(at, n, [each(k, own, nope), each(kp, dimsOf(KP).length === 3, rope)], keyHeads * (nope + rope));
  const values = heads(at, n, [each(v, ownValues, out)], keyHeads * out);
  return attention(at, n, [queries, keys, values], count, keyHeads, n.attrs.scale);
};

/** One key for all heads, the cached row; its first r lanes are the value. */
const mlaAttended: Lower = (at, n, [ql, qp, cache]) => {
  if (!mlaAttend.made(n)) throw new TypeError("no mla_attend");
  const { s } = at;
  const to = resultElem(at, n);
  const [count, r] = dimsOf(n.operands[0]).slice(1).map(fixed);
  const d = widthOf(n.operands[1]);
  const queries = heads(at, n, [as(at, ql, to), as(at, qp, to)], count * (r + d));
  const keys = s.op("Unsqueeze", [as(at, cache, to), s.ints([0])], {}, "keys");
  const values = s.op("Slice", [keys, s.ints([0]), s.ints([r]), s.ints([2])], {}, "values");
  return attention(at, n, [queries, keys, values], count, 1, n.attrs.scale);
};

export const attentions: Readonly<Record<string, Lower>> = {
  rope: rotated,
  cache_append: cacheAppend,
  map_sequences: mapSequences,
  softmax_causal: softmaxCausal,
  attend: attended,
  mla_attend: mlaAttended,
};
