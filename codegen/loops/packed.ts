// The product of many rows: bound by arithmetic, so the loop inside has fused multiply-adds and as few loads as can be. Both sides are
// packed as f32 in panels that stay in the cache: weights are widened, and scales multiplied in, once per tile and not once per row.
// Lanes run along the columns, so nothing is turned round; the sums of rowsB rows are joined at once.
import { divide, f32, int, lesser, minus, op, plus, splat, times, type Expr, type Memory } from "./ir.ts";
import { loadOf, sumAt, zero, type Lying, type Product } from "./product-type.ts";
import type { LoopSchedule } from "./schedule.ts";
import type { Tiles } from "./tiles.ts";
import { run } from "./writer.ts";

const up = (n: number, step: number): number => Math.ceil(n / step) * step;

/** Columns of a panel, and elements from one packed row to the next: rows a multiple of 4096 bytes apart would share cache lines. */
function panelOf({ panel, lanes }: LoopSchedule, k: number): { width: number; pitch: number } {
  const width = Math.min(up(k, lanes), panel);
  return { width, pitch: width + lanes };
}

/** Elements of scratch for a panel of both sides. */
export const panelElements = (s: LoopSchedule, { m, n }: Product["tile"], k: number): number =>
  (up(m, s.rowsA) + up(n, s.rowsB)) * panelOf(s, k).pitch;

/** Emits the product over the first `whole` columns, a multiple of the lanes. */
export function packed(k: Tiles, p: Product, whole: number, scratch: Memory): void {
  const { w, schedule } = k;
  if (p.inPlace && p.a.lying) {
    const [lastA, lastB] = [p.m, p.n].map((n) => w.keep(minus(n, int(1)), "last"));
    // Past the last row the last is read again.
    const rows = (side: Lying, last: Expr, first: Expr, count: number): Side => ({
      memory: side.memory,
      at: run(first, count).map((row) => w.keep(side.at(w.keep(lesser(row, last), "row")), "at")),
    });
    const { lying } = p.a;
    return blocks(
      k,
      p,
      int(whole),
      (j, n) => rows(p.b, lastB, j, n),
      (i, n) => rows(lying, lastA, i, n),
    );
  }
  const { rowsA, rowsB } = schedule;
  const { width, pitch } = panelOf(schedule, whole);
  const bFrom = up(p.tile.m, rowsA) * pitch;
  w.loop("from", int(0), int(whole), width, (from) => {
    const columns = whole % width === 0 ? int(width) : w.keep(lesser(minus(int(whole), from), int(width)), "columns");
    const at = (base: number) => (row: Expr) => plus(times(row, int(pitch)), int(base));
    pack(k, p, { from, columns, rows: p.m, group: rowsA, to: scratch, at: at(0) }, "a");
    pack(k, p, { from, columns, rows: p.n, group: rowsB, to: scratch, at: at(bFrom) }, "b");
    const rows = (base: number, first: Expr, count: number): Side => {
      const begin = w.keep(at(base)(first), "begin");
      return { memory: scratch, at: Array.from({ length: count }, (_, d) => plus(begin, int(d * pitch))) };
    };
    blocks(
      k,
      p,
      columns,
      (j, n) => rows(bFrom, j, n),
      (i, n) => rows(0, i, n),
    );
  });
}

/** Some rows of a side: the element that each begins with. */
interface Side {
  memory: Memory;
  at: readonly Expr[];
}
type Rows = (first: Expr, count: number) => Side;

/** Every block of rowsA by rowsB over columns [0, columns). */
function blocks(k: Tiles, p: Product, columns: Expr, rowsOfB: Rows, rowsOfA: Rows): void {
  const { w, schedule } = k;
  const { rowsA, rowsB } = schedule;
  w.note(`${rowsA} of a by ${rowsB} of b`);
  w.loop("j", int(0), p.n, rowsB, (j) => {
    const b = rowsOfB(j, rowsB);
    w.loop("i", int(0), p.m, rowsA, (i) => {
      const a = rowsOfA(i, rowsA);
      const sums = a.at.map(() => b.at.map(() => w.register("sum", zero(k.lanes))));
      w.loop("c", int(0), columns, k.lanes, (c) => {
        const read = ({ memory }: Side, row: Expr, hint: string): Expr =>
          w.keep({ kind: "load", from: memory, at: plus(row, c), pinned: true, type: f32(k.lanes) }, hint);
        const xs = a.at.map((row) => read(a, row, "x"));
        for (const [d, row] of b.at.entries()) {
          const v = read(b, row, "v");
          for (const [r, x] of xs.entries()) w.set(sums[r][d], op("fma", x, v, sums[r][d]));
        }
      });
      for (const [r, line] of sums.entries()) addJoined(k, p, plus(i, int(r)), j, line);
    });
  });
}

interface Packing {
  from: Expr;
  columns: Expr;
  rows: Expr;
  group: number;
  to: Memory;
  at: (row: Expr) => Expr;
}

/** Packs one side: rows past the last are copies of it, up to a whole group. */
function pack(k: Tiles, p: Product, { from, columns, rows, group, to, at }: Packing, side: "a" | "b"): void {
  const { w, lanes } = k;
  w.note(`${side} as f32`);
  const last = w.keep(minus(rows, int(1)), "last");
  const all = w.keep(times(divide("div", plus(rows, int(group - 1)), int(group)), int(group)), "rows");
  w.loop("r", int(0), all, 1, (r) => {
    const row = w.keep(lesser(r, last), "row");
    const begin = w.keep(at(r), "to");
    const lying = side === "b" ? p.b : p.a.lying;
    const base = lying && w.keep(plus(lying.at(row), from), "base");
    const scale = p[side].scale;
    const copy = (lo: Expr, hi: Expr, by: Expr | undefined): void =>
      w.loop("c", lo, hi, lanes, (c) => {
        const v = base && lying ? loadOf(lying, plus(base, c), lanes) : k.element(() => p.a.lanes(row, plus(from, c), lanes));
        w.push({ kind: "store", to, at: plus(begin, c), value: by ? op("mul", v, by) : v });
      });
    if (!scale) return copy(int(0), columns, undefined);
    w.loop("block", int(0), columns, 128, (block) => {
      const by = w.keep(splat(scale(row, divide("div", plus(from, block), int(128))), lanes), "by");
      copy(block, w.keep(lesser(plus(block, int(128)), columns), "block_to"), by);
    });
  });
}

/** Adds the lanes of each of these vectors to the sums of row i from j on, as many at once as a vector has lanes. */
function addJoined(k: Tiles, p: Product, i: Expr, j: Expr, vectors: readonly Expr[]): void {
  const { w } = k;
  const most = Math.min(k.lanes, vectors.length);
  for (let first = 0; first < vectors.length; first += most) {
    const joined = join(k, vectors.slice(first, first + most));
    const at = w.keep(sumAt(p, i, plus(j, int(first))), "at");
    const before = loadOf(p.sums, at, most);
    w.push({ kind: "store", to: p.sums.memory, at, value: op("add", before, joined) });
  }
}

/** A vector whose lane d is the sum of the lanes of vector d; their number is a power of two, no more than the lanes of each. */
function join(k: Tiles, vectors: readonly Expr[]): Expr {
  const { w } = k;
  // Each vector holds the partial sums of `count` of them, side by side.
  let level = [...vectors];
  let count = 1;
  while (level.length > 1) {
    const { lanes } = level[0].type;
    const part = lanes / count;
    // Halves of every part: of the first vector, then of the second.
    const half = (of: 0 | 1): number[] =>
      [0, lanes].flatMap((base) =>
        Array.from({ length: count }, (_, g) =>
          Array.from({ length: part / 2 }, (_, l) => base + g * part + of * (part / 2) + l),
        ).flat(),
      );
    const pick = (x: Expr, y: Expr, of: 0 | 1): Expr => ({ kind: "shuffle", args: [x, y], lanes: half(of), type: f32(lanes) });
    level = Array.from({ length: level.length / 2 }, (_, d) => {
      const [x, y] = [w.keep(level[2 * d], "t"), w.keep(level[2 * d + 1], "t")];
      return w.keep(op("add", pick(x, y, 0), pick(x, y, 1)), "t");
    });
    count *= 2;
  }
  // What is left has the parts of each sum side by side.
  let out = level[0];
  while (out.type.lanes > vectors.length) {
    const { lanes } = out.type;
    const part = lanes / vectors.length;
    const order = (of: 0 | 1): number[] =>
      Array.from({ length: vectors.length }, (_, g) =>
        Array.from({ length: part / 2 }, (_, l) => g * part + of * (part / 2) + l),
      ).flat();
    const x = w.keep(out, "t");
    const pick = (of: 0 | 1): Expr => ({ kind: "shuffle", args: [x, x], lanes: order(of), type: f32(lanes / 2) });
    out = w.keep(op("add", pick(0), pick(1)), "t");
  }
  return out;
}
