// Arithmetic in the text of a tile program: indices, and elements of a map. Precedence and brackets are those of
// ir/kernel/print.ts. What has only names of integers, whole numbers and integer arithmetic is one index; {i} / 2 ends the index at
// the brace.
import { didYouMean } from "../diagnostic.ts";
import { unbound, unwritten } from "./diagnostics.ts";
import type { Reader } from "./reader.ts";
import type { BinaryOp, Index, MapExpr, Tile, UnaryOp } from "./stmt.ts";
import type { Token } from "./tokens.ts";

/** What names mean where an expression stands. */
export interface Scope {
  kernel: string;
  /** Axes, loops, scalars and dims; absent: any name is one. */
  integers?: ReadonlySet<string>;
  tiles: ReadonlyMap<string, Tile>;
}

type Arithmetic = (Index & object)["op"];

const indexOps: Readonly<Record<string, [op: Arithmetic, rank: number]>> = {
  "*": ["mul", 3],
  "/": ["div", 3],
  "%": ["mod", 3],
  "+": ["add", 2],
  "-": ["sub", 2],
};
const mapOps: Readonly<Record<string, [op: BinaryOp, rank: number]>> = {
  ...indexOps,
  "<": ["lt", 1],
  "<=": ["le", 1],
  "==": ["eq", 1],
  and: ["and", 0],
  or: ["or", 0],
};
const unaryOps: readonly UnaryOp[] = ["abs", "exp", "log", "sqrt", "floor", "pow2ceil", "float", "int"];
const functions = [...unaryOps, "min", "max", "select"];

/** An index: binary operators of at least this rank. */
export function parseIndex(r: Reader, s: Scope, least = 2): Index {
  let left = indexLeaf(r, s);
  for (;;) {
    const found = r.peek().kind === "end" ? undefined : indexOps[r.peek().text];
    // `c + iota cols`: the sum is the statement's.
    if (!found || found[1] < least || r.is("iota", 1)) return left;
    r.take();
    left = { op: found[0], a: left, b: parseIndex(r, s, found[1] + 1) };
  }
}

function indexLeaf(r: Reader, s: Scope): Index {
  const word = r.peek();
  if (r.skip("(")) {
    const inner = parseIndex(r, s);
    r.expect(")");
    return inner;
  }
  if ((r.is("min") || r.is("max")) && r.is("(", 1)) {
    const op = r.oneOf(["min", "max"] as const, "min or max");
    const [a, b] = pair(r, () => parseIndex(r, s));
    return { op, a, b };
  }
  if (word.kind === "name") {
    if (s.integers && !s.integers.has(word.text)) unknown(r, s, word, s.integers);
    return r.take().text;
  }
  const n = r.number("an index: a name of an integer or a whole number");
  if (!Number.isSafeInteger(n)) r.fail(`an index is a whole number, found ${n}`, undefined, word);
  return n;
}

function pair<T>(r: Reader, one: () => T): [T, T] {
  r.expect("(");
  const a = one();
  r.expect(",", "between two operands");
  const b = one();
  r.expect(")");
  return [a, b];
}

function unknown(r: Reader, s: Scope, word: Token, known: Iterable<string>): never {
  // A tile where an index has to stand: it has a name, only of another kind.
  if (s.tiles.has(word.text))
    r.fail(
      `${word.text} is a tile; an index is made of axes, loops, scalars, dims and whole numbers`,
      `n := ${word.text}[0, 0] makes a scalar of its first element`,
      word,
    );
  throw unbound({ kernel: s.kernel, name: word.text, known: [...known] }, r.span(word));
}

/** The arithmetic of a map. */
export const parseMap = (r: Reader, s: Scope): MapExpr => whole(mapOf(r, s, 0));

/** An expression as read: an index as long as nothing in it is anything else. */
type Half = { index: Index } | { made: MapExpr };

const whole = (h: Half): MapExpr => ("made" in h ? h.made : typeof h.index === "number" ? { c: h.index } : { index: h.index });
const named = (h: Half): boolean => "index" in h && typeof h.index !== "number";

/** Integer arithmetic stays an index where a name is in it; of two constants it is element arithmetic. */
const joined = (op: BinaryOp, a: Half, b: Half, arithmetic: boolean): Half =>
  arithmetic && "index" in a && "index" in b && (named(a) || named(b))
    ? { index: { op: op as Arithmetic, a: a.index, b: b.index } }
    : { made: { op, a: whole(a), b: whole(b) } };

function mapOf(r: Reader, s: Scope, least: number): Half {
  let left = mapLeaf(r, s);
  for (;;) {
    const found = r.peek().kind === "end" ? undefined : mapOps[r.peek().text];
    if (!found || found[1] < least) return left;
    r.take();
    left = joined(found[0], left, mapOf(r, s, found[1] + 1), found[1] > 1);
  }
}

function mapLeaf(r: Reader, s: Scope): Half {
  const word = r.peek();
  if (r.skip("(")) {
    const inner = mapOf(r, s, 0);
    r.expect(")");
    return inner;
  }
  if (r.skip("{")) {
    const index = parseIndex(r, s);
    r.expect("}");
    return { made: { index } };
  }
  const signed = r.is("-") && (r.peek(1).kind === "number" || r.is("Infinity", 1) || r.is("NaN", 1));
  if (r.is("-") && !signed) {
    r.take();
    return { made: { op: "neg", a: whole(mapLeaf(r, s)) } };
  }
  if (word.kind === "name" && r.is("(", 1)) return call(r, s, word);
  if (word.kind === "name" && word.text !== "Infinity" && word.text !== "NaN") {
    r.take();
    const tile = s.tiles.get(word.text);
    if (tile) return { made: { t: tile } };
    if (s.integers?.has(word.text)) return { index: word.text };
    throw unwritten(
      { kernel: s.kernel, tile: word.text, near: didYouMean(word.text, [...s.tiles.keys(), ...(s.integers ?? [])]) },
      r.span(word),
    );
  }
  const n = r.number("a tile, an index, a number or an operation");
  return Number.isSafeInteger(n) ? { index: n } : { made: { c: n } };
}

function call(r: Reader, s: Scope, word: Token): Half {
  const op = r.oneOf(functions, "an operation");
  if (op === "min" || op === "max") {
    const [a, b] = pair(r, () => mapOf(r, s, 0));
    return joined(op, a, b, true);
  }
  r.expect("(", `after ${word.text}`);
  const args = [whole(mapOf(r, s, 0))];
  while (r.skip(",")) args.push(whole(mapOf(r, s, 0)));
  r.expect(")");
  const want = op === "select" ? 3 : 1;
  if (args.length !== want)
    r.fail(`${op} takes ${want === 1 ? "one operand" : "a condition and two operands"}, found ${args.length}`, undefined, word);
  if (op === "select") return { made: { op, if: args[0], a: args[1], b: args[2] } };
  return { made: { op: op as UnaryOp, a: args[0] } };
}
