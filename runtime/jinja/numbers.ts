// Numbers as Python reads, rounds and writes them.
import { failure, unsupported } from "./errors.ts";
import { Undefined, typeName, type Value } from "./values.ts";

/** int(text, base), or undefined where the text is none. */
export function parseInteger(text: string, base: number): bigint | undefined {
  const t = text.trim();
  const m = /^([-+]?)(?:0([xob])_?)?([0-9a-z]+(?:_[0-9a-z]+)*)$/i.exec(t);
  if (!m) return undefined;
  const bases: Record<string, number> = { x: 16, o: 8, b: 2 };
  let digits = m[3].replaceAll("_", "");
  let radix = base;
  if (m[2]) {
    const of = bases[m[2].toLowerCase()];
    if (base === of || base === 0) radix = of;
    else if (base > 11 && base > "0123456789abcdefghijklmnopqrstuvwxyz".indexOf(m[2].toLowerCase())) digits = m[2] + digits;
    else return undefined;
  } else if (base === 0) radix = 10;
  if (digits.length > 4300) throw failure("Exceeds the limit (4300 digits) for integer string conversion");
  let value = 0n;
  for (const d of digits.toLowerCase()) {
    const n = parseInt(d, 36);
    if (!(n < radix)) return undefined;
    value = value * BigInt(radix) + BigInt(n);
  }
  return m[1] === "-" ? -value : value;
}

/** float(text), or undefined. */
export function parseFloating(text: string): number | undefined {
  const t = text.trim().toLowerCase();
  const m = /^([-+]?)(inf|infinity|nan)$/.exec(t);
  if (m) return m[2] === "nan" ? NaN : m[1] === "-" ? -Infinity : Infinity;
  return /^[-+]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)(e[-+]?\d+(_\d+)*)?$/.test(t)
    ? Number(t.replaceAll("_", ""))
    : undefined;
}

/** round(x, digits): to nearest, of two as near the even one. */
export function rounded(x: number, digits: number): number {
  if (!Number.isFinite(x) || digits > 22) return x;
  if (digits < 0) {
    const unit = 10 ** -digits;
    return rounded(x / unit, 0) * unit;
  }
  // toFixed goes by the exact value, and away from zero where two are as near.
  if (Math.abs(x) >= 1e21) return x;
  const up = Math.sign(x) * Number(Math.abs(x).toFixed(digits));
  if (digits > 15) return up;
  // All digits of the exact value: what lies between two numbers of so many digits has one digit more, a 5.
  // oxlint-disable-next-line oxc/number-arg-out-of-range -- toFixed takes up to 100 digits since ES2018.
  const [whole, exact] = Math.abs(x).toFixed(100).split(".");
  if (!/^50*$/.test(exact.slice(digits))) return up;
  const down = (digits === 0 ? whole : exact.slice(0, digits)).at(-1)!;
  return Number(down) % 2 === 0 ? Math.sign(x) * Number(`${whole}.${exact.slice(0, digits)}`) : up;
}

/** An index or a count, from a value that has to be a whole number. */
export function wholeOf(v: Value, what: string): number {
  if (v instanceof Undefined) throw v.fault;
  if (typeof v === "boolean") return v ? 1 : 0;
  if (typeof v !== "bigint") throw failure(`${what}: '${typeName(v)}' object cannot be interpreted as an integer`);
  return Number(v);
}

/** A text of digits of a float: fixed ("f"), with an exponent ("e"), or the shorter ("g"). */
export function floatDigits(x: number, kind: string, precision: number, alternate = false): string {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "nan" : "inf";
  if (precision > 100) throw unsupported("a float of more than 100 digits");
  const k = kind.toLowerCase();
  const power = (s: string): string => s.replace(/e([-+])(\d)$/, "e$10$2");
  if (k === "f") return fixed(x, precision);
  if (k === "e") return power(x.toExponential(precision));
  const p = precision || 1;
  const exponent = x === 0 ? 0 : Number(x.toExponential(p - 1).split("e")[1]);
  const plain = exponent < -4 || exponent >= p ? power(x.toExponential(p - 1)) : fixed(x, p - 1 - exponent);
  return alternate || !plain.includes(".") ? plain : plain.replace(/\.?0+(e|$)/, "$1");
}

function fixed(x: number, precision: number): string {
  if (x >= 1e21) return BigInt(x).toString() + (precision ? `.${"0".repeat(precision)}` : "");
  const up = x.toFixed(precision);
  const even = rounded(x, precision);
  // Only where two are as near does this differ.
  return Number(up) === even || precision > 15 ? up : even.toFixed(precision);
}
