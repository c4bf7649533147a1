// `"%s of %d" % values`, as Python formats.
import { spend } from "./budget.ts";
import { failure, unsupported } from "./errors.ts";
import { floatDigits } from "./numbers.ts";
import { repr, str } from "./text.ts";
import { Tuple, Undefined, isNumber, plainNumber, typeName, type Value } from "./values.ts";

const SPEC = /%(?:\(([^)]*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d+)?)?([hlL]?)([\s\S]|$)/g;

export function percentFormat(format: string, values: Value): string {
  const list: Value[] = values instanceof Tuple ? [...values] : [values];
  let used = 0;
  let named = false;
  const take = (): Value => {
    if (used >= list.length) throw failure("not enough arguments for format string");
    return list[used++];
  };
  const out = format.replace(
    SPEC,
    (
      all,
      key: string | undefined,
      flags: string,
      width: string | undefined,
      precision: string | undefined,
      _size,
      kind: string,
    ) => {
      if (kind === "%" && all === "%%") return "%";
      if (kind === "") throw failure("incomplete format");
      const count = (v: string | undefined): number | undefined => {
        if (v !== "*") return v === undefined ? undefined : Number(v);
        const n = take();
        if (typeof n !== "bigint") throw failure("* wants int");
        return Number(n);
      };
      let value: Value;
      let w: number | undefined;
      let p: number | undefined;
      if (key === undefined) {
        [w, p] = [count(width), count(precision)];
        value = kind === "%" ? null : take();
      } else {
        if (!(values instanceof Map)) throw failure("format requires a mapping");
        if (!values.has(key)) throw failure(`'${key}'`);
        named = true;
        [value, w, p] = [values.get(key)!, count(width), count(precision)];
      }
      if (precision === undefined && /\.[hlL]?[\s\S]$/.test(all)) p = 0;
      return kind === "%" ? "%" : padded(one(value, kind, flags, p), flags, w ?? 0, kind);
    },
  );
  if (
    !named &&
    used < list.length &&
    !(values instanceof Map) &&
    !(Array.isArray(values) && !(values instanceof Tuple) && used === 0)
  )
    throw failure("not all arguments converted during string formatting");
  spend(out.length / 8);
  return out;
}

function one(v: Value, kind: string, flags: string, precision: number | undefined): string {
  if ("sra".includes(kind)) {
    if (kind === "a") throw unsupported("%a in a format");
    const text = kind === "s" ? str(v) : repr(v);
    return precision === undefined ? text : Array.from(text).slice(0, precision).join("");
  }
  if (kind === "c") {
    if (typeof v === "bigint") return String.fromCodePoint(Number(v));
    if (typeof v === "string" && Array.from(v).length === 1) return v;
    throw failure("%c requires int or char");
  }
  if (v instanceof Undefined) throw v.fault;
  const sign = (minus: boolean): string => (minus ? "-" : flags.includes("+") ? "+" : flags.includes(" ") ? " " : "");
  if ("diuxXo".includes(kind)) {
    if (!isNumber(v) || (typeof v === "number" && "xXo".includes(kind)))
      throw failure(`%${kind} format: ${"xXo".includes(kind) ? "an integer" : "a real number"} is required, not ${typeName(v)}`);
    const plain = plainNumber(v);
    if (typeof plain === "number" && !Number.isFinite(plain)) throw failure("cannot convert float infinity or NaN to integer");
    const n = typeof plain === "number" ? BigInt(Math.trunc(plain)) : plain;
    const digits = (n < 0n ? -n : n).toString({ x: 16, X: 16, o: 8 }[kind] ?? 10);
    const prefix = flags.includes("#") ? ({ x: "0x", X: "0X", o: "0o" }[kind] ?? "") : "";
    return sign(n < 0n) + prefix + (kind === "X" ? digits.toUpperCase() : digits).padStart(precision ?? 0, "0");
  }
  if ("feEgGF".includes(kind)) {
    if (!isNumber(v)) throw failure(`must be real number, not ${typeName(v)}`);
    const x = Number(plainNumber(v));
    const digits = floatDigits(Math.abs(x), kind, precision ?? 6, flags.includes("#"));
    return sign(x < 0 || Object.is(x, -0)) + (kind === kind.toUpperCase() ? digits.toUpperCase() : digits);
  }
  throw failure(`unsupported format character '${kind}'`);
}

function padded(text: string, flags: string, width: number, kind: string): string {
  spend(width / 8);
  const missing = width - Array.from(text).length;
  if (missing <= 0) return text;
  if (flags.includes("-")) return text + " ".repeat(missing);
  if (!flags.includes("0") || "srac".includes(kind)) return " ".repeat(missing) + text;
  const [, sign, digits] = /^([-+ ]?(?:0[xXo])?)(.*)$/s.exec(text)!;
  return sign + "0".repeat(missing) + digits;
}
