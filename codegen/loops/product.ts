// One tile of a b^T: blocks whose sums stay in registers over a run of columns, lanes along the columns. With few rows of a (here)
// weights stream once and widen as they pass; with many (packed.ts) both sides are packed first. Sums go to an f32 tile in scratch. Edge
// rows of b repeat the last row, so that the block shape is fixed and no element lies outside; their sums are never stored.
import { foldLanes } from "./reduce.ts";
import { divide, int, lesser, minus, op, plus, splat, times, type Expr, type Memory } from "./ir.ts";
import { byMatrix, byTiles, matrixElements, ready } from "./matrix.ts";
import { packed, panelElements } from "./packed.ts";
import { loadOf, sumAt, zero, type Lying, type Product } from "./product-type.ts";
import type { Tiles } from "./tiles.ts";

/** Columns of a block of scales. */
const BLOCK = 128;

/** Emits the product. */
export function product(k: Tiles, p: Product): void {
  const { w, lanes, schedule } = k;
  const whole = Math.floor(p.k / lanes) * lanes;
  const tiled = byMatrix(schedule, p, whole);
  const room = Math.max(
    schedule.packFrom <= p.tile.m ? panelElements(schedule, p.tile, p.k) : 0,
    tiled ? matrixElements(schedule, p.tile, whole) : 0,
  );
  const scratch = k.reserve("packed", Math.max(room, Math.min(p.tile.m, schedule.packFrom - 1) * whole));
  if (!p.add)
    w.loop("i", int(0), p.m, 1, (i) =>
      w.loop("j", int(0), int(p.tile.n), 1, (j) =>
        w.push({ kind: "store", to: p.sums.memory, at: sumAt(p, i, j), value: zero(1) }),
      ),
    );
  if (whole > 0) {
    if (p.tile.m < schedule.packFrom) few(k, p, whole, scratch);
    else
      w.when(
        op("le", int(schedule.packFrom), p.m),
        () => {
          const plain = (): void => packed(k, p, whole, scratch);
          if (tiled) w.when(ready, () => byTiles(k, p, whole, scratch), plain);
          else plain();
        },
        () => few(k, p, whole, scratch),
      );
  }
  if (whole < p.k) tail(k, p, whole);
}

/**
 * Few rows of a: bound by memory. Weights widen in registers as they stream, and a processor fetches ahead by stream: the rows of b
 * in a block lie far apart, each the next part of a long run.
 */
function few(k: Tiles, p: Product, whole: number, scratch: Memory): void {
  const { w, lanes, schedule } = k;
  let a = p.a.lying;
  if (!a) {
    w.note("the rows of a as f32");
    w.loop("i", int(0), p.m, 1, (i) =>
      w.loop("c", int(0), int(whole), lanes, (c) =>
        w.push({ kind: "store", to: scratch, at: plus(times(i, int(whole)), c), value: k.element(() => p.a.lanes(i, c, lanes)) }),
      ),
    );
    a = { memory: scratch, at: (i) => times(i, int(whole)) };
  }
  const most = Math.min(schedule.streams, Math.max(1, p.tile.n));
  let done: Expr = int(0);
  for (const rows of p.tile.m > 1 ? [2, 1] : [1]) {
    const streams = rows === 1 ? most : Math.min(most, Math.max(1, schedule.streams / 2));
    const end = rows === 1 ? p.m : w.keep(times(divide("div", p.m, int(rows)), int(rows)), "end");
    w.loop("i", done, end, rows, (i) => {
      w.note(`${rows} of a by ${streams} of b`);
      streamed(k, p, whole, a, i, rows, streams);
    });
    done = end;
  }
}

/** All rows of b against `rows` rows of a; past the last row of b the last is repeated, its sums going where no one looks. */
function streamed(k: Tiles, p: Product, whole: number, a: Lying, i: Expr, rows: number, streams: number): void {
  const { w } = k;
  const last = w.keep(minus(p.n, int(1)), "last");
  const gap = streams > 1 ? w.keep(divide("div", plus(p.n, int(streams - 1)), int(streams)), "gap") : p.n;
  const as = Array.from({ length: rows }, (_, d) => w.keep(a.at(plus(i, int(d))), `a${d}`));
  w.loop("j", int(0), gap, 1, (j) => {
    const js = Array.from({ length: streams }, (_, d) => plus(j, times(gap, int(d))));
    const from = js.map((row, d) => (d === 0 ? row : w.keep(lesser(row, last), `row${d}`)));
    const bs = from.map((row, d) => w.keep(p.b.at(row), `b${d}`));
    const sums = as.map(() => bs.map(() => w.register("sum", zero(k.lanes))));
    if (p.a.scale || p.b.scale) scaledRun(k, p, whole, { a, as, bs, i, from, sums });
    else run(k, p, int(0), int(whole), { a, as, bs, sums });
    for (const [r, line] of sums.entries())
      for (const [d, sum] of line.entries()) {
        const at = w.keep(sumAt(p, plus(i, int(r)), js[d]), "at");
        const value = op("add", loadOf(p.sums, at, 1), foldLanes(k, "add", sum));
        const put = (): void => w.push({ kind: "store", to: p.sums.memory, at, value });
        if (d === 0) put();
        else w.when(op("le", js[d], last), put);
      }
  });
}

interface Rows {
  a: Lying;
  as: readonly Expr[];
  bs: readonly Expr[];
  sums: readonly (readonly Expr[])[];
}

/** sums[i][j] += a[i] . b[j] over columns [from, to). */
function run(k: Tiles, p: Product, from: Expr, to: Expr, { a, as, bs, sums }: Rows): void {
  const { w, lanes, schedule } = k;
  w.loop("c", from, to, lanes, (c) => {
    const xs = as.map((row) => w.keep(loadOf(a, plus(row, c), lanes), "x"));
    for (const [j, row] of bs.entries()) {
      if (schedule.prefetch > 0)
        w.push({ kind: "prefetch", from: p.b.memory, at: plus(plus(row, c), int(ahead(p, schedule.prefetch))) });
      const v = w.keep(loadOf(p.b, plus(row, c), lanes), "v");
      for (const [i, x] of xs.entries()) w.set(sums[i][j], op("fma", x, v, sums[i][j]));
    }
  });
}

const widths = { f32: 4, bf16: 2, e4m3: 1, i32: 4 } as const;
const ahead = (p: Product, bytes: number): number => bytes / widths[p.b.memory.element];

/** Scales change every 128 columns: each part is multiplied once, lanes still apart. */
function scaledRun(k: Tiles, p: Product, whole: number, rows: Rows & { i: Expr; from: readonly Expr[] }): void {
  const { w, lanes } = k;
  w.loop("block", int(0), int(whole), BLOCK, (block) => {
    const parts = rows.sums.map((line) => line.map(() => w.register("part", zero(lanes))));
    run(k, p, block, lesser(plus(block, int(BLOCK)), int(whole)), { ...rows, sums: parts });
    const g = w.keep(divide("div", block, int(BLOCK)), "g");
    const sa = rows.as.map((_, r) => p.a.scale && w.keep(p.a.scale(plus(rows.i, int(r)), g), "sa"));
    const sb = rows.from.map((row) => p.b.scale && w.keep(p.b.scale(row, g), "sb"));
    for (const [r, line] of parts.entries())
      for (const [d, part] of line.entries()) {
        const [x, y] = [sa[r], sb[d]];
        const by = x && y ? op("mul", x, y) : (x ?? y)!;
        w.set(rows.sums[r][d], op("fma", part, splat(by, lanes), rows.sums[r][d]));
      }
  });
}

/** The columns after the last whole vector, one by one. */
function tail(k: Tiles, p: Product, whole: number): void {
  const { w } = k;
  w.note("columns after the last whole vector");
  w.loop("i", int(0), p.m, 1, (i) =>
    w.loop("j", int(0), p.n, 1, (j) => {
      const at = w.keep(sumAt(p, i, j), "at");
      const row = w.keep(p.b.at(j), "row");
      const sum = w.register("sum", loadOf(p.sums, at, 1));
      w.loop("c", int(whole), int(p.k), 1, (c) => {
        let term = op(
          "mul",
          k.element(() => p.a.lanes(i, c, 1)),
          loadOf(p.b, plus(row, c), 1),
        );
        const g = divide("div", c, int(BLOCK));
        for (const scale of [p.a.scale?.(i, g), p.b.scale?.(j, g)]) if (scale) term = op("mul", term, scale);
        w.set(sum, op("add", sum, term));
      });
      w.push({ kind: "store", to: p.sums.memory, at, value: sum });
    }),
  );
}
