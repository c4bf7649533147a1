// The filters of Jinja: `x | name`. Those for web pages (urlize, xmlattr and the like) are refused by name.
import { flag, take } from "./arguments.ts";
import { attribute } from "./attributes.ts";
import { spend } from "./budget.ts";
import { failure, unsupported } from "./errors.ts";
import type { Filter } from "./filter.ts";
import { toJson } from "./json.ts";
import { listFilters } from "./list-filters.ts";
import { parseFloating, parseInteger, rounded, wholeOf } from "./numbers.ts";
import { percentFormat } from "./percent-format.ts";
import { centered, capital, lines, replaced, stripped } from "./string-methods.ts";
import { str } from "./text.ts";
import {
  Undefined,
  characters,
  isNumber,
  itemsOf,
  lengthOf,
  plainNumber,
  truthy,
  typeName,
  tuple,
  type Args,
  type Value,
} from "./values.ts";

const plain =
  (name: string, f: (v: Value) => Value): Filter =>
  (v, args) => (take(name, args, []), f(v));
const WORD_BEGIN = /([-\s({[<]+)/;
const HTML: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;" };

const escaped: Filter = (v, args) => (take("escape", args, []), str(v).replace(/[&<>"']/g, (c) => HTML[c]));

function int(v: Value, args: Args): Value {
  const [otherwise = 0n, base = 10n] = take("int", args, ["default", "base"]);
  if (v instanceof Undefined) throw v.fault;
  if (typeof v === "string") {
    const read = parseInteger(v, wholeOf(base, "base")) ?? parseFloating(v);
    return typeof read === "bigint" ? read : read !== undefined && Number.isFinite(read) ? BigInt(Math.trunc(read)) : otherwise;
  }
  if (!isNumber(v)) return otherwise;
  const n = plainNumber(v);
  if (typeof n === "bigint") return n;
  if (!Number.isFinite(n) && !Number.isNaN(n)) throw failure("cannot convert float infinity to integer");
  return Number.isNaN(n) ? otherwise : BigInt(Math.trunc(n));
}

function float(v: Value, args: Args): Value {
  const [otherwise = 0] = take("float", args, ["default"]);
  if (v instanceof Undefined) throw v.fault;
  if (typeof v === "string") return parseFloating(v) ?? otherwise;
  return isNumber(v) ? Number(plainNumber(v)) : otherwise;
}

function round(v: Value, args: Args): Value {
  const [precision = 0n, method = "common"] = take("round", args, ["precision", "method"]);
  if (typeof method !== "string" || !["common", "ceil", "floor"].includes(method))
    throw failure("method must be common, ceil or floor");
  if (v instanceof Undefined) throw v.fault;
  if (!isNumber(v)) throw failure(`type ${typeName(v)} doesn't define __round__ method`);
  const [n, digits] = [plainNumber(v), wholeOf(precision, "precision")];
  if (method !== "common") {
    const scale = 10 ** digits;
    return Math[method === "ceil" ? "ceil" : "floor"](Number(n) * scale) / scale;
  }
  if (typeof n === "number") return rounded(n, digits);
  if (digits >= 0) return n;
  const unit = 10n ** BigInt(Math.min(4300, -digits));
  const rest = ((n % unit) + unit) % unit;
  const low = n - rest;
  return rest * 2n > unit || (rest * 2n === unit && (low / unit) % 2n !== 0n) ? low + unit : low;
}

function indent(v: Value, args: Args): Value {
  const [width = 4n, first, blank] = take("indent", args, ["width", "first", "blank"]);
  if (typeof v !== "string")
    throw v instanceof Undefined ? v.fault : failure(`unsupported operand type(s) for +=: '${typeName(v)}' and 'str'`);
  const by = typeof width === "string" ? width : " ".repeat(Math.max(0, Math.min(1e6, wholeOf(width, "width"))));
  const all = lines(`${v}\n`);
  spend((all.length * by.length) / 8);
  const text = flag(blank) ? all.join(`\n${by}`) : [all[0], ...all.slice(1).map((l) => (l ? by + l : l))].join("\n");
  return flag(first) ? by + text : text;
}

function truncate(v: Value, args: Args): Value {
  const [length = 255n, kill, end = "...", leeway = null] = take("truncate", args, ["length", "killwords", "end", "leeway"]);
  if (typeof v !== "string") throw failure(`object of type '${typeName(v)}' cannot be truncated`);
  const [most, more] = [wholeOf(length, "length"), leeway === null ? 5 : wholeOf(leeway, "leeway")];
  const [all, mark] = [characters(v), str(end)];
  if (most < characters(mark).length) throw failure(`expected length >= ${mark.length}, got ${most}`);
  if (more < 0) throw failure(`expected leeway >= 0, got ${more}`);
  if (all.length <= most + more) return v;
  const kept = all.slice(0, most - characters(mark).length).join("");
  const space = kept.lastIndexOf(" ");
  return (flag(kill) || space < 0 ? kept : kept.slice(0, space)) + mark;
}

function tojson(v: Value, args: Args): Value {
  const [ascii, indentation = null, separators = null, sorted] = take("tojson", args, [
    "ensure_ascii",
    "indent",
    "separators",
    "sort_keys",
  ]);
  const by =
    indentation === null
      ? undefined
      : typeof indentation === "string"
        ? indentation
        : " ".repeat(Math.max(0, Math.min(1000, wholeOf(indentation, "indent"))));
  const pair = separators === null ? undefined : (itemsOf(separators) as string[]);
  if (pair && (pair.length !== 2 || pair.some((p) => typeof p !== "string"))) throw failure("separators are two texts");
  return toJson(v, {
    ascii: flag(ascii),
    indent: by,
    separators: pair ? [pair[0], pair[1]] : [by === undefined ? ", " : ",", ": "],
    sorted: flag(sorted),
  });
}

function urlencode(v: Value): Value {
  const one = (x: Value, form: boolean): string => {
    const text = encodeURIComponent(str(x))
      .replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
      .replaceAll("%2F", form ? "%2F" : "/");
    return form ? text.replaceAll("%20", "+") : text;
  };
  if (typeof v === "string" || isNumber(v)) return one(v, false);
  const pairs = v instanceof Map ? [...v] : (itemsOf(v) ?? []).map((p) => itemsOf(p) as [Value, Value]);
  return pairs.map(([k, x]) => `${one(k, true)}=${one(x, true)}`).join("&");
}

const filters: Readonly<Record<string, Filter>> = {
  ...listFilters,
  abs: plain("abs", (v) => {
    if (!isNumber(v)) throw v instanceof Undefined ? v.fault : failure(`bad operand type for abs(): '${typeName(v)}'`);
    const n = plainNumber(v);
    return n < 0 ? -n : n;
  }),
  attr(v, args) {
    const [name] = take("attr", args, ["name"], 1);
    // Of a dict it gives no items, as everything else that is no attribute.
    const found = attribute(v, str(name!));
    return v instanceof Map && v.get(str(name!)) === found
      ? new Undefined(`'dict object' has no attribute '${str(name!)}'`)
      : found;
  },
  capitalize: plain("capitalize", (v) => capital(str(v))),
  center: (v, args) => centered(str(v), wholeOf(take("center", args, ["width"])[0] ?? 80n, "width")),
  default(v, args) {
    const [otherwise = "", boolean] = take("default", args, ["default_value", "boolean"]);
    return v instanceof Undefined || (flag(boolean) && !truthy(v)) ? otherwise : v;
  },
  escape: escaped,
  forceescape: escaped,
  safe: plain("safe", str),
  float,
  format(v, { list, named }) {
    if (list.length && named.size) throw failure("can't handle positional and keyword arguments at the same time");
    return percentFormat(str(v), named.size ? named : tuple(...list));
  },
  indent,
  int,
  length: plain("length", lengthOf),
  lower: plain("lower", (v) => str(v).toLowerCase()),
  upper: plain("upper", (v) => str(v).toUpperCase()),
  replace(v, args) {
    const [old, by, count = null] = take("replace", args, ["old", "new", "count"], 2);
    return replaced(str(v), str(old!), str(by!), count === null ? -1 : wholeOf(count, "count"));
  },
  round,
  string: plain("string", str),
  title: plain("title", (v) => str(v).split(WORD_BEGIN).map(capital).join("")),
  tojson,
  trim(v, args) {
    const [chars = null] = take("trim", args, ["chars"]);
    return stripped(str(v), chars === null ? null : str(chars));
  },
  truncate,
  urlencode: plain("urlencode", urlencode),
  wordcount: plain("wordcount", (v) => BigInt(str(v).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0)),
};

const ALIASES: Readonly<Record<string, string>> = { d: "default", e: "escape", count: "length" };
const OTHER = ["filesizeformat", "pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr"];

export const isFilter = (name: string): boolean => Object.hasOwn(filters, ALIASES[name] ?? name) || OTHER.includes(name);

export function filter(name: string): Filter {
  const known = Object.hasOwn(ALIASES, name) ? ALIASES[name] : name;
  if (OTHER.includes(name)) throw unsupported(`the filter '${name}'`);
  if (!Object.hasOwn(filters, known)) throw failure(`No filter named '${name}'.`);
  return (v, args, how) => {
    if (typeof v === "string") spend(v.length / 16);
    return filters[known](v, args, how);
  };
}
