// Values of a template, as Python has them: None is null, int a bigint, float a number, str a string, list an array, dict a Map.
// What Python tells apart and JavaScript does not has a class here.
import { spend } from "./budget.ts";
import { failure, unsupported } from "./errors.ts";

export class Tuple extends Array<Value> {}

export function tuple(...items: readonly Value[]): Tuple {
  const t = new Tuple();
  for (const i of items) t.push(i);
  return t;
}

export type Dict = Map<Value, Value>;

/** What is not there: empty where it is printed or looped over, an error where it is used otherwise. */
export class Undefined {
  readonly why: string;
  constructor(why: string) {
    this.why = why;
  }
  get fault(): Error {
    return failure(this.why);
  }
}

export class Namespace {
  readonly values: Map<string, Value>;
  constructor(values: Map<string, Value>) {
    this.values = values;
  }
}

/** Arguments of a call. */
export interface Args {
  list: Value[];
  named: Map<string, Value>;
}

/** A macro, a method, or a function of the environment. */
export class Callable {
  readonly name: string;
  readonly call: (args: Args) => Value;
  readonly attributes: ReadonlyMap<string, Value>;
  constructor(name: string, call: (args: Args) => Value, attributes: ReadonlyMap<string, Value> = new Map()) {
    this.name = name;
    this.call = call;
    this.attributes = attributes;
  }
}

/** What Python makes one item at a time: it has no length and is looped over once. */
export class Lazy {
  readonly name: string;
  private items: Iterator<Value>;
  constructor(name: string, items: Iterable<Value>) {
    this.name = name;
    this.items = items[Symbol.iterator]();
  }
  next(): Value {
    const n = this.items.next();
    return n.done ? undefined! : n.value;
  }
  *rest(): Generator<Value> {
    for (let n = this.items.next(); !n.done; n = this.items.next()) yield n.value;
  }
}

/** keys(), values() or items() of a dict. */
export class View {
  readonly kind: "dict_keys" | "dict_values" | "dict_items";
  readonly of: Dict;
  constructor(kind: View["kind"], of: Dict) {
    this.kind = kind;
    this.of = of;
  }
  list(): Value[] {
    if (this.kind === "dict_keys") return [...this.of.keys()];
    return this.kind === "dict_values" ? [...this.of.values()] : [...this.of].map(([k, v]) => tuple(k, v));
  }
}

export class Range {
  readonly start: bigint;
  readonly step: bigint;
  readonly length: number;
  readonly stop: bigint;
  constructor(start: bigint, stop: bigint, step: bigint) {
    [this.start, this.stop, this.step] = [start, stop, step];
    const n = step > 0n ? (stop - start + step - 1n) / step : (start - stop - step - 1n) / -step;
    this.length = Number(n > 0n ? n : 0n);
  }
  at(i: number): bigint {
    return this.start + BigInt(i) * this.step;
  }
  list(): bigint[] {
    return Array.from({ length: this.length }, (_, i) => this.at(i));
  }
}

/** Something with attributes: the `loop` of a loop, a cycler, a pair of groupby. */
export class Thing {
  readonly name: string;
  readonly get: (attribute: string) => Value | undefined;
  readonly call: ((args: Args) => Value) | undefined;
  constructor(name: string, get: (attribute: string) => Value | undefined, call?: (args: Args) => Value) {
    [this.name, this.get, this.call] = [name, get, call];
  }
}

/** A pair that groupby gives. */
export class Group extends Tuple {}

export type Value =
  | null
  | boolean
  | bigint
  | number
  | string
  | Value[]
  | Dict
  | Undefined
  | Namespace
  | Callable
  | Lazy
  | View
  | Range
  | Thing;

/** A value of JSON, or a list or object of such. Whole numbers are ints. */
export function fromJs(v: unknown): Value {
  if (v === null || v === undefined) return null;
  if (typeof v === "string" || typeof v === "boolean" || typeof v === "bigint") return v;
  if (typeof v === "number") return Number.isSafeInteger(v) && !Object.is(v, -0) ? BigInt(v) : v;
  if (Array.isArray(v)) return v.map(fromJs);
  if (typeof v === "object")
    return new Map(
      Object.entries(v)
        .filter(([, x]) => x !== undefined)
        .map(([k, x]) => [k, fromJs(x)]),
    );
  throw unsupported(`a value of type ${typeof v}`);
}

/** The name of a value's type in Python. */
export function typeName(v: Value): string {
  if (v === null) return "NoneType";
  if (v instanceof Tuple) return "tuple";
  if (Array.isArray(v)) return "list";
  if (v instanceof Map) return "dict";
  if (v instanceof Undefined) return "Undefined";
  if (v instanceof Namespace) return "Namespace";
  if (v instanceof Lazy) return "generator";
  if (v instanceof View) return v.kind;
  if (v instanceof Range) return "range";
  if (v instanceof Callable) return "function";
  if (v instanceof Thing) return v.name;
  return { string: "str", boolean: "bool", bigint: "int", number: "float" }[
    typeof v as "string" | "boolean" | "bigint" | "number"
  ];
}

export function truthy(v: Value): boolean {
  if (v === null || v instanceof Undefined) return false;
  if (typeof v === "string" || Array.isArray(v) || v instanceof Range) return v.length > 0;
  if (v instanceof Map) return v.size > 0;
  if (v instanceof View) return v.of.size > 0;
  return typeof v === "object" ? true : Boolean(v);
}

/** Characters as Python counts them. */
export const characters = (s: string): string[] => (/[\ud800-\udfff]/.test(s) ? Array.from(s) : s.split(""));

export function lengthOf(v: Value): bigint {
  if (typeof v === "string") return BigInt(/[\ud800-\udfff]/.test(v) ? Array.from(v).length : v.length);
  if (Array.isArray(v) || v instanceof Range) return BigInt(v.length);
  if (v instanceof Map) return BigInt(v.size);
  if (v instanceof View) return BigInt(v.of.size);
  if (v instanceof Undefined) return 0n;
  throw failure(`object of type '${typeName(v)}' has no len()`);
}

/** The items of what can be looped over, or undefined. */
export function itemsOf(v: Value): Value[] | undefined {
  if (typeof v === "string") return characters(v);
  if (Array.isArray(v)) return [...v] as Value[];
  if (v instanceof Map) return [...v.keys()];
  if (v instanceof View || v instanceof Range) return v.list();
  if (v instanceof Lazy) return [...v.rest()];
  if (v instanceof Undefined) return [];
  return undefined;
}

export function iterate(v: Value): Value[] {
  const items = itemsOf(v);
  spend(items?.length ?? 0);
  if (!items) throw failure(`'${typeName(v)}' object is not iterable`);
  return items;
}

/** A key as a dict holds it: equal numbers are one key. */
export function keyOf(k: Value): Value {
  if (typeof k === "boolean") return k ? 1n : 0n;
  if (typeof k === "number") return Number.isInteger(k) ? BigInt(k) : k;
  if (k instanceof Tuple) throw unsupported("a tuple as a key of a dict");
  if (Array.isArray(k) || k instanceof Map) throw failure(`unhashable type: '${typeName(k)}'`);
  return k;
}

export const isNumber = (v: Value): v is bigint | number | boolean =>
  typeof v === "bigint" || typeof v === "number" || typeof v === "boolean";

/** A bool is an int to arithmetic. */
export const plainNumber = (v: bigint | number | boolean): bigint | number => (typeof v === "boolean" ? (v ? 1n : 0n) : v);

export function equal(a: Value, b: Value): boolean {
  spend(1);
  // Ints and floats that are the same number are equal, of any size.
  // oxlint-disable-next-line eqeqeq
  if (isNumber(a) && isNumber(b)) return plainNumber(a) == plainNumber(b);
  if (a instanceof Undefined) return b instanceof Undefined;
  if (Array.isArray(a) && Array.isArray(b))
    return (
      a instanceof Tuple === b instanceof Tuple && a.length === b.length && a.every((x, i) => equal(x as Value, b[i] as Value))
    );
  if (a instanceof Map && b instanceof Map) return a.size === b.size && [...a].every(([k, v]) => b.has(k) && equal(v, b.get(k)!));
  if (a instanceof Range && b instanceof Range)
    return a.length === b.length && (a.length === 0 || (a.start === b.start && (a.length === 1 || a.step === b.step)));
  return a === b;
}

/** Below zero where a comes first. Throws where Python does not order the two. */
export function compare(a: Value, b: Value, sign = "<"): number {
  spend(1);
  if (a instanceof Undefined) throw a.fault;
  if (b instanceof Undefined) throw b.fault;
  if (isNumber(a) && isNumber(b)) {
    const [x, y] = [plainNumber(a), plainNumber(b)];
    return x < y ? -1 : x > y ? 1 : x == y ? 0 : NaN;
  }
  if (typeof a === "string" && typeof b === "string") return compareText(a, b);
  if (Array.isArray(a) && Array.isArray(b) && a instanceof Tuple === b instanceof Tuple) {
    for (let i = 0; i < Math.min(a.length, b.length); i++)
      if (!equal(a[i] as Value, b[i] as Value)) return compare(a[i] as Value, b[i] as Value, sign);
    return a.length - b.length;
  }
  throw failure(`'${sign}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

/** By code points, where JavaScript's own order is of UTF-16. */
function compareText(a: string, b: string): number {
  if (a === b) return 0;
  if (!/[\ud800-\udfff]/.test(a) && !/[\ud800-\udfff]/.test(b)) return a < b ? -1 : 1;
  const [x, y] = [Array.from(a), Array.from(b)];
  for (let i = 0; i < Math.min(x.length, y.length); i++) if (x[i] !== y[i]) return x[i].codePointAt(0)! - y[i].codePointAt(0)!;
  return x.length - y.length;
}
