// What a family's cases are made of: an op's own reference as the judge, and the odd sizes that edges hide in.
import { tensorOf, type Tensor } from "../../../ir/interpret.ts";
import type { AttrValue } from "../../../ir/attr.ts";
import { keyOf } from "../../../ir/op.ts";
import { opByName } from "../../../ir/ops/index.ts";
import type { Run } from "../run-wasm.ts";

/** Checks of one family, by what they show. Each gets the family's runner and must use it. */
export type Cases = Record<string, Record<string, (run: Run) => void>>;

/** Sequences of a step: new rows and cached rows (new ones included) of each. */
export interface Sequences {
  starts: number[];
  lengths: number[];
}

/** Absolute position and sequence of every packed row. */
export function rowsOf({ starts, lengths }: Sequences): { positions: number[]; sequence: number[] } {
  const of = <T>(f: (b: number, i: number, t: number) => T): T[] =>
    lengths.flatMap((_, b) => Array.from({ length: starts[b + 1] - starts[b] }, (__, i) => f(b, i, starts[b + 1] - starts[b])));
  return { positions: of((b, i, t) => lengths[b] - t + i), sequence: of((b) => b) };
}

/** An op's reference in float64; one result as "out". */
export function refer(
  op: string,
  ins: Record<string, Tensor>,
  attrs: Record<string, AttrValue> = {},
  batch: Sequences = { starts: [0], lengths: [] },
): Record<string, Tensor> {
  const env = { mode: "real" as const, batch: { ...batch, ids: [] }, positions: rowsOf(batch).positions, run: () => [] };
  const { ins: keys, outs, reference, attrs: kinds } = opByName.get(op)!;
  const defaults = Object.fromEntries(
    Object.entries(kinds).flatMap(([k, { initial }]) => (initial === undefined ? [] : [[k, initial]])),
  );
  // The batch table is no tensor: what an op asks of it is in `env`.
  const given = keys.flatMap((k) => ins[keyOf(k)] ?? (k === "batch" ? tensorOf([], []) : []));
  const out = reference!(given, { ...defaults, ...attrs }, env);
  return Object.fromEntries(outs.map((k, i) => [k, out[i]]));
}

export const tensor = (shape: number[], data: ArrayLike<number>): Tensor => tensorOf(shape, data);
export const rows1x128 = (shape: number[], data: ArrayLike<number>, scales: ArrayLike<number>): Tensor =>
  tensorOf(shape, data, "e4m3/1x128", scales);
export const blocks128 = (shape: number[], data: ArrayLike<number>, scales: ArrayLike<number>): Tensor =>
  tensorOf(shape, data, "e4m3/128x128", scales);
export const magnitudes = (t: Tensor): Tensor => ({
  ...t,
  data: t.data.map(Math.abs),
  ...(t.scales ? { scales: t.scales.map(Math.abs) } : {}),
});

/** Widths around the steps of 4, 8, 32, 128 and 512. */
export const WIDTHS = [1, 3, 7, 8, 33, 128, 130, 200, 513];
/** Rows around tiles of 4 and 32; none at all, too. */
export const ROWS = [0, 1, 2, 3, 5, 31, 33, 70];

export const blocksOf = (n: number): number => Math.ceil(n / 128);
export const count = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
