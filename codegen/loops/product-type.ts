// What a product of two tiles is: the sides, and where sums lie.
import { constantOf, f32, int, plus, times, type Expr, type Memory } from "./ir.ts";

/** A multiplier per 128 columns: the f32 scale of a row in a block of columns. */
export type ScaleOf = (row: Expr, block: Expr) => Expr;

/** Rows that lie in memory, contiguous along the columns. */
export interface Lying {
  memory: Memory;
  /** The element that a row begins with. */
  at: (row: Expr) => Expr;
}

export interface Product {
  /** Largest and actual rows of a and b in this tile. */
  tile: { m: number; n: number };
  m: Expr;
  n: Expr;
  /** Columns: a number known when compiling. */
  k: number;
  a: {
    /** `count` columns from c on, as f32. */
    lanes(row: Expr, c: Expr, count: number): Expr;
    /** Where it lies, if it does so as f32. */
    lying?: Lying | undefined;
    scale?: ScaleOf | undefined;
  };
  b: Lying & { scale?: ScaleOf | undefined };
  /** The sums of row i of a begin at i * stride. */
  sums: { memory: Memory; stride: number };
  /** Both sides are f32 and lie so that reading them where they are is as good as packing them. */
  inPlace?: boolean;
  /** Add to the sums that are there. */
  add: boolean;
}

export const loadOf = ({ memory }: { memory: Memory }, at: Expr, lanes: number): Expr => ({
  kind: "load",
  from: memory,
  at,
  type: f32(lanes),
});

export const zero = (lanes: number): Expr => constantOf(0, f32(lanes));
export const sumAt = ({ sums }: Product, i: Expr, j: Expr): Expr => plus(times(i, int(sums.stride)), j);
