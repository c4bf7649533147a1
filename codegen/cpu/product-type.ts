// What a product of two tiles is: the sides, where packed rows and sums lie.
import type { Stored } from "./dot.ts";
import { i32, plus, times, type Expr } from "./wasm.ts";

/** A multiplier per 128 columns: the f32 scale of a row in a block of columns. */
export type ScaleOf = (row: Expr, block: Expr) => Expr;

export interface Product {
  /** Largest and actual rows of a and b in this tile. */
  tile: { m: number; n: number };
  m: Expr;
  n: Expr;
  /** Columns: a number known when compiling. */
  k: number;
  a: {
    /** Eight consecutive columns, c a multiple of 8, as two f32 vectors. */
    eight(row: Expr, c: Expr): [Expr, Expr];
    one(row: Expr, c: Expr): Expr;
    /** Address of a row already f32 and contiguous: packing is left out where b is f32 too. */
    direct?: (row: Expr) => Expr;
    scale?: ScaleOf;
  };
  b: { dtype: Stored; address(row: Expr): Expr; scale?: ScaleOf };
  /** Address of scratch for packed rows: packBytes. */
  packed: Expr;
  /** Both sides are f32 and lie so that reading them where they are is as good as packing them. */
  inPlace?: boolean;
  /** Address of the [tile.m, tile.n] f32 sums. */
  sums: Expr;
  /** Add to the sums that are there. */
  add?: boolean;
}

/** Address of the sum of row i of a and row j of b. */
export const sumAt = (p: Product, i: Expr, j: Expr): Expr => plus(p.sums, times(plus(times(i, i32(p.tile.n)), j), i32(4)));
