// Expressions of a template, evaluated.
import { attribute, itemOf } from "./attributes.ts";
import { spend } from "./budget.ts";
import { Fault, failure, unsupported } from "./errors.ts";
import { filter, isFilter } from "./filters.ts";
import type { Call, Expr } from "./nodes.ts";
import { binary, contains, negative, positive, sliced } from "./operators.ts";
import type { Scope } from "./scope.ts";
import { str } from "./text.ts";
import { test } from "./tests.ts";
import {
  Callable,
  Thing,
  Undefined,
  compare,
  equal,
  iterate,
  keyOf,
  truthy,
  typeName,
  tuple,
  type Args,
  type Value,
} from "./values.ts";

export function evaluate(e: Expr, scope: Scope): Value {
  spend(1);
  try {
    return valueOf(e, scope);
  } catch (fault) {
    if (fault instanceof Fault) fault.at ??= e.at;
    throw fault;
  }
}

function valueOf(e: Expr, scope: Scope): Value {
  const of = (x: Expr): Value => evaluate(x, scope);
  switch (e.kind) {
    case "const":
      return e.value;
    case "name":
      return defined(scope.find(e.name), e.name);
    case "list":
      return e.items.map(of);
    case "tuple":
      return tuple(...e.items.map(of));
    case "dict":
      return new Map(e.pairs.map(([k, v]) => [keyOf(of(k)), of(v)]));
    case "if":
      if (truthy(of(e.test))) return of(e.then);
      return e.otherwise
        ? of(e.otherwise)
        : new Undefined(`the inline if-expression on line ${e.at.line} evaluated to false and no else section was defined.`);
    case "and": {
      const left = of(e.left);
      return truthy(left) ? of(e.right) : left;
    }
    case "or": {
      const left = of(e.left);
      return truthy(left) ? left : of(e.right);
    }
    case "not":
      return !truthy(of(e.of));
    case "neg":
      return negative(of(e.of));
    case "pos":
      return positive(of(e.of));
    case "compare":
      return compared(e.first, e.rest, scope);
    case "binary":
      return binary(e.op, of(e.left), of(e.right));
    case "concat": {
      const text = e.parts.map((p) => str(of(p))).join("");
      spend(text.length / 16);
      return text;
    }
    case "attribute":
      return attribute(of(e.of), e.name);
    case "item":
      return itemOf(of(e.of), of(e.index));
    case "slice": {
      const [start, stop, step] = [e.start, e.stop, e.step].map((x) => (x ? of(x) : null));
      return sliced(of(e.of), start, stop, step);
    }
    case "call":
      return call(of(e.of), argumentsOf(e.args, scope));
    case "filter": {
      if (!e.of) throw failure("a filter without a value");
      return runFilter(e.name, of(e.of), argumentsOf(e.args, scope));
    }
    case "test": {
      const { list } = argumentsOf(e.args, scope);
      return test(e.name, of(e.of), list, isFilter) !== e.negated;
    }
  }
}

export const runFilter = (name: string, v: Value, args: Args): Value =>
  filter(name)(v, args, { run: runFilter, test: (n, x, list) => test(n, x, list, isFilter) });

function compared(first: Expr, rest: readonly [string, Expr][], scope: Scope): boolean {
  let left = evaluate(first, scope);
  for (const [op, e] of rest) {
    const right = evaluate(e, scope);
    if (!holds(op, left, right)) return false;
    left = right;
  }
  return true;
}

function holds(op: string, a: Value, b: Value): boolean {
  switch (op) {
    case "==":
      return equal(a, b);
    case "!=":
      return !equal(a, b);
    case "in":
      return contains(b, a);
    case "not in":
      return !contains(b, a);
    case "<":
      return compare(a, b, op) < 0;
    case "<=":
      return compare(a, b, op) <= 0;
    case ">":
      return compare(a, b, op) > 0;
    default:
      return compare(a, b, op) >= 0;
  }
}

export function argumentsOf(args: Call, scope: Scope): Args {
  const list = args.list.map((a) => evaluate(a, scope));
  const named = new Map<string, Value>();
  for (const [name, e] of args.named) {
    if (named.has(name)) throw new Fault("syntax", `keyword argument repeated: ${name}`, e.at);
    named.set(name, evaluate(e, scope));
  }
  if (args.spread) list.push(...iterate(evaluate(args.spread, scope)));
  if (args.spreadNamed) {
    const more = evaluate(args.spreadNamed, scope);
    if (!(more instanceof Map)) throw failure("argument after ** must be a mapping");
    for (const [k, v] of more) {
      if (typeof k !== "string") throw failure("keywords must be strings");
      if (named.has(k)) throw failure(`got multiple values for keyword argument '${k}'`);
      named.set(k, v);
    }
  }
  return { list, named };
}

export function call(of: Value, args: Args): Value {
  if (of instanceof Undefined) throw of.fault;
  if (of instanceof Callable) return of.call(args);
  if (of instanceof Thing && of.call) return of.call(args);
  throw failure(`'${typeName(of)}' object is not callable`);
}

function defined(v: Value | undefined, name: string): Value {
  if (v === undefined && name === "self") throw unsupported("self, which names the blocks of a template");
  return v === undefined ? new Undefined(`'${name}' is undefined`) : v;
}
