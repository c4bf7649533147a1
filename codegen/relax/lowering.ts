// Ops of the plain model as calls of Relax, in TVMScript. Everything is float32 but ids; a graph serves one sequence.
import type { Node, Value } from "../../ir/graph.ts";
import { einsumOp, gated, reshape, rmsNorm, rope, route, scale, split } from "../../ir/ops/index.ts";
import { asTensor, fixed, partsOf, type Dim } from "../../ir/types.ts";
import { relaxCannotSay } from "./diagnostics.ts";

/** A value: the name of a variable. Of a rotary table two, [rows, d / 2]; of a router's results one weight for every expert. */
export interface Named {
  name: string;
  /** Matrices of all experts, [E, n, k], where a region has that of one. */
  stacked?: true;
  rotary?: { cos: string; sin: string };
}

/** Where an op is lowered. */
export interface Lowering {
  /** A new variable with the value of an expression. */
  let(expression: string): string;
  /** Which cached and new rows a new row may see, [rows, cached + rows]. */
  mask: string;
  /** The body of a region over what its parameters are. */
  region(n: Node, params: readonly Named[]): Named[];
  /** Where it stands, for diagnostics. */
  site: string;
}

type Lower = (at: Lowering, n: Node, ins: readonly Named[]) => Named[];

const one = (name: string): Named[] => [{ name }];
const dimsOf = (v: Value): readonly Dim[] => asTensor(v.type).dims;

/** A size: rows of the call are `rows`, those with the cached ones before them `cached + rows`. */
function sizeText(d: Dim): string {
  const { times, symbol } = partsOf(d);
  if (symbol === "") return String(times);
  const rows = symbol === "s" || symbol === "S" ? "(cached + rows)" : "rows";
  return times === 1 ? rows : `${times} * ${rows}`;
}

/** Extents as a tuple of Python. */
const shapeText = (dims: readonly Dim[]): string => `(${dims.map(sizeText).join(", ")},)`;

export const float = (v: number): string => `R.const(${v}, "float32")`;
/** What stands for minus infinity: the least float32. */
const NEVER = float(-3.4028234663852886e38);

const linear: Lower = (at, _n, [x, w]) => {
  const turned = w.stacked ? [0, 2, 1] : [1, 0];
  return one(at.let(`R.matmul(${x.name}, R.permute_dims(${w.name}, axes=[${turned.join(", ")}]))`));
};

const norm: Lower = (at, n, [x, gain]) => {
  if (!rmsNorm.made(n)) throw new TypeError("no norm");
  if (gain) return one(at.let(`R.nn.rms_norm(${x.name}, ${gain.name}, axes=-1, epsilon=${n.attrs.eps})`));
  const mean = `R.mean(R.multiply(${x.name}, ${x.name}), axis=-1, keepdims=True)`;
  return one(at.let(`R.divide(${x.name}, R.sqrt(R.add(${mean}, ${float(n.attrs.eps)})))`));
};

const rotated: Lower = (at, n, [x, table]) => {
  if (!rope.made(n)) throw new TypeError("no rope");
  const dims = dimsOf(n.operands[0]);
  const d = fixed(dims.at(-1)!);
  const last = dims.length;
  let whole = x.name;
  if (n.attrs.interleaved) {
    // Pairs side by side become halves first.
    const pairs = at.let(`R.reshape(${whole}, ${shapeText([...dims.slice(0, -1), d / 2, 2])})`);
    const axes = [...Array(last - 1).keys(), last, last - 1].join(", ");
    whole = at.let(`R.reshape(R.permute_dims(${pairs}, axes=[${axes}]), ${shapeText(dims)})`);
  }
  const halves = at.let(`R.split(${whole}, 2, axis=-1)`);
  const [a, b] = [at.let(`${halves}[0]`), at.let(`${halves}[1]`)];
  const wave = (w: string): string => (last === 3 ? at.let(`R.expand_dims(${w}, axis=1)`) : w);
  const [cos, sin] = [wave(table.rotary!.cos), wave(table.rotary!.sin)];
  const left = `R.subtract(R.multiply(${a}, ${cos}), R.multiply(${b}, ${sin}))`;
  const right = `R.add(R.multiply(${b}, ${cos}), R.multiply(${a}, ${sin}))`;
  return one(at.let(`R.concat([${at.let(left)}, ${at.let(right)}], axis=-1)`));
};

const gates: Readonly<Record<string, (x: string) => string>> = {
  silu: (x) => `R.nn.silu(${x})`,
  gelu_pytorch_tanh: (x) => `R.nn.gelu_tanh(${x})`,
  gelu: (x) => `R.nn.gelu(${x})`,
  relu: (x) => `R.nn.relu(${x})`,
};

const gate: Lower = (at, n, [g, u]) => {
  if (!gated.made(n)) throw new TypeError("no gate");
  const { act, limit } = n.attrs;
  const by = Object.hasOwn(gates, act) ? gates[act] : undefined;
  if (!by) throw relaxCannotSay({ what: `activation ${act}`, site: at.site, why: "it has no operator in Relax" });
  const [inner, outer] =
    limit === 0
      ? [g.name, u.name]
      : [at.let(`R.minimum(${g.name}, ${float(limit)})`), at.let(`R.clip(${u.name}, ${-limit}, ${limit})`)];
  return one(at.let(`R.multiply(${by(inner)}, ${outer})`));
};

/** 1 where an index along the last axis is among the chosen ones, else 0. */
const marks = (at: Lowering, indices: string, depth: number): string =>
  at.let(`R.sum(R.one_hot(${indices}, R.prim_value(T.float32(1)), R.prim_value(T.float32(0)), depth=${depth}, axis=-1), axis=1)`);

const topK = (x: string, k: number, give: "values" | "indices"): string =>
  `R.topk(${x}, k=${k}, axis=-1, ret_type="${give}", largest=True, dtype="int64")`;

/** Scores of experts outside the best groups become the least there are. */
function withinGroups(at: Lowering, choice: string, experts: number, groups: number, kept: number, method: string): string {
  const width = experts / groups;
  const byGroup = at.let(`R.reshape(${choice}, (rows, ${groups}, ${width}))`);
  const best = at.let(topK(byGroup, method === "noaux_tc" ? Math.min(2, width) : 1, "values"));
  const chosen = at.let(topK(at.let(`R.sum(${best}, axis=-1)`), kept, "indices"));
  const keep = at.let(`R.expand_dims(R.greater(${marks(at, chosen, groups)}, ${float(0.5)}), axis=2)`);
  return at.let(`R.reshape(R.where(${keep}, ${byGroup}, ${NEVER}), (rows, ${experts}))`);
}

/** The weight of every expert for every row, 0 where it was not chosen: [rows, E]. */
const routed: Lower = (at, n, [logits, bias]) => {
  if (!route.made(n)) throw new TypeError("no route");
  const { scoring, method, groups, kept, topk, normalise, factor } = n.attrs;
  if (n.attrs.shared)
    throw relaxCannotSay({ what: "shared experts among the routed ones", site: at.site, why: "a pass put them there" });
  const experts = fixed(dimsOf(n.operands[0])[1]);
  const scores = at.let(scoring === "sigmoid" ? `R.sigmoid(${logits.name})` : `R.nn.softmax(${logits.name}, axis=-1)`);
  let choice = bias ? at.let(`R.add(${scores}, ${bias.name})`) : scores;
  if (method !== "greedy" && groups > 1) choice = withinGroups(at, choice, experts, groups, kept, method);
  let weights = at.let(`R.multiply(${scores}, ${marks(at, at.let(topK(choice, topk, "indices")), experts)})`);
  if (normalise) weights = at.let(`R.divide(${weights}, R.add(R.sum(${weights}, axis=-1, keepdims=True), ${float(1e-20)}))`);
  if (factor !== 1) weights = at.let(`R.multiply(${weights}, ${float(factor)})`);
  return [{ name: weights }, { name: weights }];
};

/** Every expert for every row, [E, rows, d], and their weighted sum: Relax has no operator for the chosen ones alone. */
const experts: Lower = (at, n, [, weights, x, ...stacked]) => {
  const odd = n.region!.results.flatMap((r) => inner(r)).find((op) => !["linear", "gated", "dequantize"].includes(op));
  if (odd !== undefined)
    throw relaxCannotSay({ what: `${odd} of an expert`, site: at.site, why: "experts are computed together" });
  const [y] = at.region(n, [x, ...stacked.map(({ name }): Named => ({ name, stacked: true }))]);
  const by = at.let(`R.expand_dims(R.permute_dims(${weights.name}, axes=[1, 0]), axis=2)`);
  return one(at.let(`R.sum(R.multiply(${y.name}, ${by}), axis=0)`));
};

/** Names of the ops that a value of a region is made of. */
function inner(v: Value, seen = new Set<Node>()): string[] {
  if (v.node.leaf || seen.has(v.node)) return [];
  seen.add(v.node);
  return [v.node.op.name, ...v.node.operands.flatMap((o) => inner(o, seen))];
}

const binary =
  (operator: string): Lower =>
  (at, _n, [a, b]) =>
    one(at.let(`R.${operator}(${a.name}, ${b.name})`));

export const lowerings: Readonly<Record<string, Lower>> = {
  linear,
  rms_norm: norm,
  rope: rotated,
  gated: gate,
  route: routed,
  map_experts: experts,
  add: binary("add"),
  add_bias: binary("add"),
  mul: binary("multiply"),
  embed: (at, _n, [ids, table]) => one(at.let(`R.take(${table.name}, ${ids.name}, axis=0)`)),
  concat: (at, _n, ins) => one(at.let(`R.concat([${ins.map((v) => v.name).join(", ")}], axis=-1)`)),
  /** Every row: an export gives the logits of all. */
  last_rows: (_at, _n, [x]) => [x],
  /** Weights are float32 when the module is given them. */
  dequantize: (_at, _n, [x]) => [x],
  map_sequences: (at, n, [, ...xs]) => at.region(n, xs),
  cache_append: (at, _n, [cache, c, kp]) =>
    one(at.let(`R.concat([${cache.name}, ${at.let(`R.concat([${c.name}, ${kp.name}], axis=-1)`)}], axis=0)`)),
  softmax_causal: (at, _n, [x]) =>
    one(at.let(`R.nn.softmax(R.where(R.expand_dims(${at.mask}, axis=1), ${x.name}, ${NEVER}), axis=-1)`)),
  reshape: (at, n, [x]) => {
    if (!reshape.made(n)) throw new TypeError("no reshape");
    return one(at.let(`R.reshape(${x.name}, ${shapeText(dimsOf(n.results[0]))})`));
  },
  split(at, n, [x]) {
    if (!split.made(n)) throw new TypeError("no split");
    const both = at.let(`R.split(${x.name}, [${n.attrs.at}], axis=${n.attrs.axis})`);
    return [{ name: at.let(`${both}[0]`) }, { name: at.let(`${both}[1]`) }];
  },
  einsum(at, n, [a, b]) {
    if (!einsumOp.made(n)) throw new TypeError("no einsum");
    return one(at.let(`R.einsum((${a.name}, ${b.name}), subscripts="${n.attrs.spec}")`));
  },
  scale(at, n, [x]) {
    if (!scale.made(n)) throw new TypeError("no scale");
    return one(at.let(`R.multiply(${x.name}, ${float(n.attrs.by)})`));
  },
};
