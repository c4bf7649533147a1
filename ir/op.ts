// The one way to declare an op. From the declaration come the typed builder, shape and dtype inference, the verifier's
// checks, the printer and parser, the interpreter and the cost model; nothing about an op is written twice.
import { attrProblem, type Attrs, type AttrKind, type AttrsGiven, type AttrValue, type AttrValues } from "./attr.ts";
import { DiagnosticError } from "./diagnostic.ts";
import { opMismatch } from "./diagnostics.ts";
import { deepFreeze } from "./freeze.ts";
import type { Env, Extents, Graph, Node, Op, Region, Value } from "./graph.ts";
import { placed } from "./placement.ts";
import { bindings, instantiate, parsePattern, unify, type Bindings, type Pattern } from "./signature.ts";
import type { Tensor } from "./tensor.ts";
import type { Traits } from "./traits.ts";
import { isPlaced, printType, type BatchType, type CacheType, type Dim, type TensorType, type Type } from "./types.ts";

export type { Extents, Op } from "./graph.ts";

type Key<K> = K extends `${infer N}?` ? N : K extends `...${infer N}` ? N : K;
/** Operands by key, each of its kind: required, optional ("bias?") or any number ("...xs"). */
export type Operands<I, T> = {
  [K in keyof I as K extends `${string}?` ? never : Key<K>]: K extends `...${string}` ? readonly Of<T, I[K]>[] : Of<T, I[K]>;
} & { [K in keyof I as K extends `${infer N}?` ? N : never]?: Of<T, I[K]> };
/** Types are known from the signature; values and tensors are what they are. */
type Of<T, S> = T extends "types" ? (S extends "batch" ? BatchType : S extends "cache" ? CacheType : TensorType) : T;
/** One result, or several by name. */
export type Result<O, T> = string extends keyof O ? T : { [K in keyof O]: T };

export interface Declaration<I, A, O> {
  summary: string;
  ins: I;
  attrs?: A;
  /** One result. */
  out?: string;
  /** Several results, by name. */
  outs?: O;
  traits?: Omit<Traits, "rowwise"> & { rowwise?: true | ((attrs: AttrValues<A>) => boolean) };
  /** Instead of `out`: result types from operand types, or the mismatch in words. */
  infer?: (types: Operands<I, "types">, attrs: AttrValues<A>, b: Bindings, region?: Region) => Result<O, Type> | Type[] | string;
  /** A further condition; gives the mismatch in words. */
  check?: (b: Bindings, attrs: AttrValues<A>) => string | null;
  flops?: (sizes: Extents, attrs: AttrValues<A>) => number;
  axes?: (types: Operands<I, "types">, attrs: AttrValues<A>) => readonly Dim[];
  reference?: (ins: Operands<I, Tensor>, attrs: AttrValues<A>, env: Env) => Result<O, Tensor>;
  /** Of an op that ranks take part in together: operands of every rank, in rank order, to results of every rank. */
  ranks?: (all: readonly Operands<I, Tensor>[], attrs: AttrValues<A>) => Result<O, Tensor>[];
  /** Set by `fused`. */
  of?: Op["of"];
}

/** A node that an op made, with its attributes' types. */
export type NodeOf<A> = Node & { readonly attrs: AttrValues<A>; readonly [byOp]: (a: A) => A };
declare const byOp: unique symbol;

/** A declared op: call it with operands and attributes by key; the node's value (or values by name) comes back. */
export interface Builder<I, A, O> {
  (args: Operands<I, Value> & AttrsGiven<A> & { region?: Region }): Result<O, Value>;
  readonly op: Op;
  /** Whether a node is one of this op: its attributes then have their types. */
  made(n: Node | undefined): n is NodeOf<A>;
  /** Attributes of a site of this op, typed. */
  attrsOf(attrs: Attrs): AttrValues<A>;
}

export type Signature = Record<string, string>;
export type AttrKinds = Record<string, AttrKind>;

/** "bias?" and "...xs" without their marks. */
export const keyOf = (operand: string): string => operand.replace("?", "").replace("...", "");

/** A list of operands by key, as the declaration has them. */
function byKey<T>(ins: readonly string[], list: readonly T[]): Record<string, T | readonly T[]> {
  const out: Record<string, T | readonly T[]> = {};
  for (const [i, k] of ins.entries()) {
    if (k.startsWith("...")) out[keyOf(k)] = list.slice(i);
    else if (i < list.length) out[keyOf(k)] = list[i];
  }
  return out;
}

/** Types of results, with what ranks hold of them where operands are divided over ranks. */
function acrossRanks(
  name: string,
  { traits = {} }: Erased,
  ins: readonly string[],
  types: readonly Type[],
  attrs: Attrs,
  bound: Bindings,
  region: Region | undefined,
  results: Type[],
): Type[] | string {
  if (!types.some(isPlaced) && !region?.results.some((r) => isPlaced(r.type))) return results;
  return placed({ name, traits, ins: ins.map(keyOf), attrs, bound, region }, types, results);
}

/** A reference over all ranks, over lists in order. */
function rankwise(
  ranks: NonNullable<Erased["ranks"]>,
  ins: readonly string[],
  listed: (given: Tensor | Record<string, Tensor>) => Tensor[],
): NonNullable<Op["ranks"]> {
  return (all, attrs) =>
    ranks(
      all.map((operands) => byKey(ins, operands)),
      attrs,
    ).map((results) => listed(results));
}

/** Declares an op. Keys of `ins` and `attrs` become the builder's argument keys. */
export function op<const I extends Signature, const A extends AttrKinds = {}, const O extends Signature = Signature>(
  name: string,
  d: Declaration<I, A, O>,
): Builder<I, A, O> {
  // The one place where what is checked at run time (`bind`, `attrProblem`) becomes what the declaration's types say.
  const typed = d as unknown as Erased;
  const [ins, attrs]: [string[], AttrKinds] = [Object.keys(d.ins), d.attrs ?? {}];
  const inPatterns = Object.values(d.ins).map(parsePattern);
  const outSignature: Signature = d.outs ?? { out: d.out ?? "[..] a" };
  const outs = Object.keys(outSignature);
  const outPatterns: Pattern[] = d.infer ? [] : Object.values(outSignature).map(parsePattern);
  const listed = <T>(given: T | readonly T[] | Readonly<Record<string, T>>): T[] =>
    Array.isArray(given) ? [...given] : d.outs ? outs.map((k) => (given as Record<string, T>)[k]) : [given as T];

  const bind = (types: readonly Type[], given: Attrs): Bindings | string => {
    const b = bindings();
    for (const [i, t] of types.entries()) {
      const k = Math.min(i, ins.length - 1);
      const variadic = ins[k]?.startsWith("...");
      if (k < 0 || (i >= ins.length && !variadic)) return `takes ${ins.length} operands, got ${types.length}`;
      if (variadic) continue;
      const problem = unify(inPatterns[k], t, b, ins[k].replace("?", ""));
      if (problem) return problem;
    }
    const needed = ins.filter((k) => !k.endsWith("?") && !k.startsWith("...")).length;
    if (types.length < needed) return `needs operand ${ins[types.length]}`;
    return typed.check?.(b, given) ?? b;
  };

  const { reference, axes, ranks } = typed;
  const self: Op = deepFreeze({
    name,
    summary: d.summary,
    ins,
    signature: { ins: d.ins, outs: outSignature },
    outs,
    attrs,
    traits: { ...typed.traits },
    ...(typed.of ? { of: typed.of } : {}),
    ...(typed.flops ? { flops: typed.flops } : {}),
    ...(axes ? { axes: (types: readonly Type[], given: Attrs) => axes(byKey(ins, types), given) } : {}),
    ...(reference
      ? {
          reference: (operands: readonly Tensor[], given: Attrs, env: Env) => listed(reference(byKey(ins, operands), given, env)),
        }
      : {}),
    ...(ranks ? { ranks: rankwise(ranks, ins, listed) } : {}),
    bind,
    infer(types: readonly Type[], given: Attrs, region?: Region) {
      for (const [k, kind] of Object.entries(attrs)) {
        const problem = attrProblem(kind, given[k]);
        if (problem) return `attribute ${k} ${problem}`;
      }
      const b = bind(types, given);
      if (typeof b === "string") return b;
      const out = typed.infer ? typed.infer(byKey(ins, types), given, b, region) : outPatterns.map((p) => instantiate(p, b));
      if (typeof out === "string") return out;
      return acrossRanks(name, typed, ins, types, given, b, region, listed(out));
    },
  });

  const build = (args: Record<string, unknown>): unknown => {
    const operands: Value[] = [];
    const given: Record<string, AttrValue> = {};
    for (const k of ins) {
      const v = args[keyOf(k)];
      if (k.startsWith("...")) operands.push(...(v as Value[]));
      else if (v !== undefined) operands.push(v as Value);
      else if (!k.endsWith("?")) throw new DiagnosticError(opMismatch({ op: name, problem: `needs operand ${k}` }));
    }
    for (const [k, kind] of Object.entries(attrs)) given[k] = (args[k] as AttrValue | undefined) ?? kind.initial!;
    for (const k of Object.keys(args))
      if (!(k in attrs) && k !== "region" && !ins.some((i) => keyOf(i) === k))
        throw new DiagnosticError(opMismatch({ op: name, problem: `has no operand or attribute ${k}` }));
    const results = make(self, operands, given, args.region as Region | undefined);
    return d.outs ? Object.fromEntries(outs.map((k, i) => [k, results[i]])) : results[0];
  };
  const made = (n: Node | undefined): boolean => n?.op === self;
  return Object.freeze(Object.assign(build, { op: self, made, attrsOf: (given: Attrs) => given })) as unknown as Builder<I, A, O>;
}

/** A declaration without its types. */
interface Erased {
  of?: Op["of"];
  traits?: Traits;
  infer?: (types: unknown, attrs: Attrs, b: Bindings, region?: Region) => Record<string, Type> | Type | Type[] | string;
  check?: (b: Bindings, attrs: Attrs) => string | null;
  flops?: Op["flops"];
  axes?: (types: unknown, attrs: Attrs) => readonly Dim[];
  reference?: (ins: unknown, attrs: Attrs, env: Env) => Tensor | Record<string, Tensor>;
  ranks?: (all: readonly unknown[], attrs: Attrs) => (Tensor | Record<string, Tensor>)[];
}

/** Makes a node of any op from its parts; throws a diagnostic when the parts do not fit. Used by builders, parser and rewriter. */
export function make(o: Op, operands: readonly Value[], attrs: Attrs, region?: Region, graph?: Graph): readonly Value[] {
  const g = graph ?? operands[0]?.node.graph;
  if (!g) throw new RangeError(`${o.name} has no operands: name the graph`);
  const ordered: Record<string, AttrValue> = {};
  for (const [k, kind] of Object.entries(o.attrs)) ordered[k] = attrs[k] ?? kind.initial!;
  const types = o.infer(
    operands.map((v) => v.type),
    ordered,
    region,
  );
  if (typeof types === "string")
    throw new DiagnosticError(opMismatch({ op: o.name, problem: types, operands: operands.map(described) }));
  return g.node(o, operands, ordered, types, { region }).results;
}

/** The same node over other operands; one of the kind that the graph makes without inference keeps its types. */
export function remade(n: Node, operands: readonly Value[], region = n.region): readonly Value[] {
  if (n.op.traits.call)
    return n.graph.node(
      n.op,
      operands,
      n.attrs,
      n.results.map((r) => r.type),
    ).results;
  return make(n.op, operands, n.attrs, region, n.graph);
}

/** A value in a message: its name, or the number of its node, and its type. */
export const described = (v: Value): string => `${v.node.graph.nameOf(v) ?? `%${v.node.id}`} : ${printType(v.type)}`;
