// Reductions and running sums of tiles. Sums of up to 128 columns follow the fixed tree of ir/kernel/stmt.ts, so that every
// target gives the same bits; a sum over lanes is the tail of that tree.
import type { Stmt as TileStmt, Tile } from "../../ir/kernel/stmt.ts";
import { keep, maxLanes, minLanes, sumLanes } from "./math.ts";
import type { Tiles } from "./tiles.ts";
import { get, i32, ins, load, plus, select, set, splat, splatI, store, times, withImm, type Expr, type Local } from "./wasm.ts";

type Reduce = Extract<TileStmt, { kind: "reduce" }>;

const first = (e: Expr): Expr => withImm("i32x4.extract_lane", [0], e);
const spread = (e: Expr): Expr => ins(e.type === "f32" ? "f32x4.splat" : "i32x4.splat", e);

/** Emits a reduction. */
export function reduce(k: Tiles, s: Reduce): void {
  if (s.along === "rows") return reduceRows(k, s);
  const one = (r: Expr): Expr => {
    if (s.op === "argmax") return argmax(k, s.src, r);
    if (s.op === "sum" && s.src.dtype === "f32" && s.src.cols <= 128) return tree(k, s.src, r);
    return fold(k, s, r);
  };
  k.fillWith(s.dst, [], (r) => keep(k.w, spread(one(r)), s.dst.name));
}

/** Lane j plus lane j + n/2, halving n. */
function tree(k: Tiles, t: Tile, r: Expr): Expr {
  const lanes = 2 ** Math.ceil(Math.log2(t.cols));
  if (t.cols === 1) return withImm("f32x4.extract_lane", [0], k.value(t, r, i32(0), 1));
  const row = keep(k.w, k.rowAt(t, t.rows === 1 ? i32(0) : r), "row");
  let parts: (Expr | undefined)[] = [];
  for (let c = 0; c < Math.max(lanes, 4); c += 4) {
    const inside = Math.min(4, t.cols - c);
    if (inside <= 0) parts.push(undefined);
    else if (inside === 4) parts.push(load("v128.load", row, 4 * c));
    else
      parts.push(
        ins(
          "v128.and",
          load("v128.load", row, 4 * c),
          withImm(
            "v128.const",
            Array.from({ length: 16 }, (_, i) => (i < 4 * inside ? 255 : 0)),
          ),
        ),
      );
  }
  while (parts.length > 1) {
    const half = parts.length / 2;
    parts = parts.slice(0, half).map((a, i) => {
      const b = parts[i + half];
      return a && b ? ins("f32x4.add", a, b) : a;
    });
  }
  return sumLanes(k.w, parts[0]!);
}

/** Sums wider than the tree, maxima and minima: four running values, joined at the end. */
function fold(k: Tiles, s: Reduce, r: Expr): Expr {
  const { src, op } = s;
  const float = src.dtype === "f32";
  const start = op === "sum" ? 0 : op === "max" ? -Infinity : Infinity;
  const acc = k.w.local("v128", op);
  k.w.push(set(acc, float ? splat(start) : splatI(op === "sum" ? 0 : op === "max" ? -2147483648 : 2147483647)));
  const verb = op === "sum" ? "add" : op;
  const step = float ? `f32x4.${verb}` : op === "sum" ? "i32x4.add" : `i32x4.${op}_s`;
  k.columns(src.cols, k.masks(src), (c, count) => {
    const v = k.value(src, r, c, count);
    // A single column arrives in every lane: a sum must count it once.
    const term =
      count === 1 && op === "sum"
        ? ins(
            "v128.and",
            v,
            withImm(
              "v128.const",
              Array.from({ length: 16 }, (_, i) => (i < 4 ? 255 : 0)),
            ),
          )
        : v;
    k.w.push(set(acc, ins(step, get(acc), term)));
  });
  if (float) return op === "sum" ? sumLanes(k.w, get(acc)) : op === "max" ? maxLanes(k.w, get(acc)) : minLanes(k.w, get(acc));
  const lane = (i: number): Expr => withImm("i32x4.extract_lane", [i], get(acc));
  const join = (a: Expr, b: Expr): Expr => {
    if (op === "sum") return ins("i32.add", a, b);
    const [x, y] = [keep(k.w, a, "x"), keep(k.w, b, "y")];
    return select(ins(op === "max" ? "i32.gt_s" : "i32.lt_s", x, y), x, y);
  };
  return join(join(lane(0), lane(2)), join(lane(1), lane(3)));
}

/** Index of the first largest column, i32. */
function argmax(k: Tiles, t: Tile, r: Expr): Expr {
  const number = t.dtype;
  const lane = (e: Expr): Expr => withImm(`${number}x4.extract_lane`, [0], e);
  const best = k.w.define("best", lane(k.value(t, r, i32(0), 1)));
  const at = k.w.define("argmax", i32(0));
  k.w.loop("c", i32(1), i32(t.cols), 1, (c) => {
    const v = keep(k.w, lane(k.value(t, r, c, 1)), "v");
    k.w.when(ins(number === "f32" ? "f32.gt" : "i32.gt_s", v, get(best)), () => k.w.push(set(best, v), set(at, c)));
  });
  return get(at);
}

/** Down the rows, a column (or four) at a time. */
function reduceRows(k: Tiles, s: Reduce): void {
  const { src, op } = s;
  const float = src.dtype === "f32";
  const verb = op === "sum" ? "add" : op;
  const step = float ? `f32x4.${verb}` : op === "sum" ? "i32x4.add" : `i32x4.${op}_s`;
  k.fillWith(s.dst, [], (_, c, count) => {
    const acc: Local = k.w.local("v128", op);
    k.w.push(set(acc, k.value(src, i32(0), c, count)));
    k.w.loop("r", i32(1), i32(src.rows), 1, (r) => k.w.push(set(acc, ins(step, get(acc), k.value(src, r, c, count)))));
    return get(acc);
  });
}

/** Exclusive running sum of a row or a column, i32. */
export function scan(k: Tiles, s: Extract<TileStmt, { kind: "scan" }>): void {
  const { src, dst } = s;
  if (dst.rows === 1 && dst.cols === 1) return k.fillWith(dst, [], () => splatI(0));
  const sum = k.w.define("running", i32(0));
  const down = src.cols === 1;
  k.w.loop("i", i32(0), i32(down ? src.rows : src.cols), 1, (i) => {
    const [r, c] = down ? [i, i32(0)] : [i32(0), i];
    const v = keep(k.w, first(k.value(src, r, c, 1)), "v");
    k.w.push(store("i32.store", plus(k.rowAt(dst, r), times(c, i32(4))), get(sum)), set(sum, ins("i32.add", get(sum), v)));
  });
}
