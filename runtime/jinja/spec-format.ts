// `"{:>8.2f}".format(x)`: fields of a format text, and what a format specification makes of a value, as Python has them.
import { spend } from "./budget.ts";
import { failure, unsupported } from "./errors.ts";
import { floatDigits } from "./numbers.ts";
import { floatText, repr, str } from "./text.ts";
import { Undefined, isNumber, plainNumber, typeName, type Args, type Value } from "./values.ts";

type Lookup = (of: Value, name: Value) => Value;

/** str.format: `get` reads attributes, `item` items. */
export function formatText(format: string, args: Args, get: (of: Value, name: string) => Value, item: Lookup): string {
  let automatic = 0;
  let numbering: string | undefined;
  const field = (name: string): Value => {
    const m = /^([^.[\]]*)((?:\.[^.[\]]+|\[[^\]]+\])*)$/.exec(name);
    if (!m) throw failure(`unexpected field name ${JSON.stringify(name)} in a format`);
    if (m[1] === "" || /^\d+$/.test(m[1])) {
      const now = m[1] === "" ? "automatic field numbering" : "manual field specification";
      if (numbering !== undefined && numbering !== now) throw failure(`cannot switch from ${numbering} to ${now}`);
      numbering = now;
    }
    const first = m[1] === "" ? String(automatic++) : m[1];
    let value = /^\d+$/.test(first) ? args.list[Number(first)] : args.named.get(first);
    if (value === undefined)
      throw failure(/^\d+$/.test(first) ? `Replacement index ${first} out of range for positional args tuple` : `'${first}'`);
    for (const [part] of m[2].matchAll(/\.[^.[\]]+|\[[^\]]+\]/g)) {
      const key = part.startsWith("[") ? part.slice(1, -1) : part.slice(1);
      value = part.startsWith(".") ? get(value, key) : item(value, /^\d+$/.test(key) ? BigInt(key) : key);
    }
    return value;
  };
  return expand(format, field, 2);
}

function expand(format: string, field: (name: string) => Value, depth: number): string {
  if (depth < 0) throw failure("Max string recursion exceeded");
  let out = "";
  for (let i = 0; i < format.length;) {
    const c = format[i];
    if ((c === "{" || c === "}") && format[i + 1] === c) {
      out += c;
      i += 2;
    } else if (c === "}") throw failure("Single '}' encountered in format string");
    else if (c === "{") {
      const end = closing(format, i);
      const m = /^([^!:]*)(?:!([\s\S]))?(?::([\s\S]*))?$/.exec(format.slice(i + 1, end));
      if (!m) throw failure("expected ':' after conversion specifier");
      const value = field(m[1]);
      if (m[2] !== undefined && !"rs".includes(m[2]))
        throw m[2] === "a" ? unsupported("!a in a format") : failure(`Unknown conversion specifier '${m[2]}'`);
      const said = m[2] === "r" ? repr(value) : m[2] === "s" ? str(value) : value;
      out += formatValue(said, expand(m[3] ?? "", field, depth - 1));
      i = end + 1;
    } else {
      out += c;
      i++;
    }
  }
  spend(out.length / 8);
  return out;
}

function closing(format: string, from: number): number {
  let depth = 0;
  for (let i = from; i < format.length; i++) {
    if (format[i] === "{") depth++;
    else if (format[i] === "}" && --depth === 0) return i;
  }
  throw failure("expected '}' before end of string");
}

const SPEC = /^(?:([\s\S])?([<>=^]))?([-+ ])?(z)?(#)?(0)?(\d+)?([_,])?(?:\.(\d+))?([a-zA-Z%])?$/u;

/** format(value, specification) */
function formatValue(v: Value, specification: string): string {
  if (specification === "") return str(v);
  if (v instanceof Undefined) throw failure("unsupported format string passed to Undefined.__format__");
  const m = SPEC.exec(specification);
  if (!m) throw failure(`Invalid format specifier '${specification}'`);
  const [, fill, align, sign = "-", z, alternate, zero, width, grouping, precision, type] = m;
  if (z || (grouping && "xXob".includes(type ?? "d"))) throw unsupported(`the format specification '${specification}'`);
  spend(Number(width ?? 0) + Number(precision ?? 0));
  if (typeof v === "string") {
    if (type !== undefined && type !== "s") throw failure(`Unknown format code '${type}' for object of type 'str'`);
    const text = precision === undefined ? v : Array.from(v).slice(0, Number(precision)).join("");
    return pad("", text, fill ?? (zero ? "0" : " "), align ?? "<", Number(width ?? 0));
  }
  if (!isNumber(v)) throw failure(`unsupported format string passed to ${typeName(v)}.__format__`);
  const [minus, body] = digitsOf(
    v,
    type,
    precision === undefined ? undefined : Number(precision),
    alternate !== undefined,
    grouping,
  );
  const lead = minus ? "-" : sign === "-" ? "" : sign;
  return pad(lead, body, fill ?? (zero ? "0" : " "), align ?? (zero ? "=" : ">"), Number(width ?? 0));
}

function digitsOf(
  v: bigint | number | boolean,
  type: string | undefined,
  precision: number | undefined,
  alternate: boolean,
  grouping: string | undefined,
): [minus: boolean, digits: string] {
  const plain = plainNumber(v);
  if (typeof plain === "bigint" && (type === undefined || "dxXobc".includes(type))) {
    if (precision !== undefined) throw failure("Precision not allowed in integer format specifier");
    if (type === "c") return [false, String.fromCodePoint(Number(plain))];
    const digits = (plain < 0n ? -plain : plain).toString({ x: 16, X: 16, o: 8, b: 2 }[type ?? "d"] ?? 10);
    const prefix = alternate && type !== undefined && type !== "d" ? `0${type}` : "";
    return [plain < 0n, prefix + (type === "X" ? digits.toUpperCase() : grouped(digits, grouping))];
  }
  if (type !== undefined && !"eEfFgG%".includes(type))
    throw failure(`Unknown format code '${type}' for object of type '${typeName(v)}'`);
  const x = Number(plain) * (type === "%" ? 100 : 1);
  const absolute = Math.abs(x);
  let digits: string;
  if (type === undefined)
    digits = precision === undefined ? floatText(absolute) : withPoint(floatDigits(absolute, "g", precision), precision);
  else digits = floatDigits(absolute, type === "%" ? "f" : type, precision ?? 6, alternate);
  if (type === "E" || type === "G" || type === "F") digits = digits.toUpperCase();
  const [whole, rest = ""] =
    digits.split(/(?=[.e])/s, 2).length > 1 ? [digits.split(/[.e]/)[0], digits.slice(digits.split(/[.e]/)[0].length)] : [digits];
  return [x < 0 || Object.is(x, -0), grouped(whole, grouping) + rest + (type === "%" ? "%" : "")];
}

/** Without a type, a float keeps its point. */
const withPoint = (digits: string, precision: number): string =>
  /[.en]/.test(digits)
    ? digits
    : digits.length >= precision
      ? `${Number(digits)
          .toExponential()
          .replace(/e([-+])(\d)$/, "e$10$2")}`
      : `${digits}.0`;

const grouped = (digits: string, mark: string | undefined): string =>
  mark === undefined ? digits : digits.replace(/\B(?=(\d{3})+$)/g, mark);

function pad(lead: string, body: string, fill: string, align: string, width: number): string {
  const missing = width - Array.from(lead + body).length;
  if (missing <= 0) return lead + body;
  if (align === "=") return lead + fill.repeat(missing) + body;
  if (align === "<") return lead + body + fill.repeat(missing);
  if (align === ">") return fill.repeat(missing) + lead + body;
  const left = Math.floor(missing / 2);
  return fill.repeat(left) + lead + body + fill.repeat(missing - left);
}
