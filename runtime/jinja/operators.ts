// Arithmetic, membership and subscripts as Python has them.
import { spend } from "./budget.ts";
import { failure, unsupported } from "./errors.ts";
import { percentFormat } from "./percent-format.ts";
import {
  Range,
  Tuple,
  Undefined,
  View,
  characters,
  equal,
  isNumber,
  iterate,
  keyOf,
  plainNumber,
  typeName,
  tuple,
  type Value,
} from "./values.ts";

/** Digits an int may have; Python itself prints no more than 4300. */
const MOST_BITS = 20_000;

function sizedInt(v: bigint): bigint {
  if (v > -(2n ** 62n) && v < 2n ** 62n) return v;
  if (v.toString(16).length * 4 > MOST_BITS) throw unsupported("an int of more than 20000 bits");
  return v;
}

function whole(v: Value, what: string): bigint {
  if (typeof v === "boolean") return v ? 1n : 0n;
  if (typeof v === "bigint") return v;
  throw failure(what);
}

const mismatch = (op: string, a: Value, b: Value): Error =>
  failure(`unsupported operand type(s) for ${op}: '${typeName(a)}' and '${typeName(b)}'`);

/** What + - * / // % and ** give. */
export function binary(op: string, a: Value, b: Value): Value {
  if (a instanceof Undefined) throw a.fault;
  if (op === "%" && typeof a === "string") return percentFormat(a, b);
  if (b instanceof Undefined) throw b.fault;
  if (op === "+") {
    if (typeof a === "string") {
      if (typeof b !== "string") throw failure(`can only concatenate str (not "${typeName(b)}") to str`);
      spend((a.length + b.length) / 16);
      return a + b;
    }
    if (Array.isArray(a)) {
      if (!Array.isArray(b) || a instanceof Tuple !== b instanceof Tuple)
        throw failure(`can only concatenate ${typeName(a)} (not "${typeName(b)}") to ${typeName(a)}`);
      spend(a.length + b.length);
      const items = [...(a as Value[]), ...(b as Value[])];
      return a instanceof Tuple ? tuple(...items) : items;
    }
  }
  if (op === "*") {
    const repeated = repeat(a, b) ?? repeat(b, a);
    if (repeated !== undefined) return repeated;
  }
  if (!isNumber(a) || !isNumber(b)) throw mismatch(op === "**" ? "** or pow()" : op, a, b);
  const [x, y] = [plainNumber(a), plainNumber(b)];
  return typeof x === "bigint" && typeof y === "bigint" ? ofInts(op, x, y) : ofFloats(op, Number(x), Number(y));
}

function repeat(items: Value, by: Value): Value | undefined {
  if (typeof items !== "string" && !Array.isArray(items)) return undefined;
  if (typeof by !== "bigint" && typeof by !== "boolean") {
    if (typeof by === "string" || Array.isArray(by) || typeof by === "number")
      throw failure(`can't multiply sequence by non-int of type '${typeName(by)}'`);
    return undefined;
  }
  const times = Math.max(0, Number(by));
  spend(items.length * times);
  if (typeof items === "string") return items.repeat(times);
  const out = Array.from({ length: times }, () => items as Value[]).flat(1) as Value[];
  return items instanceof Tuple ? tuple(...out) : out;
}

const floorDiv = (x: bigint, y: bigint): bigint => x / y - (x % y !== 0n && x < 0n !== y < 0n ? 1n : 0n);

function ofInts(op: string, x: bigint, y: bigint): Value {
  if (op === "+") return sizedInt(x + y);
  if (op === "-") return sizedInt(x - y);
  if (op === "*") return sizedInt(x * y);
  if (op === "**") return power(x, y);
  if (y === 0n) throw failure(op === "/" ? "division by zero" : "integer division or modulo by zero");
  if (op === "/") return Number(x) / Number(y);
  return op === "//" ? floorDiv(x, y) : x - floorDiv(x, y) * y;
}

function power(x: bigint, y: bigint): Value {
  if (y < 0n) {
    if (x === 0n) throw failure("0.0 cannot be raised to a negative power");
    return Number(x) ** Number(y);
  }
  if (x !== 0n && x !== 1n && x !== -1n && x.toString(2).length * Number(y) > MOST_BITS)
    throw unsupported("an int of more than 20000 bits");
  return x ** y;
}

function ofFloats(op: string, x: number, y: number): number {
  if (op === "+") return x + y;
  if (op === "-") return x - y;
  if (op === "*") return x * y;
  if (op === "**") {
    if (x < 0 && !Number.isInteger(y)) throw unsupported("a complex number");
    return x ** y;
  }
  if (y === 0)
    throw failure(op === "/" ? "float division by zero" : op === "//" ? "float floor division by zero" : "float modulo");
  if (op === "/") return x / y;
  const rest = x % y;
  const modulo = rest !== 0 && rest < 0 !== y < 0 ? rest + y : rest;
  return op === "%" ? modulo : Math.round((x - modulo) / y);
}

export function negative(v: Value): Value {
  if (v instanceof Undefined) throw v.fault;
  if (!isNumber(v)) throw failure(`bad operand type for unary -: '${typeName(v)}'`);
  return -plainNumber(v);
}

export function positive(v: Value): Value {
  if (v instanceof Undefined) throw v.fault;
  if (!isNumber(v)) throw failure(`bad operand type for unary +: '${typeName(v)}'`);
  return plainNumber(v);
}

/** `item in container` */
export function contains(container: Value, item: Value): boolean {
  if (typeof container === "string") {
    if (typeof item !== "string") throw failure(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    spend(container.length / 16);
    return container.includes(item);
  }
  if (container instanceof Map) return container.has(keyOf(item));
  if (container instanceof View && container.kind === "dict_keys") return container.of.has(keyOf(item));
  if (container instanceof Undefined) return false;
  if (container === null || isNumber(container)) throw failure(`argument of type '${typeName(container)}' is not iterable`);
  return iterate(container).some((x) => equal(x, item));
}

/** The item at an index or key; undefined where there is none. */
export function item(of: Value, index: Value): Value | undefined {
  if (of instanceof Map) return Array.isArray(index) || index instanceof Map ? undefined : of.get(keyOf(index));
  if (typeof of === "string" || Array.isArray(of) || of instanceof Range) {
    if (typeof index !== "bigint" && typeof index !== "boolean") return undefined;
    const items = typeof of === "string" ? characters(of) : of;
    const i = Number(index) < 0 ? items.length + Number(index) : Number(index);
    if (i < 0 || i >= items.length) return undefined;
    return items instanceof Range ? items.at(i) : (items[i] as Value);
  }
  return undefined;
}

export function sliced(of: Value, start: Value, stop: Value, step: Value): Value {
  if (of instanceof Undefined) throw of.fault;
  if (typeof of !== "string" && !Array.isArray(of) && !(of instanceof Range))
    throw failure(of instanceof Map ? "unhashable type: 'slice'" : `'${typeName(of)}' object is not subscriptable`);
  const items: Value[] = typeof of === "string" ? characters(of) : of instanceof Range ? of.list() : (of as Value[]);
  const n = items.length;
  const indices = "slice indices must be integers or None or have an __index__ method";
  const by = step === null ? 1 : Number(whole(step, indices));
  if (by === 0) throw failure("slice step cannot be zero");
  const bound = (v: Value, otherwise: number): number => {
    if (v === null) return otherwise;
    const i = Number(whole(v, indices));
    const [low, high] = by > 0 ? [0, n] : [-1, n - 1];
    return Math.max(low, Math.min(high, i < 0 ? i + n : i));
  };
  const [from, to] = [bound(start, by > 0 ? 0 : n - 1), bound(stop, by > 0 ? n : -1)];
  const out: Value[] = [];
  for (let i = from; by > 0 ? i < to : i > to; i += by) out.push(items[i]);
  spend(out.length / 4);
  if (typeof of === "string") return out.join("");
  if (of instanceof Range && out.length)
    return new Range(out[0] as bigint, (out.at(-1) as bigint) + BigInt(by) * of.step, BigInt(by) * of.step);
  return of instanceof Tuple ? tuple(...out) : out;
}
