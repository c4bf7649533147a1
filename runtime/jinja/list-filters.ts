// The filters of Jinja over several items. Those that Python evaluates item by item have no length here either.
import { flag, take } from "./arguments.ts";
import { itemOf } from "./attributes.ts";
import { spend } from "./budget.ts";
import { failure } from "./errors.ts";
import type { Filter } from "./filter.ts";
import { wholeOf } from "./numbers.ts";
import { binary } from "./operators.ts";
import { str } from "./text.ts";
import { Group, Lazy, Tuple, Undefined, View, compare, equal, iterate, truthy, type Args, type Value } from "./values.ts";

type Getter = (v: Value) => Value;

/** "a.0.b": attributes of attributes. */
function getter(name: Value, otherwise: Value = null): Getter {
  const parts: Value[] =
    typeof name === "string" ? name.split(".").map((p) => (/^\d+$/.test(p) ? BigInt(p) : p)) : name === null ? [] : [name];
  return (v) =>
    parts.reduce((of, p) => {
      const found = itemOf(of, p);
      return found instanceof Undefined && otherwise !== null ? otherwise : found;
    }, v);
}

const folded =
  (get: Getter, caseSensitive: boolean): Getter =>
  (v) => {
    const key = get(v);
    return typeof key === "string" && !caseSensitive ? key.toLowerCase() : key;
  };

/** Stable, as Python's sorted(). */
function sorted(items: Value[], key: Getter, reverse: boolean): Value[] {
  const keyed = items.map((v) => [v, key(v)] as const);
  const order = (a: Value, b: Value): number => {
    const c = compare(a, b);
    return Number.isNaN(c) ? 0 : c;
  };
  return keyed.toSorted(([, a], [, b]) => (reverse ? order(b, a) : order(a, b))).map(([v]) => v);
}

function sort(v: Value, args: Args): Value {
  const [reverse, caseSensitive, attribute = null] = take("sort", args, ["reverse", "case_sensitive", "attribute"]);
  const names: Value[] = typeof attribute === "string" ? attribute.split(",") : [attribute];
  const keys = names.map((n) => folded(getter(n), flag(caseSensitive)));
  return sorted(iterate(v), (x) => keys.map((k) => k(x)), flag(reverse));
}

function dictsort(v: Value, args: Args): Value {
  const [caseSensitive, by = "key", reverse] = take("dictsort", args, ["case_sensitive", "by", "reverse"]);
  if (by !== "key" && by !== "value") throw failure('You can only sort by either "key" or "value"');
  if (!(v instanceof Map)) throw v instanceof Undefined ? v.fault : failure("dictsort takes a dict");
  return sorted(
    new View("dict_items", v).list(),
    folded((p) => (p as Tuple)[by === "key" ? 0 : 1], flag(caseSensitive)),
    flag(reverse),
  );
}

const extreme =
  (name: string, sign: number): Filter =>
  (v, args) => {
    const [caseSensitive, attribute = null] = take(name, args, ["case_sensitive", "attribute"]);
    const items = iterate(v);
    if (items.length === 0) return new Undefined("No aggregated item, sequence was empty.");
    const key = folded(getter(attribute), flag(caseSensitive));
    return items.reduce((best, x) => (sign * compare(key(x), key(best), sign > 0 ? ">" : "<") > 0 ? x : best));
  };

function* unique(items: readonly Value[], key: Getter): Generator<Value> {
  const seen = new Set<Value>();
  const others: Value[] = [];
  for (const x of items) {
    const k = key(x);
    if (typeof k === "object" && k !== null ? others.some((o) => equal(o, k)) : seen.has(k)) continue;
    if (typeof k === "object" && k !== null) others.push(k);
    else seen.add(k);
    yield x;
  }
}

function groupby(v: Value, args: Args): Value {
  const [attribute, otherwise = null, caseSensitive] = take("groupby", args, ["attribute", "default", "case_sensitive"], 1);
  const real = getter(attribute!, otherwise);
  const key = folded(real, flag(caseSensitive));
  const out: Value[] = [];
  let last: [key: Value, items: Value[]] | undefined;
  for (const x of sorted(iterate(v), key, false)) {
    const k = key(x);
    if (last && equal(last[0], k)) last[1].push(x);
    else {
      last = [k, [x]];
      const g = new Group();
      g.push(real(x), last[1]);
      out.push(g);
    }
  }
  return out;
}

/** select, reject and those by attribute: what a test, or the truth of a value, says of each item. */
const choosing =
  (name: string, keeps: boolean, byAttribute: boolean): Filter =>
  (v, { list, named }, { test }) => {
    const rest = [...list];
    if (byAttribute && rest.length === 0) throw failure("Missing parameter for attribute name");
    const get = byAttribute ? getter(rest.shift()!) : (x: Value): Value => x;
    const by = rest.shift();
    if (named.size) throw failure(`${name} takes no keyword argument '${[...named.keys()][0]}'`);
    const items = truthy(v) ? iterate(v) : [];
    return new Lazy(
      name,
      (function* (): Generator<Value> {
        for (const x of items) if ((by === undefined ? truthy(get(x)) : test(str(by), get(x), rest)) === keeps) yield x;
      })(),
    );
  };

const map: Filter = (v, { list, named }, { run }) => {
  const items = truthy(v) ? iterate(v) : [];
  let each: Getter;
  if (list.length === 0 && named.has("attribute")) {
    const other = [...named.keys()].find((k) => k !== "attribute" && k !== "default");
    if (other !== undefined) throw failure(`Unexpected keyword argument '${other}'`);
    each = getter(named.get("attribute")!, named.get("default") ?? null);
  } else {
    if (list.length === 0) throw failure("map requires a filter argument");
    each = (x) => run(str(list[0]), x, { list: list.slice(1), named });
  }
  return new Lazy(
    "map",
    (function* (): Generator<Value> {
      for (const x of items) yield each(x);
    })(),
  );
};

function slice(v: Value, args: Args): Value {
  const [count, fill = null] = take("slice", args, ["slices", "fill_with"], 1);
  const [items, n] = [iterate(v), wholeOf(count!, "slices")];
  if (n === 0) throw failure("integer division or modulo by zero");
  spend(n);
  const [each, more] = [Math.floor(items.length / n), items.length % n];
  let from = 0;
  const out = Array.from({ length: Math.max(0, n) }, (_, i): Value => {
    const part = items.slice(from, (from += each + (i < more ? 1 : 0)));
    return fill !== null && i >= more ? [...part, fill] : part;
  });
  return new Lazy("slice", out);
}

function batch(v: Value, args: Args): Value {
  const [count, fill = null] = take("batch", args, ["linecount", "fill_with"], 1);
  const [items, n] = [iterate(v), wholeOf(count!, "linecount")];
  const out: Value[][] = [];
  for (const x of items) {
    if (out.length === 0 || out.at(-1)!.length === n) out.push([]);
    out.at(-1)!.push(x);
  }
  const last = out.at(-1);
  if (last && fill !== null && last.length < n) {
    spend(n);
    while (last.length < n) last.push(fill);
  }
  return new Lazy("batch", out);
}

export const listFilters: Readonly<Record<string, Filter>> = {
  batch,
  dictsort,
  first(v, args) {
    take("first", args, []);
    const found = v instanceof Lazy ? v.next() : iterate(v)[0];
    return found ?? (found === null ? null : new Undefined("No first item, sequence was empty."));
  },
  groupby,
  items(v, args) {
    take("items", args, []);
    if (!(v instanceof Map) && !(v instanceof Undefined)) throw failure("Can only get item pairs from a mapping.");
    return new Lazy("items", v instanceof Map ? new View("dict_items", v).list() : []);
  },
  join(v, args) {
    const [by = "", attribute = null] = take("join", args, ["d", "attribute"]);
    const get = getter(attribute);
    const text = iterate(v)
      .map((x) => str(get(x)))
      .join(str(by));
    spend(text.length / 8);
    return text;
  },
  last(v, args) {
    take("last", args, []);
    if (v instanceof Lazy) throw failure("'generator' object is not reversible");
    const items = iterate(v);
    return items.length ? items.at(-1)! : new Undefined("No last item, sequence was empty.");
  },
  list: (v, args) => (take("list", args, []), iterate(v)),
  map,
  max: extreme("max", 1),
  min: extreme("min", -1),
  reject: choosing("reject", false, false),
  rejectattr: choosing("rejectattr", false, true),
  reverse(v, args) {
    take("reverse", args, []);
    if (typeof v === "string") return iterate(v).toReversed().join("");
    return new Lazy("reverse", iterate(v).toReversed());
  },
  select: choosing("select", true, false),
  selectattr: choosing("selectattr", true, true),
  slice,
  sort,
  sum(v, args) {
    const [attribute = null, start = 0n] = take("sum", args, ["attribute", "start"]);
    if (typeof start === "string") throw failure("sum() can't sum strings [use ''.join(seq) instead]");
    const get = getter(attribute);
    return iterate(v).reduce((total, x) => binary("+", total, get(x)), start);
  },
  unique(v, args) {
    const [caseSensitive, attribute = null] = take("unique", args, ["case_sensitive", "attribute"]);
    return new Lazy("unique", unique(iterate(v), folded(getter(attribute), flag(caseSensitive))));
  },
};
