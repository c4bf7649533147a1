// Reductions and running sums of tiles. Sums of up to 128 columns follow the fixed tree of ir/kernel/stmt.ts, so that every target
// gives the same bits.
import type { Stmt as TileStmt, Tile } from "../../ir/kernel/stmt.ts";
import { constantOf, int, op, plus, times, type Expr } from "./ir.ts";
import type { Tiles } from "./tiles.ts";

type Reduce = Extract<TileStmt, { kind: "reduce" }>;
type Verb = "add" | "max" | "min";

const verbOf = (name: Reduce["op"]): Verb => (name === "sum" ? "add" : (name as Verb));

/** One value of all lanes: halves joined until one is left. */
export function foldLanes(k: Tiles, verb: Verb, v: Expr): Expr {
  let value = v;
  while (value.type.lanes > 1) {
    const whole = k.w.keep(value, verb);
    value = op(verb, op("low", whole), op("high", whole));
  }
  return value;
}

export function reduce(k: Tiles, s: Reduce): void {
  if (s.along === "rows") return reduceRows(k, s);
  const one = (r: Expr): Expr => {
    if (s.op === "argmax") return argmax(k, s.src, r);
    if (s.op === "sum" && s.src.dtype === "f32" && s.src.cols <= 128) return tree(k, s.src, r);
    return fold(k, s, r);
  };
  k.fillWith(s.dst, [], (r) => k.w.keep(one(r), s.dst.name));
}

/** Lane j plus lane j + n/2, halving n. */
function tree(k: Tiles, t: Tile, r: Expr): Expr {
  if (t.cols === 1) return k.value(t, r, int(0), 1);
  const width = 2 ** Math.ceil(Math.log2(t.cols));
  const lanes = Math.min(k.lanes, width);
  const { memory, stride } = k.stored(t);
  const row = k.w.keep(times(t.rows === 1 ? int(0) : r, int(stride)), "row");
  const type = { of: "f32", lanes } as const;
  let parts = Array.from({ length: width / lanes }, (_, i): Expr | undefined => {
    const inside = t.cols - i * lanes;
    if (inside <= 0) return undefined;
    // A row in scratch has whole vectors.
    const part: Expr = { kind: "load", from: memory, at: plus(row, int(i * lanes)), type };
    if (inside >= lanes) return part;
    const here = op("lt", { kind: "iota", type: { of: "i32", lanes } }, constantOf(inside, { of: "i32", lanes }));
    return op("select", here, part, constantOf(0, type));
  });
  while (parts.length > 1) {
    const half = parts.length / 2;
    parts = parts.slice(0, half).map((a, i) => {
      const b = parts[i + half];
      return a && b ? op("add", a, b) : a;
    });
  }
  return foldLanes(k, "add", parts[0]!);
}

const least = (of: "f32" | "i32"): number => (of === "f32" ? -Infinity : -2147483648);
const most = (of: "f32" | "i32"): number => (of === "f32" ? Infinity : 2147483647);

/** Sums wider than the tree, maxima and minima: running values lane by lane, joined at the end. */
function fold(k: Tiles, s: Reduce, r: Expr): Expr {
  const { src, op: name } = s;
  const of = src.dtype;
  const start = name === "sum" ? 0 : name === "max" ? least(of) : most(of);
  const verb = verbOf(name);
  const acc = k.w.register(name, constantOf(start, { of, lanes: k.lanes }));
  const rest = k.w.register(name, constantOf(start, { of, lanes: 1 }));
  k.columns(src.cols, k.masks(src), (c, count) => {
    const to = count === 1 ? rest : acc;
    k.w.set(to, op(verb, to, k.value(src, r, c, count)));
  });
  return op(verb, foldLanes(k, verb, acc), rest);
}

/** Index of the first largest column, i32. */
function argmax(k: Tiles, t: Tile, r: Expr): Expr {
  const best = k.w.register("best", k.value(t, r, int(0), 1));
  const at = k.w.register("argmax", constantOf(0, { of: "i32", lanes: 1 }));
  k.w.loop("c", int(1), int(t.cols), 1, (c) => {
    const v = k.w.keep(k.value(t, r, c, 1), "v");
    k.w.when(op("lt", best, v), () => {
      k.w.set(best, v);
      k.w.set(at, op("toI32", c));
    });
  });
  return at;
}

/** Down the rows, a vector of columns at a time. */
function reduceRows(k: Tiles, s: Reduce): void {
  const { src } = s;
  k.fillWith(s.dst, [], (_, c, count) => {
    const acc = k.w.register(s.op, k.value(src, int(0), c, count));
    k.w.loop("r", int(1), int(src.rows), 1, (r) => k.w.set(acc, op(verbOf(s.op), acc, k.value(src, r, c, count))));
    return acc;
  });
}

/** Exclusive running sum of a row or a column, i32. */
export function scan(k: Tiles, s: Extract<TileStmt, { kind: "scan" }>): void {
  const { src, dst } = s;
  if (dst.rows === 1 && dst.cols === 1) return k.fillWith(dst, [], () => constantOf(0, { of: "i32", lanes: 1 }));
  const sum = k.w.register("running", constantOf(0, { of: "i32", lanes: 1 }));
  const down = src.cols === 1;
  const { memory, stride } = k.stored(dst);
  k.w.loop("i", int(0), int(down ? src.rows : src.cols), 1, (i) => {
    const [r, c] = down ? [i, int(0)] : [int(0), i];
    const v = k.w.keep(k.value(src, r, c, 1), "v");
    k.w.push({ kind: "store", to: memory, at: plus(times(r, int(stride)), c), value: sum });
    k.w.set(sum, op("add", sum, v));
  });
}
