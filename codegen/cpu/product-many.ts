// The product of four rows of a and more: bound by arithmetic, so the loop inside has multiply, add and as little else as can be.
// Both sides are packed as f32 in panels that stay in the cache: two rows of a side by side, and four of b, so that one address
// serves all of them, and four sums are joined at once. Weights are widened, and scales multiplied in, once per tile and not once per row.
import { widen8, widen8InOrder } from "./dot.ts";
import { keep } from "./math.ts";
import { sumAt, type Product } from "./product-type.ts";
import { get, i32, ins, load, plus, select, set, splat, store, times, type Expr, type Local } from "./wasm.ts";
import type { Writer } from "./writer.ts";

/** Columns multiplied at a time: four packed rows of b then stay in the first-level cache, all of a in the second. */
const PANEL = 1024;

/** Columns of a panel, at most. */
const panelOf = (k: number): number => Math.min(Math.ceil(k / 8) * 8, PANEL);
const even8 = (n: number): number => Math.ceil(n / 8) * 8;

/** Scratch for a panel of both sides. */
export const panelBytes = (tileM: number, tileN: number, k: number): number => (tileM + even8(tileN)) * panelOf(k) * 4;

/** Rows side by side: one address, which moves on by `step` bytes per four columns. */
interface Stream {
  base: Expr;
  step: number;
}

/** A row of a block: four columns of it lie at this offset of a stream. */
interface Lane {
  stream: number;
  offset: number;
}

/** `count` rows from row `i` on, of rows packed `group` side by side. */
type Rows = (i: Expr, count: number) => { streams: Stream[]; lanes: Lane[] };

/** Emits the product over the first `whole` columns, a multiple of 8. */
export function many(w: Writer, p: Product, whole: number): void {
  const width = panelOf(whole);
  w.loop("from", i32(0), i32(whole), width, (from) => {
    const left = ins("i32.sub", i32(whole), from);
    const columns =
      whole % width === 0 ? i32(width) : get(w.define("columns", select(ins("i32.lt_u", left, i32(width)), left, i32(width))));
    const twos = keep(w, ins("i32.and", p.m, i32(-2)), "twos");
    const [a, a1, b] = p.inPlace ? inPlace(p, from) : packed(w, p, width, from, columns, twos);
    const sweep = (rows: Rows, from: Expr, to: Expr, countA: number, countB: number): void =>
      w.loop("j", i32(0), p.n, countB, (j) =>
        w.loop("i", from, to, countA, (i) => {
          const is = Array.from({ length: countA }, (_, d) => plus(i, i32(d)));
          const js = Array.from({ length: countB }, (_, d) => plus(j, i32(d)));
          const acc = is.map((_, r) => js.map((_, c) => w.local("v128", `sum${r}${c}`)));
          for (const l of acc.flat()) w.push(set(l, splat(0)));
          multiply(w, rows(i, countA), b(j, countB), columns, acc);
          for (const [r, line] of acc.entries())
            for (let c = 0; c < countB; c += 4) joinSums(w, sumAt(p, is[r], js[c]), line.slice(c, c + 4));
        }),
      );
    w.note("2 of a by 4 of b");
    sweep(a, i32(0), twos, 2, 4);
    w.note("what is left of a, 1 by 8");
    sweep(a1, twos, p.m, 1, 8);
  });
}

/** Rows that lie where they are, each its own stream; past the last row of b the last is repeated. */
function inPlace(p: Product, from: Expr): [Rows, Rows, Rows] {
  const shift = times(from, i32(4));
  const apart =
    (row: (i: Expr) => Expr): Rows =>
    (i, count) => ({
      streams: Array.from({ length: count }, (_, d) => ({ base: plus(row(plus(i, i32(d))), shift), step: 16 })),
      lanes: Array.from({ length: count }, (_, d) => ({ stream: d, offset: 0 })),
    });
  const last = ins("i32.sub", p.n, i32(1));
  const a = apart(p.a.direct!);
  return [a, a, apart((j) => p.b.address(select(ins("i32.lt_u", j, last), j, last)))];
}

/** Packs both sides: a in twos, what is left of it row by row, b in fours. */
function packed(w: Writer, p: Product, width: number, from: Expr, columns: Expr, twos: Expr): [Rows, Rows, Rows] {
  const aAt = p.packed;
  const bAt = plus(p.packed, i32(p.tile.m * width * 4));
  const beside =
    (base: Expr, group: number): Rows =>
    (i, count) => ({
      streams: Array.from({ length: Math.ceil(count / group) }, (_, d) => ({
        base: plus(base, times(plus(i, i32(d * group)), i32(width * 4))),
        step: 16 * group,
      })),
      lanes: Array.from({ length: count }, (_, d) => ({ stream: Math.floor(d / group), offset: 16 * (d % group) })),
    });
  const put = (to: Expr, group: number, d: number, pair: readonly [Expr, Expr], scale: Expr | undefined): void => {
    const by = scale && get(w.define("by", ins("f32x4.splat", scale)));
    for (const [half, v] of pair.entries())
      w.push(store("v128.store", to, by ? ins("f32x4.mul", v, by) : v, 16 * (half * group + d)));
  };
  const packA = (rows: Expr[], group: number): void => {
    const to = get(w.define("to", plus(aAt, times(rows[0], i32(width * 4)))));
    const lying = p.a.direct && rows.map((i) => get(w.define("a", plus(p.a.direct!(i), times(from, i32(4))))));
    w.loop("c", i32(0), columns, 8, (c) => {
      const here = get(w.define("here", plus(to, times(c, i32(4 * group)))));
      const column = plus(from, c);
      const at = lying && get(w.define("bytes", times(c, i32(4))));
      for (const [d, i] of rows.entries()) {
        const pair = (
          lying ? widen8(w, "f32", plus(lying[d], at!), 0, "x") : p.a.eight(i, column).map((e) => get(w.define("x", e)))
        ) as [Expr, Expr];
        put(here, group, d, pair, p.a.scale?.(i, ins("i32.shr_u", column, i32(7))));
      }
    });
  };
  w.note("pack a, two rows side by side");
  w.loop("i", i32(0), twos, 2, (i) => packA([i, plus(i, i32(1))], 2));
  w.loop("i", twos, p.m, 1, (i) => packA([i], 1));
  w.note("widen b, four rows side by side");
  const last = get(w.define("last", ins("i32.sub", p.n, i32(1))));
  // A block of eight rows may reach past n: those rows are copies of the last.
  w.loop("j", i32(0), keep(w, ins("i32.and", plus(p.n, i32(7)), i32(-8)), "n8"), 4, (j) => {
    const rows = [0, 1, 2, 3]
      .map((d) => plus(j, i32(d)))
      .map((row) => get(w.define("row_b", select(ins("i32.lt_u", row, last), row, last))));
    const size = { f32: 4, bf16: 2, e4m3: 1 }[p.b.dtype];
    const bs = rows.map((row) => get(w.define("b", plus(p.b.address(row), times(from, i32(size))))));
    const to = get(w.define("to", plus(bAt, times(j, i32(width * 4)))));
    w.loop("c", i32(0), columns, 8, (c) => {
      const here = get(w.define("here", plus(to, times(c, i32(16)))));
      for (const [d, b] of bs.entries())
        put(
          here,
          4,
          d,
          widen8InOrder(w, p.b.dtype, plus(b, times(c, i32(size))), 0, "w"),
          p.b.scale?.(rows[d], ins("i32.shr_u", plus(from, c), i32(7))),
        );
    });
  });
  return [beside(aAt, 2), beside(aAt, 1), beside(bAt, 4)];
}

/** Adds the lanes of four sums to four neighbours in memory, each as (0 + 2) + (1 + 3). */
function joinSums(w: Writer, at: Expr, sums: readonly Local[]): void {
  const pick = (a: Expr, b: Expr, lanes: readonly number[]): Expr => ({
    op: "i8x16.shuffle",
    imm: lanes.flatMap((l) => [0, 1, 2, 3].map((byte) => 4 * l + byte)),
    args: [a, b],
    type: "v128",
  });
  const halves = (a: Expr, b: Expr): Expr =>
    get(w.define("half", ins("f32x4.add", pick(a, b, [0, 4, 1, 5]), pick(a, b, [2, 6, 3, 7]))));
  const [x, y] = [halves(get(sums[0]), get(sums[1])), halves(get(sums[2]), get(sums[3]))];
  const to = get(w.define("to", at));
  const joined = ins("f32x4.add", pick(x, y, [0, 1, 4, 5]), pick(x, y, [2, 3, 6, 7]));
  w.push(store("v128.store", to, ins("f32x4.add", load("v128.load", to), joined)));
}

/** acc[i][j] += a[i] . b[j] over the columns, lanes apart. */
function multiply(w: Writer, a: ReturnType<Rows>, b: ReturnType<Rows>, columns: Expr, acc: Local[][]): void {
  const cursor = ({ base, step }: Stream): { at: Local; step: number } => ({ at: w.define("at", base), step });
  const [as, bs] = [a.streams.map(cursor), b.streams.map(cursor)];
  // Four columns a turn: with eight, the compiler loads all first, and more values are alive than there are registers.
  w.loop("c", i32(0), columns, 4, () => {
    const value = (s: { at: Local }[], l: Lane, name: string): Expr =>
      get(w.define(name, load("v128.load", get(s[l.stream].at), l.offset)));
    const rows = b.lanes.map((l) => value(bs, l, "w"));
    for (const [i, l] of a.lanes.entries()) {
      const x = value(as, l, "x");
      for (const [j, v] of rows.entries()) w.push(set(acc[i][j], ins("f32x4.add", get(acc[i][j]), ins("f32x4.mul", v, x))));
    }
    for (const { at, step } of [...as, ...bs]) w.push(set(at, plus(get(at), i32(step))));
  });
}
