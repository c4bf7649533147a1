// Symbolic sizes: non-negative integers over run-time dims. They are plain JSON so that an artifact can carry them,
// and evaluate without a parser. Types use `Dim`; memory plans, launches and views use `Size`.
import { partsOf, type Dim } from "./types.ts";

/** A number, a symbol ("T"), or an operation over sizes. `ceildiv` rounds up, `div` rounds down. */
export type Size = number | string | { op: "add" | "mul" | "ceildiv" | "div" | "max" | "min"; of: Size[] };

/** The size of a dim: "8T" -> 8 * T. */
export const sizeOfDim = (d: Dim): Size => {
  const { times, symbol } = partsOf(d);
  return symbol === "" ? times : mul(times, symbol);
};

/** Values of the symbols: T new rows of all sequences, B sequences, S cached rows, and t, s, m inside regions. */
export type Dims = Readonly<Record<string, number>>;

/** Evaluates a size. Throws RangeError naming a symbol that has no value. */
export function evaluate(size: Size, dims: Dims): number {
  if (typeof size === "number") return size;
  if (typeof size === "string") {
    const v = Object.hasOwn(dims, size) ? dims[size] : undefined;
    if (v === undefined) throw new RangeError(`size symbol ${size} has no value; known: ${Object.keys(dims).join(", ")}`);
    return v;
  }
  const v = size.of.map((s) => evaluate(s, dims));
  switch (size.op) {
    case "add":
      return v.reduce((a, b) => a + b, 0);
    case "mul":
      return v.reduce((a, b) => a * b, 1);
    case "max":
      return Math.max(...v);
    case "min":
      return Math.min(...v);
    case "div":
      return Math.floor(v[0] / v[1]);
    case "ceildiv":
      return Math.ceil(v[0] / v[1]);
  }
}

/** a * b * ..., folding numbers. */
export function mul(...of: Size[]): Size {
  return fold("mul", of, 1);
}

/** a + b + ..., folding numbers. */
export function add(...of: Size[]): Size {
  return fold("add", of, 0);
}

/** a / b rounded up. */
export function ceildiv(a: Size, b: Size): Size {
  if (b === 1) return a;
  return typeof a === "number" && typeof b === "number" ? Math.ceil(a / b) : { op: "ceildiv", of: [a, b] };
}

function fold(op: "mul" | "add", of: readonly Size[], unit: number): Size {
  let known = unit;
  const rest: Size[] = [];
  const take = (list: readonly Size[]): void => {
    for (const s of list)
      if (typeof s === "number") known = op === "mul" ? known * s : known + s;
      else if (typeof s === "object" && s.op === op && list === of) take(s.of);
      else rest.push(s);
  };
  take(of);
  if (op === "mul" && known === 0) return 0;
  if (rest.length === 0) return known;
  if (known === unit) return rest.length === 1 ? rest[0] : { op, of: rest };
  return { op, of: [known, ...rest] };
}

/** Readable form: "ceil(T / 64) * 8". */
export function printSize(s: Size): string {
  if (typeof s !== "object") return String(s);
  const parts = s.of.map(printSize);
  switch (s.op) {
    case "mul":
      return parts
        .map((p, i) => (typeof s.of[i] === "object" && (s.of[i] as { op: string }).op === "add" ? `(${p})` : p))
        .join(" * ");
    case "add":
      return parts.join(" + ");
    case "div":
      return `floor(${parts.join(" / ")})`;
    case "ceildiv":
      return `ceil(${parts.join(" / ")})`;
    default:
      return `${s.op}(${parts.join(", ")})`;
  }
}
