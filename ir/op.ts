// The one way to declare an op. From the declaration come the typed builder, shape and dtype inference, the verifier's
// checks, the printer and parser, the interpreter and the cost model; nothing about an op is written twice.
import { attrProblem, type Attrs, type AttrKind, type AttrValue } from "./attr.ts";
import { DiagnosticError } from "./diagnostic.ts";
import { opMismatch } from "./diagnostics.ts";
import { deepFreeze } from "./freeze.ts";
import type { Graph, Region, Value } from "./graph.ts";
import type { Env, Tensor } from "./interpret.ts";
import { bindings, instantiate, parsePattern, unify, type Bindings, type Pattern } from "./signature.ts";
import type { Type } from "./types.ts";

/** What an op does, derived from its declaration. */
export interface Op {
  readonly name: string;
  readonly summary: string;
  /** Operand keys in order. "bias?" may be absent, "...xs" takes any number; both only at the end. */
  readonly ins: readonly string[];
  /** Signatures as declared, for docs. */
  readonly signature: { ins: Readonly<Record<string, string>>; outs: Readonly<Record<string, string>> };
  readonly outs: readonly string[];
  readonly attrs: Readonly<Record<string, AttrKind<AttrValue>>>;
  /** Result types, or the mismatch in words. */
  infer(operands: readonly Type[], attrs: Attrs, region?: Region): Type[] | string;
  /** Meaning on concrete tensors. Absent for ops that only the interpreter itself gives meaning (weight, param, call). */
  readonly reference?: (ins: Record<string, Tensor>, attrs: Attrs, env: Env) => Tensor | Record<string, Tensor>;
  /** Floating-point operations, from the bound sizes. */
  readonly flops?: (sizes: Record<string, number>, attrs: Attrs) => number;
  /** Binds the letters of the signature to the operand types, for cost. */
  bind(operands: readonly Type[], attrs: Attrs): Bindings | string;
}

type InKeys<I> = { [K in keyof I as K extends `${infer N}?` ? N : K extends `...${infer N}` ? N : K]: K extends `...${string}` ? readonly Value[] : Value };
type Given<A> = { [K in keyof A]?: AttrValue };

export interface Declaration<I, A, O> {
  summary: string;
  ins: I;
  attrs?: A;
  /** One result. */
  out?: string;
  /** Several results, by name. */
  outs?: O;
  /** Instead of `out`: result types from operand types, or the mismatch in words. */
  infer?: (types: readonly Type[], attrs: Attrs, b: Bindings, region?: Region) => Type[] | Type | string;
  /** A further condition; gives the mismatch in words. */
  check?: (b: Bindings, attrs: Attrs, types: readonly Type[]) => string | null;
  flops?: (sizes: Record<string, number>, attrs: Attrs) => number;
  reference?: Op["reference"];
}

/** A declared op: call it with operands and attributes by key; the node's value (or values by name) comes back. */
export type Builder<I, A, O> = ((args: Partial<InKeys<I>> & Given<A> & { region?: Region }) => Result<O>) & { readonly op: Op };
type Result<O> = string extends keyof O ? Value : { [K in keyof O]: Value };

/** Declares an op. Keys of `ins` and `attrs` become the builder's argument keys. */
export function op<
  const I extends Record<string, string>,
  const A extends Record<string, AttrKind<AttrValue>> = {},
  const O extends Record<string, string> = Record<string, string>,
>(name: string, d: Declaration<I, A, O>): Builder<I, A, O> {
  const ins = Object.keys(d.ins);
  const attrs: Record<string, AttrKind<AttrValue>> = d.attrs ?? {};
  const inPatterns = ins.map((k) => parsePattern(d.ins[k]));
  const outSignature: Record<string, string> = d.outs ?? { out: d.out ?? "[..] a" };
  const outPatterns: Pattern[] | undefined = d.infer ? undefined : Object.values(outSignature).map(parsePattern);

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
    return d.check?.(b, given, types) ?? b;
  };

  const self: Op = deepFreeze({
    name,
    summary: d.summary,
    ins,
    signature: { ins: d.ins, outs: outSignature },
    outs: Object.keys(outSignature),
    attrs,
    flops: d.flops,
    reference: d.reference,
    bind,
    infer(types, given, region) {
      for (const [k, kind] of Object.entries(attrs)) {
        const problem = attrProblem(kind, given[k]);
        if (problem) return `attribute ${k} ${problem}`;
      }
      const b = bind(types, given);
      if (typeof b === "string") return b;
      if (!d.infer) return outPatterns!.map((p) => instantiate(p, b));
      const out = d.infer(types, given, b, region);
      return typeof out === "string" || Array.isArray(out) ? (out as Type[] | string) : [out as Type];
    },
  });

  const build = (args: Record<string, unknown>): unknown => {
    const operands: Value[] = [];
    const given: Record<string, AttrValue> = {};
    for (const k of ins) {
      const key = k.replace("?", "").replace("...", "");
      const v = args[key];
      if (k.startsWith("...")) operands.push(...(v as Value[]));
      else if (v !== undefined) operands.push(v as Value);
      else if (!k.endsWith("?")) throw new DiagnosticError(opMismatch(name, `needs operand ${k}`));
    }
    for (const [k, kind] of Object.entries(attrs)) given[k] = (args[k] as AttrValue | undefined) ?? kind.initial!;
    for (const k of Object.keys(args))
      if (!(k in attrs) && k !== "region" && !ins.some((i) => i.replace("?", "").replace("...", "") === k))
        throw new DiagnosticError(opMismatch(name, `has no operand or attribute ${k}`));
    return wrap(make(self, operands, given, args.region as Region | undefined));
  };
  const wrap = (values: readonly Value[]): unknown =>
    d.outs ? Object.fromEntries(Object.keys(d.outs).map((k, i) => [k, values[i]])) : values[0];
  return Object.freeze(Object.assign(build, { op: self })) as unknown as Builder<I, A, O>;
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
  if (typeof types === "string") throw new DiagnosticError(opMismatch(o.name, types, operands));
  return g.node(o, operands, ordered, types, { region }).results;
}
