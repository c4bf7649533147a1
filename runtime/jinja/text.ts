// Values as text: str() and repr() of Python.
import { nested, spend } from "./budget.ts";
import { unsupported } from "./errors.ts";
import { Callable, Lazy, Namespace, Range, Thing, Tuple, Undefined, View, type Dict, type Value } from "./values.ts";

/** repr() of a float: the shortest digits that read back the same, with an exponent below 1e-4 and from 1e16 on. */
export function floatText(x: number): string {
  if (Number.isNaN(x)) return "nan";
  if (!Number.isFinite(x)) return x > 0 ? "inf" : "-inf";
  if (x === 0) return Object.is(x, -0) ? "-0.0" : "0.0";
  const [mantissa, power] = x.toExponential().split("e");
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16)
    return `${mantissa}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  const sign = mantissa.startsWith("-") ? "-" : "";
  const digits = mantissa.replace(/[-.]/g, "");
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  return `${sign}${whole}.${digits.slice(exponent + 1) || "0"}`;
}

const ESCAPES: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** repr() of a str. */
function quoted(s: string): string {
  const quote = s.includes("'") && !s.includes('"') ? '"' : "'";
  let out = "";
  for (const c of s) {
    const code = c.codePointAt(0)!;
    if (c === quote) out += `\\${c}`;
    else if (ESCAPES[c]) out += ESCAPES[c];
    else if (isPrintable(c)) out += c;
    else
      out +=
        code < 0x100
          ? `\\x${code.toString(16).padStart(2, "0")}`
          : code < 0x10000
            ? `\\u${code.toString(16).padStart(4, "0")}`
            : `\\U${code.toString(16).padStart(8, "0")}`;
  }
  return quote + out + quote;
}

/** What str.isprintable() takes. */
export const isPrintable = (c: string): boolean => c === " " || !/[\p{C}\p{Z}]/u.test(c);

export function repr(v: Value): string {
  if (typeof v === "string") return quoted(v);
  if (v instanceof Undefined) return "Undefined";
  return nested(() => str(v));
}

/** Values can hold one another many times over: what they are as text is counted as it grows. */
const joined = (items: readonly Value[]): string => {
  const text = items.map(repr).join(", ");
  spend(1 + text.length / 8);
  return text;
};

export function str(v: Value): string {
  if (typeof v === "string") return v;
  if (v === null) return "None";
  if (typeof v === "boolean") return v ? "True" : "False";
  if (typeof v === "bigint") return v.toString();
  if (typeof v === "number") return floatText(v);
  if (v instanceof Undefined) return "";
  if (v instanceof Tuple) return v.length === 1 ? `(${repr(v[0])},)` : `(${joined([...v])})`;
  if (Array.isArray(v)) return `[${joined(v as Value[])}]`;
  if (v instanceof Map) return dictText(v);
  if (v instanceof View) return `${v.kind}([${joined(v.list())}])`;
  if (v instanceof Range) return `range(${v.start}, ${v.stop}${v.step === 1n ? "" : `, ${v.step}`})`;
  if (v instanceof Namespace) return `<Namespace ${str(v.values)}>`;
  if (v instanceof Lazy || v instanceof Callable || v instanceof Thing)
    throw unsupported(`${v instanceof Lazy ? "a generator" : v.name} as text (Python prints an address of its memory)`);
  return v satisfies never;
}

function dictText(v: Dict): string {
  const text = `{${[...v].map(([k, x]) => `${repr(k)}: ${repr(x)}`).join(", ")}}`;
  spend(1 + text.length / 8);
  return text;
}
