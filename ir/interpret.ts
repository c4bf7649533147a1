// The oracle: evaluates a module op by op from each op's reference.
//   real   every value in float64 (FP8 rounding of explicit `quantize` stays: it is meaning, not accuracy)
//   typed  every value rounded to its dtype, as kernels see it
import { DiagnosticError } from "./diagnostic.ts";
import { missingInput, noMeaning, ranksDiffer } from "./diagnostics.ts";
import { bodyOf, captures, topological, type Env, type Func, type Module, type Node, type Value } from "./graph.ts";
import { roundTo } from "./numeric.ts";
import { printAttrs } from "./attr.ts";
import { callOf } from "./ops/module.ts";
import type { Batch, Tensor } from "./tensor.ts";
import { printType, type DType, type Type } from "./types.ts";

export type { Env } from "./graph.ts";
export type { Batch, Tensor } from "./tensor.ts";

/** Rows of one sequence, in one layer's cache of a name. Indexed caches[name][layer][sequence]. */
export type Caches = Record<string, Float64Array[][]>;

/** What a function is interpreted over: parameters, weights, the batch, caches. */
export interface Inputs {
  mode?: "real" | "typed";
  batch?: Batch;
  /** Values of the function's parameters by name, tensors only. */
  values?: Record<string, Tensor>;
  /** Weight by symbol and layer (null: shared). */
  weight?: (name: string, layer: number | null) => Tensor;
  /** Mutated by appends. */
  caches?: Caches;
  /** Sees what an op gave, and may give another value in its place: the routes that another program took. */
  instead?: (node: Node, layer: number | null, ins: readonly Tensor[], given: readonly Tensor[]) => readonly Tensor[];
}

/** A tensor of the interpreter: shape, float64 values in row-major order, dtype. */
export const tensorOf = (shape: number[], data: ArrayLike<number>, dtype: DType = "f32", scales?: ArrayLike<number>): Tensor => ({
  shape,
  dtype,
  data: new Float64Array(data),
  ...(scales ? { scales: new Float64Array(scales) } : {}),
});

/** What the interpreter runs: a module, or its functions and weights. */
type Runs = Pick<Module, "funcs" | "weights">;

/** Runs `func` of `module`; gives its results by name. Cache results are written into `inputs.caches`. */
export function interpret(module: Runs, func: Func, inputs: Inputs, layer: number | null = null): Record<string, Tensor> {
  const { value, done } = running(module, func, inputs, layer).next();
  if (!done) throw new DiagnosticError(noMeaning({ op: value.node.op.name }));
  return value;
}

/** One rank of a run: the same function, or another rank's own. */
export interface Rank {
  module: Runs;
  func: Func;
  inputs: Inputs;
}

/** Runs a function on every rank in step: at a collective all of them meet. Throws DSC2015 where they come to different ones. */
export function interpretRanks(ranks: readonly Rank[]): Record<string, Tensor>[] {
  // Ranks of one batch compute once what is the same on each.
  const alike: Alike | undefined = ranks.every((r) => r.inputs.batch === ranks[0].inputs.batch && !r.inputs.instead)
    ? new Map()
    : undefined;
  const runs = ranks.map((r) => running(r.module, r.func, r.inputs, null, alike));
  let given: (readonly Tensor[])[] | undefined;
  for (;;) {
    alike?.clear();
    const steps = runs.map((r, i) => r.next(given?.[i] ?? []));
    const ended = steps.flatMap((s) => (s.done ? [s.value] : []));
    if (ended.length === ranks.length) return ended;
    const meetings = steps.map((s) => (s.done ? undefined : s.value));
    const words = meetings.map((m) => (m === undefined ? "the end of its function" : meetingWords(m)));
    const other = words.findIndex((w) => w !== words[0]);
    if (other > 0) throw new DiagnosticError(ranksDiffer({ meetings: [0, other].map((r) => `rank ${r} came to ${words[r]}`) }));
    const [{ node }] = meetings as Meeting[];
    given = node.op.ranks!(
      (meetings as Meeting[]).map((m) => m.operands),
      node.attrs,
    );
  }
}

/** What ops gave since ranks met last, by the operands that they were given. */
type Alike = Map<Node, { operands: readonly Tensor[]; made: readonly Tensor[] }[]>;

/** What an op gave another rank of the very same operands. */
const madeBefore = (alike: Alike | undefined, node: Node, operands: readonly Tensor[]): readonly Tensor[] | undefined =>
  alike?.get(node)?.find((x) => x.operands.every((t, i) => t === operands[i]))?.made;

/** The batch among operands: what an op asks of it is in `env`. */
const TABLE: Tensor = Object.freeze({ shape: [], dtype: "i32", data: new Float64Array() });

/** A collective that a rank has come to: it goes on with its results. */
interface Meeting {
  node: Node;
  func: string;
  layer: number | null;
  operands: readonly Tensor[];
}

const meetingWords = ({ node, func, layer, operands }: Meeting): string =>
  `${node.op.name}${printAttrs(node.attrs, node.op.attrs)} of [${operands.map((t) => t.shape.join(", ")).join("], [")}] ` +
  `${node.results.map((r) => printType(r.type)).join(", ")}, %${node.graph.nameOf(node.results[0]) ?? node.op.name} in @${func}` +
  `${layer === null ? "" : ` of layer ${layer}`}`;

/** What the parameters of a function stand for. */
function given(func: Func, inputs: Inputs, batch: Batch, layer: number | null): Map<Value, Tensor> {
  const values = new Map<Value, Tensor>();
  for (const p of func.params) {
    if (p.value.type.kind === "batch") continue;
    if (p.value.type.kind === "cache") {
      values.set(p.value, {
        shape: [p.value.type.width],
        dtype: p.value.type.dtype,
        data: new Float64Array(),
        rows: inputs.caches?.[p.value.type.name]?.[layer ?? 0] ?? batch.lengths.map(() => new Float64Array()),
      });
      continue;
    }
    const given = inputs.values?.[p.name];
    if (!given) throw new DiagnosticError(missingInput({ what: `value for parameter %${p.name} of @${func.name}` }));
    values.set(p.value, given);
  }
  return values;
}

function* running(
  module: Runs,
  func: Func,
  inputs: Inputs,
  layer: number | null,
  alike?: Alike,
): Generator<Meeting, Record<string, Tensor>, readonly Tensor[]> {
  const mode = inputs.mode ?? "real";
  const batch = inputs.batch ?? { starts: [0, 1], lengths: [1], ids: [0] };
  const positions = batch.starts.slice(1).flatMap((end, b) => {
    const t = end - batch.starts[b];
    return Array.from({ length: t }, (_, i) => batch.lengths[b] - t + i);
  });
  const values = given(func, inputs, batch, layer);

  function* evaluate(v: Value): Generator<Meeting, Tensor, readonly Tensor[]> {
    for (const node of topological([v], (x) => values.has(x))) {
      if (node.leaf?.kind === "weight") {
        const { name } = node.leaf;
        const decl = module.weights.get(name);
        if (!inputs.weight || !decl) throw new DiagnosticError(missingInput({ what: `weight @${name}` }));
        values.set(node.results[0], inputs.weight(name, decl.layers ? layer : null));
        continue;
      }
      if (node.leaf) continue;
      const operands = node.operands.map((o): Tensor => values.get(o) ?? TABLE);
      const called = callOf(node);
      if (called) {
        const callee = module.funcs.get(called.func)!;
        const at = called.layer;
        const passed: Record<string, Tensor> = {};
        for (const [i, p] of callee.params.entries()) if (p.value.type.kind === "tensor") passed[p.name] = operands[i];
        const out = yield* running(module, callee, { ...inputs, values: passed, batch, mode }, at < 0 ? layer : at, alike);
        for (const [i, r] of callee.results.entries()) values.set(node.results[i], out[r.name]);
        continue;
      }
      if (node.op.ranks) {
        const met = yield { node, func: func.name, layer, operands };
        for (const [i, r] of node.results.entries()) values.set(r, settle(met[i], r.type, mode));
        continue;
      }
      if (!node.op.reference) throw new DiagnosticError(noMeaning({ op: node.op.name }));
      const before = madeBefore(alike, node, operands);
      if (before) {
        for (const [i, r] of node.results.entries()) values.set(r, before[i]);
        continue;
      }
      const env: Env = {
        mode,
        batch,
        positions,
        region: node.region,
        run(region, params) {
          const outer = captures(region);
          for (const c of outer) alone(evaluate(c));
          for (const inner of bodyOf(region)) for (const r of inner.results) values.delete(r);
          for (const [i, p] of region.params.entries()) values.set(p, params[i]);
          return region.results.map((r) => alone(evaluate(r)));
        },
      };
      const made = node.op.reference(operands, node.attrs, env);
      const list = inputs.instead?.(node, layer, operands, made) ?? made;
      const settled = node.results.map((r, i) => settle(list[i], r.type, mode));
      for (const [i, r] of node.results.entries()) values.set(r, settled[i]);
      // What a region reads is not among operands, and rows of a cache are a rank's own.
      if (alike && !node.region && !operands.some((t) => t.rows))
        alike.set(node, [...(alike.get(node) ?? []), { operands, made: settled }]);
    }
    return values.get(v)!;
  }

  const out: Record<string, Tensor> = {};
  for (const r of func.results) out[r.name] = yield* evaluate(r.value);
  for (const r of func.results)
    // A callee has written its own layer's rows; the value that threads calls together is nobody's rows.
    if (r.value.type.kind === "cache" && !r.value.node.op.traits.call && inputs.caches)
      (inputs.caches[r.value.type.name] ??= [])[layer ?? 0] = out[r.name].rows!;
  return out;
}

/** What is evaluated inside a region, where ranks do not meet: they may run it another number of times. */
function alone(run: Generator<Meeting, Tensor, readonly Tensor[]>): Tensor {
  const { value, done } = run.next();
  if (!done) throw new DiagnosticError(noMeaning({ op: `${value.node.op.name} inside a region` }));
  return value;
}

/** Values of a graph of plain ops whose leaves are given, each rounded as a node of a function is: what a fused op means. */
export function evaluated(results: readonly Value[], given: ReadonlyMap<Value, Tensor>, env: Env): Tensor[] {
  const values = new Map(given);
  for (const n of topological(results, (v) => values.has(v))) {
    const operands = n.operands.map((o) => values.get(o)!);
    const out = n.op.reference!(operands, n.attrs, env);
    for (const [i, r] of n.results.entries()) values.set(r, settle(out[i], r.type, env.mode));
  }
  return results.map((r) => values.get(r)!);
}

function settle(t: Tensor, type: Type, mode: "real" | "typed"): Tensor {
  if (type.kind !== "tensor") return t;
  t.dtype = type.dtype;
  if (mode === "typed" && !t.scales) roundTo(t.data, type.dtype);
  return t;
}
