// Tile programs from a list of numbers: each number is a choice, so that a shorter list is a smaller program and a failing one
// shrinks. Values are small whole numbers and stay exact in f32 whatever the order of sums: two evaluations agree in every bit.
import { Body, f, kernel, x } from "../../ir/kernel/build.ts";
import type { BufferParam, Index, Kernel, Tile } from "../../ir/kernel/stmt.ts";

/** Sums and products may reach this; f32 holds whole numbers up to twice as much. */
const EXACT = 2 ** 23;
/** What a map leaves: every map ends in a clamp. */
const SMALL = 4;

interface Known {
  tile: Tile;
  /** Largest magnitude it can hold. */
  bound: number;
  /** Some statement reads it. */
  read?: boolean;
  /** Accumulators take sums over iterations. */
  sum?: boolean;
}

/** Reads choices off the list; 0 once it is used up. */
class Choices {
  #at = 0;
  readonly #numbers: readonly number[];

  constructor(numbers: readonly number[]) {
    this.#numbers = numbers;
  }

  get over(): boolean {
    return this.#at >= this.#numbers.length;
  }

  next(n: number): number {
    return (this.#numbers[this.#at++] ?? 0) % n;
  }

  of<T>(list: readonly T[]): T {
    return list[this.next(list.length)];
  }
}

type Buffers = Record<"x" | "w" | "rows" | "y" | "z", BufferParam>;

class Program {
  readonly k: Body;
  readonly c: Choices;
  readonly b: Buffers;
  readonly R: number;
  readonly C: number;
  known: Known[] = [];
  /** Names an index may use, all small. */
  names: string[] = ["i", "j"];
  trips = 1;
  #loops = 0;

  constructor(k: Body, c: Choices, b: Buffers, R: number, C: number) {
    [this.k, this.c, this.b, this.R, this.C] = [k, c, b, R, C];
  }

  add(tile: Tile, bound: number, sum = false): void {
    this.known.push({ tile, bound, sum });
  }

  /** A known tile, most often one that nothing has read yet: what is read once may be evaluated where it is read. */
  pick(want: (k: Known) => boolean): Known | undefined {
    const fit = this.known.filter(want);
    const unread = fit.filter((k) => !k.read);
    const from = unread.length && this.c.next(4) ? unread : fit;
    const chosen = from.length ? from[from.length - 1 - this.c.next(from.length)] : undefined;
    if (chosen) chosen.read = true;
    return chosen;
  }

  extents(): [number, number] {
    return [this.c.of([this.R, 1]), this.c.of([this.C, 1])];
  }

  load(): void {
    const { k, c, b, R, C } = this;
    const [rows, cols] = this.extents();
    const fill = c.of([0, 1, -2]);
    // Bounds tighter than the buffer's, and other parts of it than the cell's own: masks that differ from the store's.
    const colLimit = c.of<Index>(["N", "N", x.min("N", 6)]);
    const columns = cols > 1 ? { cols: 1, colLimit } : {};
    switch (c.next(4)) {
      case 0:
      case 1: {
        const buffer = c.of([b.x, b.y]);
        const first: Index = buffer === b.x && cols > 1 ? c.of<Index>(["j", "j", 0]) : "j";
        const bound = rows > 1 ? { rows: 0, rowLimit: c.of<Index>(["M", "M", x.min("M", 3)]) } : {};
        return this.add(k.load("v", rows, cols, buffer, { at: ["i", first], ...bound, ...columns }, fill), SMALL);
      }
      case 2: {
        const from = c.of<Index>([0, ...this.names.slice(2)]);
        const at: Index[] = rows > 1 ? [from, "j"] : [x.min(from, 8), "j"];
        return this.add(
          k.load("w", rows, cols, b.w, { at, ...(rows > 1 ? { rows: 0, rowLimit: 9 } : {}), ...columns }, fill),
          SMALL,
        );
      }
      default: {
        const index = this.pick(({ tile }) => tile.dtype === "i32" && tile.cols === 1 && tile.rows === R && R > 1)?.tile;
        if (!index)
          return this.add(k.load("rows", R, 1, b.rows, { at: ["i"], ...(R > 1 ? { rows: 0, rowLimit: "M" } : {}) }), 12);
        return this.add(
          k.load(
            "g",
            R,
            C,
            b.x,
            { at: [0, "j"], rows: 0, rowIndex: index, rowLimit: "M", ...(C > 1 ? { cols: 1, colLimit } : {}) },
            fill,
          ),
          SMALL,
        );
      }
    }
  }

  /** A fresh or a carried tile from up to two others. */
  map(carry: boolean): void {
    const { k, c } = this;
    const dtype = c.of(["f32", "f32", "i32"] as const);
    const like = (t: Known): boolean => t.tile.dtype === dtype;
    const a = this.pick(like)?.tile;
    const fits = (n: number, m: number): boolean => n === m || n === 1 || m === 1;
    const b = a && this.pick((t) => like(t) && fits(t.tile.rows, a.rows) && fits(t.tile.cols, a.cols))?.tile;
    if (!a || !b) return;
    const index = f.index(c.of(this.names));
    const value = c.of([
      f.add(a, b),
      f.sub(a, b),
      f.mul(a, b),
      f.max(a, f.neg(b)),
      f.select(f.lt(a, b), a, b),
      f.add(a, index),
      f.select(f.eq(a, b), index, b),
      f.min(f.abs(a), b),
      f.select(f.and(f.le(a, b), f.lt(a, 2)), f.add(a, b), 1),
    ]);
    const clamped = f.max(f.min(value, SMALL), -SMALL);
    const [rows, cols] = [Math.max(a.rows, b.rows), Math.max(a.cols, b.cols)];
    const old = carry ? this.pick((t) => like(t) && !t.sum && t.tile.rows === rows && t.tile.cols === cols) : undefined;
    // A carried tile may hold less than before, never more than a map leaves: its bound stays.
    if (old && old.bound >= SMALL) k.set(old.tile, clamped);
    else this.add(k.map("m", clamped, dtype), SMALL);
  }

  reduce(): void {
    const { k, c } = this;
    const op = c.of(["sum", "max", "min", "argmax"] as const);
    const along = op === "argmax" ? "cols" : c.of(["cols", "rows"] as const);
    const t = this.pick((s) => op !== "sum" || s.bound * 200 < EXACT);
    if (!t) return;
    const n = along === "cols" ? t.tile.cols : t.tile.rows;
    this.add(k.reduce("r", t.tile, op, along), op === "sum" ? t.bound * n : op === "argmax" ? n : t.bound);
  }

  dot(): void {
    const { k, c } = this;
    const form = c.of(["nt", "nn"] as const);
    const real = (s: Known): boolean => s.tile.dtype === "f32";
    const a = this.pick(real);
    const b =
      a &&
      this.pick(
        (s) => real(s) && s.tile[form === "nt" ? "cols" : "rows"] === a.tile.cols && a.bound * s.bound * a.tile.cols < EXACT,
      );
    if (a && b) this.add(k.dot("d", a.tile, b.tile, form), a.bound * b.bound * a.tile.cols);
  }

  accumulate(): void {
    const acc = this.pick((s) => s.sum === true);
    const part =
      acc && this.pick((s) => s.tile.dtype === "f32" && !s.sum && s.tile.rows === acc.tile.rows && s.tile.cols === acc.tile.cols);
    const by =
      part &&
      this.pick(
        (s) =>
          s.tile.dtype === "f32" &&
          s.bound <= 16 &&
          (s.tile.rows === 1 || s.tile.rows === part.tile.rows) &&
          (s.tile.cols === 1 || s.tile.cols === part.tile.cols),
      );
    if (acc && part && by && part.bound * by.bound * this.trips <= 2 ** 17)
      this.k.accumulate(acc.tile, part.tile, ...(this.c.next(2) ? [by.tile] : []));
  }

  store(): void {
    const { k, c, b, R, C } = this;
    const t = this.pick(
      ({ tile }) => tile.dtype === "f32" && (tile.rows === R || tile.rows === 1) && (tile.cols === C || tile.cols === 1),
    )?.tile;
    if (!t) return;
    const where = {
      at: ["i", "j"],
      ...(t.rows > 1 ? { rows: 0, rowLimit: "M" } : {}),
      ...(t.cols > 1 ? { cols: 1, colLimit: "N" } : {}),
    };
    // What comes back from y is small again.
    if (c.next(2)) k.store(t, b.z, where);
    else k.store(k.map("s", f.max(f.min(t, SMALL), -SMALL)), b.y, where);
  }

  /** Statements of a loop or condition: what they make is not known outside. */
  inside(depth: number): void {
    const outer = this.known.slice();
    const count = 1 + this.c.next(6);
    for (let i = 0; i < count && !this.c.over; i++) this.statement(depth + 1);
    this.known = outer;
  }

  statement(depth: number): void {
    const { k, c } = this;
    const [rows, cols] = [this.R, this.C];
    switch (c.next(depth > 1 ? 13 : 16)) {
      case 0:
      case 1:
      case 2:
        return this.load();
      case 3:
      case 4:
        return this.map(false);
      case 5:
        return this.map(true);
      case 6:
        return this.reduce();
      case 7:
        return this.dot();
      case 8:
        return this.accumulate();
      case 9:
        return this.store();
      case 10:
        return c.next(2)
          ? this.add(k.fill("acc", rows, cols, 0), 2 ** 22, true)
          : this.add(k.fill("c", ...this.extents(), 2, c.of(["f32", "i32"] as const)), 2);
      case 11:
        return this.add(
          k.iota("n", c.next(2) ? rows : 1, c.next(2) ? cols : 1, c.of(["rows", "cols"] as const), c.of(this.names)),
          1000,
        );
      case 12: {
        const t = this.pick(
          ({ tile, bound }) => tile.dtype === "i32" && bound <= 1000 && (tile.rows === 1 || tile.cols === 1),
        )?.tile;
        return t && this.add(k.scan("e", t), EXACT);
      }
      case 13:
      case 14: {
        const name = `p${this.#loops++}`;
        const [to, step] = [c.of<Index>([3, 8, 0, "M"]), c.of([1, 3, 4])];
        const trips = this.trips;
        this.trips *= 9;
        this.names.push(name);
        k.loop(name, 0, to, step, () => this.inside(depth));
        this.names = this.names.filter((n) => n !== name);
        this.trips = trips;
        return;
      }
      default:
        return k.when(c.of(this.names), c.of(["lt", "le", "eq", "ne"] as const), c.of<Index>([0, 4, "M"]), () =>
          this.inside(depth),
        );
    }
  }
}

/** A kernel over x [M, N], w [9, N], rows [M] (row numbers), y and z [M, N]; every cell keeps to its own part of y and z. */
export function programOf(numbers: readonly number[]): Kernel {
  const c = new Choices(numbers);
  const [R, C] = [c.of([4, 1, 2, 5, 8]), c.of([8, 1, 3, 4, 20, 33, 130])];
  const shape = ["M", "N"];
  return kernel({
    name: "random",
    summary: "A random tile program.",
    params: {
      x: { dtype: c.of(["f32", "bf16"] as const), shape, strides: [x.add("N", 3), 1] },
      w: {
        dtype: c.of(["e4m3", "f32"] as const),
        shape: [9, "N"],
        strides: c.of<Index[]>([
          ["N", 1],
          [1, 9],
        ]),
      },
      rows: { dtype: "i32", shape: ["M"] },
      y: {
        dtype: "f32",
        shape,
        strides: c.of<Index[]>([
          ["N", 1],
          [1, "M"],
        ]),
        access: "inout",
      },
      z: { dtype: c.of(["f32", "bf16", "e4m3"] as const), shape, access: "inout" },
    },
    dims: ["M", "N"],
    body(k, b) {
      k.grid({ i: ["M", R], j: ["N", C] });
      const p = new Program(k, c, b, R, C);
      while (!c.over) p.statement(0);
      // Whatever is still of use is stored, so that nothing computed goes unseen.
      for (let i = 0; i < 3; i++) p.store();
    },
  });
}
