// A size as it was put together from named quantities of a config, in the order in which its parts lie in memory: a matrix of
// heads * (nope + rope) rows is that product of that sum. What is split off such an axis is a part of its sum, what a reshape makes
// of it are its factors, so every axis of a graph has a term without a look at its number. Types keep numbers; terms lie beside them.

/** A quantity by name; a number that no config says; a sum, a product; a size that is known at run time; a width rounded up. */
export type Term =
  | string
  | number
  | { sum: readonly Term[] }
  | { product: readonly Term[] }
  | { symbol: string }
  | { roundedUp: Term; to: number }
  /** A number of which nothing is known. */
  | { given: number };

/** Values of quantities and symbols. */
export type Quantities = Readonly<Record<string, number>>;

const flat = (kind: "sum" | "product", of: readonly Term[]): Term[] =>
  of.flatMap((t) => (typeof t === "object" && kind in t ? [...(t as Record<"sum" | "product", readonly Term[]>)[kind]] : [t]));

/** Side by side: a, then b. */
export function sumOf(of: readonly Term[]): Term {
  const all = flat("sum", of).filter((t) => t !== 0);
  return all.length === 1 ? all[0] : all.length ? { sum: all } : 0;
}

/** a times b, a the outer one. */
export function productOf(of: readonly Term[]): Term {
  const all = flat("product", of).filter((t) => t !== 1);
  return all.length === 1 ? all[0] : all.length ? { product: all } : 1;
}

/** Factors of a product; any other term is one. */
export const factorsOf = (t: Term): readonly Term[] => (typeof t === "object" && "product" in t ? t.product : [t]);
/** Summands of a sum; any other term is one. */
export const summandsOf = (t: Term): readonly Term[] => (typeof t === "object" && "sum" in t ? t.sum : [t]);

/** The number of a term; NaN where a quantity or a symbol has no value. */
export function valueOf(t: Term, q: Quantities): number {
  if (typeof t === "number") return t;
  if (typeof t === "string") return q[t] ?? NaN;
  if ("sum" in t) return t.sum.reduce<number>((a, x) => a + valueOf(x, q), 0);
  if ("product" in t) return t.product.reduce<number>((a, x) => a * valueOf(x, q), 1);
  if ("symbol" in t) return q[t.symbol] ?? NaN;
  if ("roundedUp" in t) return Math.ceil(valueOf(t.roundedUp, q) / t.to) * t.to;
  return t.given;
}

/** The quantities in a term, in order, each once. */
export function quantitiesOf(t: Term): string[] {
  if (typeof t === "string") return [t];
  if (typeof t === "number" || "given" in t || "symbol" in t) return [];
  if ("roundedUp" in t) return quantitiesOf(t.roundedUp);
  return [...new Set(("sum" in t ? t.sum : t.product).flatMap(quantitiesOf))];
}

/** "num_attention_heads * (qk_nope_head_dim + qk_rope_head_dim)"; `nameOf` says what a quantity is called. */
export function printTerm(t: Term, nameOf: (quantity: string) => string = (q) => q): string {
  const print = (x: Term): string => printTerm(x, nameOf);
  if (typeof t === "number") return String(t);
  if (typeof t === "string") return nameOf(t);
  if ("sum" in t) return t.sum.map(print).join(" + ");
  if ("product" in t) return t.product.map((x) => (typeof x === "object" && "sum" in x ? `(${print(x)})` : print(x))).join(" * ");
  if ("symbol" in t) return t.symbol;
  if ("roundedUp" in t) return `${print(t.roundedUp)}, rounded up to ${t.to}`;
  return String(t.given);
}
