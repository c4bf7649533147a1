// Attributes and items: `x.name` and `x["name"]`, as Jinja's sandbox for chat templates looks them up.
import { take } from "./arguments.ts";
import { spend } from "./budget.ts";
import { failure, unsupported } from "./errors.ts";
import { wholeOf } from "./numbers.ts";
import { item } from "./operators.ts";
import { formatText } from "./spec-format.ts";
import { otherStringMethods, stringMethods } from "./string-methods.ts";
import {
  Callable,
  Group,
  Lazy,
  Namespace,
  Range,
  Thing,
  Tuple,
  Undefined,
  View,
  equal,
  keyOf,
  typeName,
  type Args,
  type Dict,
  type Value,
} from "./values.ts";

/** What would change a value: the sandbox refuses it, and so is it here. */
const MUTATES: Readonly<Record<string, readonly string[]>> = {
  list: ["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"],
  dict: ["clear", "pop", "popitem", "setdefault", "update"],
};

const dictMethods: Readonly<Record<string, (d: Dict, args: Args) => Value>> = {
  items: (d, args) => (take("items", args, []), new View("dict_items", d)),
  keys: (d, args) => (take("keys", args, []), new View("dict_keys", d)),
  values: (d, args) => (take("values", args, []), new View("dict_values", d)),
  copy: (d, args) => (take("copy", args, []), new Map(d)),
  get(d, args) {
    const [key, otherwise = null] = take("get", args, ["key", "default"], 1);
    return d.get(keyOf(key!)) ?? (d.has(keyOf(key!)) ? null : otherwise);
  },
};

const listMethods: Readonly<Record<string, (l: Value[], args: Args) => Value>> = {
  count: (l, args) => {
    const [x] = take("count", args, ["value"], 1);
    return BigInt(l.filter((y) => equal(y, x!)).length);
  },
  index: (l, args) => {
    const [x, start = 0n, stop] = take("index", args, ["value", "start", "stop"], 1);
    const bound = (v: Value): number =>
      Math.max(0, wholeOf(v, "index") < 0 ? wholeOf(v, "index") + l.length : wholeOf(v, "index"));
    const end = stop === undefined ? l.length : bound(stop);
    const at = l.findIndex((y, i) => i >= bound(start) && i < end && equal(y, x!));
    if (at < 0) throw failure("the value is not in the list");
    return BigInt(at);
  },
};

function method(of: Value, name: string): Value | undefined {
  const bound = (call: (args: Args) => Value): Callable => new Callable(name, call);
  if (typeof of === "string") {
    if (name === "format") return bound((args) => formatText(of, args, attribute, itemOf));
    if (name === "format_map")
      return bound((args) => {
        const [mapping] = take(name, args, ["mapping"], 1);
        return formatText(
          of,
          { list: [], named: mapping instanceof Map ? (mapping as Map<string, Value>) : new Map() },
          attribute,
          itemOf,
        );
      });
    if (otherStringMethods.includes(name)) throw unsupported(`str.${name}`);
    if (!Object.hasOwn(stringMethods, name)) return undefined;
    return bound((args) => (spend(of.length / 16), stringMethods[name](of, args)));
  }
  if (of instanceof Map) {
    if (name === "fromkeys") throw unsupported("dict.fromkeys of a dict");
    return Object.hasOwn(dictMethods, name) ? bound((args) => dictMethods[name](of, args)) : undefined;
  }
  if (Array.isArray(of)) {
    if (name === "copy" && !(of instanceof Tuple)) return bound(() => [...(of as Value[])]);
    return Object.hasOwn(listMethods, name)
      ? bound((args) => (spend(of.length), listMethods[name](of as Value[], args)))
      : undefined;
  }
  if (of instanceof Range)
    return Object.hasOwn(listMethods, name)
      ? bound((args) => listMethods[name](of.list(), args))
      : name === "start" || name === "stop" || name === "step"
        ? of[name]
        : undefined;
  if (of instanceof View && ["isdisjoint", "mapping"].includes(name)) throw unsupported(`${of.kind}.${name}`);
  return undefined;
}

function numberAttribute(of: Value, name: string): Value | undefined {
  if (typeof of === "number") {
    if (name === "is_integer") return new Callable(name, () => Number.isInteger(of));
    if (["as_integer_ratio", "hex", "fromhex", "conjugate", "real", "imag"].includes(name)) throw unsupported(`float.${name}`);
  }
  if (typeof of === "bigint" || typeof of === "boolean") {
    const n = BigInt(of);
    if (name === "bit_length") return new Callable(name, () => BigInt(n === 0n ? 0 : (n < 0n ? -n : n).toString(2).length));
    if (name === "real" || name === "numerator") return n;
    if (name === "imag") return 0n;
    if (name === "denominator") return 1n;
    if (name === "is_integer") return new Callable(name, () => true);
    if (["to_bytes", "from_bytes", "as_integer_ratio", "bit_count", "conjugate"].includes(name)) throw unsupported(`int.${name}`);
  }
  return undefined;
}

/** What Python's getattr finds; undefined where nothing does. */
function own(of: Value, name: string): Value | undefined {
  if (name.startsWith("_")) return undefined;
  if (of instanceof Namespace) return of.values.get(name);
  if (of instanceof Thing) return of.get(name);
  if (of instanceof Callable) return of.attributes.get(name);
  if (of instanceof Group && (name === "grouper" || name === "list")) return of[name === "grouper" ? 0 : 1];
  const kind = of instanceof Tuple ? "tuple" : typeName(of);
  if (MUTATES[kind]?.includes(name)) return new Undefined(`access to attribute '${name}' of '${kind}' object is unsafe.`);
  return method(of, name) ?? numberAttribute(of, name);
}

function absent(of: Value, name: Value): Undefined {
  if (of === null) return new Undefined(`'None' has no attribute '${String(name)}'`);
  if (typeof name !== "string") return new Undefined(`${typeName(of)} object has no element ${String(name)}`);
  return new Undefined(`'${typeName(of)} object' has no attribute '${name}'`);
}

/** `of.name`: an attribute, else an item. */
export function attribute(of: Value, name: string): Value {
  if (of instanceof Undefined) throw of.fault;
  const found = own(of, name);
  if (found !== undefined) return found;
  const inside = item(of, name);
  return inside === undefined ? absent(of, name) : inside;
}

/** `of[index]`: an item, else an attribute. */
export function itemOf(of: Value, index: Value): Value {
  if (of instanceof Undefined) throw of.fault;
  const found = item(of, index);
  if (found !== undefined) return found;
  if (of instanceof Map && (Array.isArray(index) || index instanceof Map)) return absent(of, String(typeName(index)));
  const attributed = typeof index === "string" ? own(of, index) : undefined;
  return attributed === undefined ? absent(of, index) : attributed;
}

export const isIterable = (v: Value): boolean =>
  typeof v === "string" ||
  Array.isArray(v) ||
  v instanceof Map ||
  v instanceof View ||
  v instanceof Range ||
  v instanceof Lazy ||
  v instanceof Undefined ||
  (v instanceof Thing && v.name === "LoopContext");
