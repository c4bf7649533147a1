// One statement of a tile program from its line. Extents of a result stand in the text where they are not [1, 1]; its dtype
// follows from what it is made of, or stands behind it.
import { DiagnosticError, didYouMean } from "../diagnostic.ts";
import { brokenKernel, noSuchBuffer } from "./diagnostics.ts";
import { parseIndex, parseMap } from "./parse-expression.ts";
import { lying, place, tile, type Block } from "./parse-place.ts";
import type { Reader } from "./reader.ts";
import type { Index, Stmt, Tile } from "./stmt.ts";
import type { Token } from "./tokens.ts";
import { typeOf, type Scalar } from "./walk.ts";

/** A statement, its block still empty, and the integers it names. */
export interface Parsed {
  stmt: Stmt;
  integers: readonly string[];
}

const tests = { "<": "lt", "<=": "le", "==": "eq", "!=": "ne" } as const;
const reductions = ["sum", "max", "min", "argmax"] as const;
const ways = ["rows", "cols"] as const;

const plain = (stmt: Stmt): Parsed => ({ stmt, integers: [] });

/** Reads the line to its end. */
export function parseStatement(r: Reader, s: Block): Parsed {
  const parsed = statement(r, s);
  r.end();
  return parsed;
}

function statement(r: Reader, s: Block): Parsed {
  // A tile may bear the name of a keyword: what follows decides.
  const word = r.peek();
  const follows = r.peek(1);
  if (follows.text !== "=" && follows.text !== "[" && follows.text !== ":=" && follows.text !== "+=") {
    if (r.skip("grid")) return grid(r, s);
    if (r.skip("for")) return loop(r, s);
    if (r.skip("when")) return when(r, s);
    if (r.skip("store")) return store(r, s);
  }
  if (word.kind !== "name") r.fail(`expected a statement, found ${word.text}`, FORMS);
  if (follows.text === ":=") return scalar(r, s);
  if (follows.text === "+=") return accumulate(r, s);
  if (follows.text !== "=" && follows.text !== "[")
    r.fail(`expected = after ${word.text}, found ${follows.text}`, nearKeyword(word) ?? FORMS, follows);
  return result(r, s);
}

const nearKeyword = (word: Token): string | undefined => {
  const near = didYouMean(word.text, ["grid", "for", "when", "store"]);
  return near === undefined ? undefined : `did you mean ${near}?`;
};

const FORMS = "a line is grid, for, when, store, n := x[...], acc += a * b, or name[rows, cols] = ...";

function grid(r: Reader, s: Block): Parsed {
  const axes: { name: string; extent: Index; tile: number }[] = [];
  if (!r.over)
    do {
      const name = r.name("an axis").text;
      r.expect("<", `after ${name}`);
      const extent = parseIndex(r, s);
      axes.push({ name, extent, tile: r.skip("by") ? r.count("the step of an axis") : 1 });
    } while (r.skip(","));
  return { stmt: { kind: "grid", axes }, integers: axes.map((a) => a.name) };
}

function loop(r: Reader, s: Block): Parsed {
  const name = r.name("the name of the loop").text;
  r.expect("=", `after ${name}`);
  const from = parseIndex(r, s);
  r.expect("..", "between the bounds of a loop");
  const to = parseIndex(r, s);
  const step = r.skip("by") ? r.count("the step of a loop") : 1;
  r.expect(":", "after the head of a loop");
  return { stmt: { kind: "loop", name, from, to, step, body: [] }, integers: [name] };
}

function when(r: Reader, s: Block): Parsed {
  const a = parseIndex(r, s);
  const test = r.oneOf(Object.keys(tests) as (keyof typeof tests)[], "a comparison");
  const b = parseIndex(r, s);
  r.expect(":", "after a condition");
  return plain({ kind: "when", a, test: tests[test], b, body: [] });
}

function store(r: Reader, s: Block): Parsed {
  const { to, extents } = place(r, s);
  r.expect("=", "after where a tile is stored");
  const word = r.peek();
  const src = tile(r, s);
  return plain({ kind: "store", src, to: { buffer: to.name, ...lying(r, s, extents, src, word) } });
}

/** pos := positions[i], n := count[0, 0] */
function scalar(r: Reader, s: Block): Parsed {
  const { text: name } = r.take();
  r.take();
  const word = r.name("a buffer or a tile");
  const [param, from] = [s.params.find((p) => p.name === word.text), s.tiles.get(word.text)];
  r.expect("[", `after ${word.text}`);
  const at = [parseIndex(r, s)];
  while (r.skip(",")) at.push(parseIndex(r, s));
  r.expect("]", "after the indices");
  if (from && (!param || (at.length === 2 && param.shape.length !== 2))) {
    if (at.length !== 2 || at.some((i) => i !== 0))
      r.fail("only element [0, 0] of a tile can be an index", `${name} := ${word.text}[0, 0]`, word);
    return { stmt: { kind: "peek", name, from }, integers: [name] };
  }
  if (!param)
    throw new DiagnosticError(
      noSuchBuffer(
        { kernel: s.kernel, name: word.text, known: [...s.params.map((p) => p.name), ...s.tiles.keys()] },
        r.span(word),
      ),
    );
  return { stmt: { kind: "scalar", name, buffer: param.name, at }, integers: [name] };
}

function accumulate(r: Reader, s: Block): Parsed {
  const acc = tile(r, s);
  r.take();
  const part = tile(r, s);
  const by: Tile[] = [];
  while (r.skip("*")) by.push(tile(r, s));
  return plain({ kind: "accumulate", acc, part, by });
}

/** A statement that makes a tile: the name, its extents, and how. */
function result(r: Reader, s: Block): Parsed {
  const word = r.take();
  let [rows, cols] = [1, 1];
  if (r.skip("[")) {
    rows = r.count("the number of rows");
    r.expect(",", "between rows and columns");
    cols = r.count("the number of columns");
    r.expect("]", "after the columns");
  }
  r.expect("=", `after ${word.text}`);
  const dst = (dtype: Scalar): Tile => {
    const old = s.tiles.get(word.text);
    if (old && old.rows === rows && old.cols === cols && old.dtype === dtype) return old;
    const made: Tile = { name: word.text, rows, cols, dtype };
    if (old)
      throw new DiagnosticError(
        brokenKernel(
          {
            kernel: s.kernel,
            problem: `${word.text} is [${rows}, ${cols}] ${dtype} here, and [${old.rows}, ${old.cols}] ${old.dtype} above`,
            help: "a tile keeps its extents and its dtype; give this one another name",
          },
          r.span(word),
        ),
      );
    s.tiles.set(word.text, made);
    return made;
  };
  const stmt = made(r, s, dst, { rows, cols, name: word.text });
  return plain(stmt);
}

type Maker = (dtype: Scalar) => Tile;

function made(r: Reader, s: Block, dst: Maker, size: { rows: number; cols: number; name: string }): Stmt {
  // `dot a` and `sum a` are statements; `dot + 1` is a map over a tile of that name.
  const named = r.peek(1).kind === "name" && !r.is("and", 1) && !r.is("or", 1);
  if (named && r.is("load")) return load(r, s, dst, size);
  if (named && r.is("dot")) return dot(r, s, dst);
  if (named && r.is("exclusive")) {
    for (const w of ["exclusive", "sum", "of"]) r.expect(w);
    const src = tile(r, s);
    return { kind: "scan", dst: dst(src.dtype), src };
  }
  if (named && reductions.some((w) => r.is(w))) {
    const op = r.oneOf(reductions, "a reduction");
    const src = tile(r, s);
    r.expect("along", "after what is reduced");
    const along = r.oneOf(ways, "rows or cols");
    return { kind: "reduce", dst: dst(op === "argmax" ? "i32" : src.dtype), src, op, along };
  }
  if (isIota(r)) {
    const from = parseIndex(r, s);
    r.expect("+");
    r.expect("iota");
    return { kind: "iota", dst: dst("i32"), along: r.oneOf(ways, "rows or cols"), from };
  }
  const expr = parseMap(r, s);
  const dtype = r.skip(":") ? r.oneOf(["f32", "i32"] as const, "f32 or i32") : undefined;
  if ("c" in expr && !s.tiles.has(size.name)) return { kind: "fill", dst: dst(dtype ?? "f32"), value: expr.c };
  return { kind: "map", dst: dst(dtype ?? s.tiles.get(size.name)?.dtype ?? mapType(expr)), expr };
}

/** The dtype a map has where its text says none. */
const mapType = (expr: Parameters<typeof typeOf>[0]): Scalar => typeOf(expr) ?? "f32";

function isIota(r: Reader): boolean {
  for (let i = 0; r.peek(i).kind !== "end"; i++)
    if (r.is("+", i) && r.is("iota", i + 1) && r.peek(i + 2).kind === "name") return true;
  return false;
}

function load(r: Reader, s: Block, dst: Maker, size: { rows: number; cols: number }): Stmt {
  r.take();
  const word = r.peek();
  const { to, extents } = place(r, s);
  const fill = r.skip("else") ? r.number("what masked elements take") : 0;
  const where = lying(r, s, extents, size, word);
  return { kind: "load", dst: dst(to.dtype === "i32" ? "i32" : "f32"), from: { buffer: to.name, ...where }, fill };
}

function dot(r: Reader, s: Block, dst: Maker): Stmt {
  r.take();
  const a = tile(r, s);
  r.expect(",", "between the operands of a dot");
  const b = tile(r, s);
  const form = r.skip("^") ? (r.expect("T", "after ^"), "nt" as const) : "nn";
  return { kind: "dot", dst: dst("f32"), a, b, form };
}
