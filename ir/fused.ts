// A fused op is declared by the graph it stands for, over ordinary builders. Signature of results, reference, cost, the equation that
// finds it (passes/rule.ts) and the launches that serve it without a kernel of its own (codegen/parts.ts) all come of that graph.
import type { Attrs, AttrsGiven, AttrValues } from "./attr.ts";
import { DiagnosticError } from "./diagnostic.ts";
import { isDType } from "./dtype.ts";
import { Graph, topological, type Node, type Value } from "./graph.ts";
import { evaluated, type Env, type Tensor } from "./interpret.ts";
import { keyOf, op, type AttrKinds, type Builder, type Op, type Operands, type Result, type Signature } from "./op.ts";
import { param } from "./ops/module.ts";
import { parsePattern } from "./signature.ts";
import type { Traits } from "./traits.ts";
import { batchType, cacheType, tensor, type Dim, type Type } from "./types.ts";

export interface FusedDeclaration<I, A, O> {
  summary: string;
  /** Operands: every one of them is read by `of`. */
  ins: I;
  attrs?: A;
  /** Names of several results, as `of` gives them; their types are those there. */
  outs?: O;
  traits?: Traits;
  /** The graph that it stands for. Where it is the pattern of a rule, sizes are letters and attributes holes. */
  of: (operands: Operands<I, Value>, attrs: AttrValues<A>) => Result<O, Value>;
  /** Set where kernels keep what is between in registers, at full precision: else it is rounded as it would have been stored. */
  unrounded?: true;
}

/** A fused op: called like any other, and `of` gives the graph in its place. */
export interface FusedBuilder<I, A, O> extends Builder<I, A, O> {
  of(args: Operands<I, Value> & AttrsGiven<A>): Result<O, Value>;
}

/** Declares a fused op. */
export function fused<const I extends Signature, const A extends AttrKinds = {}, const O extends Signature = Signature>(
  name: string,
  d: FusedDeclaration<I, A, O>,
): FusedBuilder<I, A, O> {
  const keys = Object.keys(d.ins).map(keyOf);
  const signatures = Object.values(d.ins);
  // As in op.ts: what is checked at run time becomes what the declaration's types say.
  const graphOf = d.of as unknown as (operands: Record<string, Value>, attrs: Attrs) => Value | Record<string, Value>;
  const outs = d.outs ? Object.keys(d.outs) : undefined;
  const of = (operands: readonly Value[], attrs: Attrs): readonly Value[] => {
    const given = graphOf(Object.fromEntries(operands.map((v, i) => [keys[i], v])), attrs);
    return outs ? outs.map((k) => (given as Record<string, Value>)[k]) : [given as Value];
  };
  /** One result as it is, several by name. */
  const byName = <T>(results: readonly T[]): T | Record<string, T> =>
    outs ? Object.fromEntries(outs.map((k, i) => [k, results[i]])) : results[0];
  const built = op<I, A, O>(name, { ...d, of, infer: inferred, reference: evaluatedParts } as never);

  function inferred(types: Record<string, Type>, attrs: Attrs): Type[] | string {
    try {
      return partsOf(built.op, Object.values(types), attrs).results.map((v) => v.type);
    } catch (e) {
      if (!(e instanceof DiagnosticError)) throw e;
      return `of its parts ${e.diagnostics[0].title}`;
    }
  }

  function evaluatedParts(tensors: Record<string, Tensor>, attrs: Attrs, env: Env): Tensor | Record<string, Tensor> {
    const operands = Object.values(tensors);
    const { params, results } = partsOf(
      built.op,
      operands.map((t, i) => typeOf(signatures[i], t)),
      attrs,
    );
    const values = new Map(params.map((p, i) => [p, operands[i]]));
    return byName(evaluated(results, values, d.unrounded ? { ...env, mode: "real" } : env));
  }

  const parts = (given: Record<string, unknown>): Value | Record<string, Value> => {
    const operands = keys.flatMap((k) => (given[k] as Value | undefined) ?? []);
    const attrs = Object.fromEntries(Object.entries(built.op.attrs).map(([k, kind]) => [k, given[k] ?? kind.initial]));
    return byName(of(operands, attrs as Attrs));
  };
  return Object.freeze(Object.assign((given: never) => (built as (x: never) => unknown)(given), built, { of: parts })) as never;
}

/** The type of a tensor in the place of an operand: what the signature says of it, and the shape that it has. */
function typeOf(signature: string, t: Tensor): Type {
  if (signature === "batch") return batchType;
  if (signature === "cache") return cacheType(t.shape[0], t.dtype);
  const pattern = parsePattern(signature);
  return tensor(t.shape, pattern.kind === "tensor" && isDType(pattern.dtype) ? pattern.dtype : t.dtype);
}

/** The graph of a fused op at operands of these types: parameters in their order, nodes operands first, and its results. */
export interface Parts {
  params: readonly Value[];
  nodes: readonly Node[];
  results: readonly Value[];
}

const known = new WeakMap<Op, Map<string, Parts>>();

export function partsOf(o: Op, types: readonly Type[], attrs: Attrs): Parts {
  if (!o.of) throw new RangeError(`${o.name} is not made of other ops`);
  const key = JSON.stringify([types, attrs]);
  const before = known.get(o) ?? new Map<string, Parts>();
  known.set(o, before);
  const found = before.get(key);
  if (found) return found;
  const graph = new Graph();
  const params = types.map((t, i) => param(graph, keyOf(o.ins[i]), t));
  const results = o.of(params, attrs);
  const parts: Parts = { params, nodes: topological(results).filter((n) => !n.leaf), results };
  before.set(key, parts);
  return parts;
}

/** A size as the attribute of a part. In the pattern of a rule it is a letter, and the attribute a hole of the letter's name. */
export const sizeAttr = (d: Dim): number => (typeof d === "number" ? d : (`?${d}` as unknown as number));
