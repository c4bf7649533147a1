// The filter `tojson` as transformers has it: json.dumps of Python, without escapes for HTML and, unless asked, for other than ASCII.
import { nested, spend } from "./budget.ts";
import { failure } from "./errors.ts";
import { floatText } from "./text.ts";
import { Undefined, compare, typeName, type Value } from "./values.ts";

export interface JsonStyle {
  ascii: boolean;
  indent: string | undefined;
  separators: [item: string, key: string];
  sorted: boolean;
}

export function toJson(v: Value, style: JsonStyle, level = 0): string {
  spend(1);
  if (v === null || typeof v === "boolean") return String(v);
  if (typeof v === "string") return quoted(v, style.ascii);
  if (typeof v === "bigint") return v.toString();
  if (typeof v === "number") return jsonFloat(v);
  if (Array.isArray(v))
    return group(
      "[",
      "]",
      (v as Value[]).map((x) => nested(() => toJson(x, style, level + 1))),
      style,
      level,
    );
  if (v instanceof Map) {
    const pairs = style.sorted ? [...v].toSorted(([a], [b]) => compare(a, b)) : [...v];
    return group(
      "{",
      "}",
      pairs.map(([k, x]) => quoted(keyText(k), style.ascii) + style.separators[1] + nested(() => toJson(x, style, level + 1))),
      style,
      level,
    );
  }
  throw failure(`Object of type ${v instanceof Undefined ? "Undefined" : typeName(v)} is not JSON serializable`);
}

const jsonFloat = (v: number): string =>
  Number.isNaN(v) ? "NaN" : Number.isFinite(v) ? floatText(v) : v > 0 ? "Infinity" : "-Infinity";

function keyText(k: Value): string {
  if (typeof k === "string") return k;
  if (k === null || typeof k === "boolean") return String(k);
  if (typeof k === "bigint") return k.toString();
  if (typeof k === "number") return jsonFloat(k);
  throw failure(`keys must be str, int, float, bool or None, not ${typeName(k)}`);
}

function group(open: string, close: string, parts: string[], { indent, separators }: JsonStyle, level: number): string {
  if (parts.length === 0) return open + close;
  const text =
    indent === undefined
      ? parts.join(separators[0])
      : `\n${indent.repeat(level + 1)}${parts.join(`${separators[0]}\n${indent.repeat(level + 1)}`)}\n${indent.repeat(level)}`;
  spend(text.length / 8);
  return open + text + close;
}

const SHORT: Readonly<Record<string, string>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\b": "\\b",
  "\f": "\\f",
};

function quoted(s: string, ascii: boolean): string {
  spend(s.length / 16);
  // oxlint-disable-next-line no-control-regex
  const special = ascii ? /["\\]|[^ -~]/g : /["\\\x00-\x1f]/g;
  return `"${s.replace(special, (c) => SHORT[c] ?? `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)}"`;
}
