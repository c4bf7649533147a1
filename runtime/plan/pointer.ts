// Addresses of a plan: what a step's reference stands for in one call.
import type { BatchTable } from "./dims.ts";

/** Byte addresses of what a call touches outside its arena. */
export interface Places {
  weight(symbol: string, part: "data" | "scales", layer: number | undefined): number;
  cache(name: string, layer: number | undefined): number;
  batch(table: BatchTable): number;
}

/** What a pointer points into: where it begins, and of a value where it ends. */
export interface Operand {
  kind: "weight" | "cache" | "value";
  from: number;
  to: number;
}

/** A byte address, and in a loop over experts that is walked once the bytes it moves by a row and by an expert. */
export interface Pointer extends Operand {
  at: number;
  row: number;
  expert: number;
}

/** The address of a value. */
export const value = (from: number, bytes: number): Pointer => ({
  kind: "value",
  from,
  to: from + bytes,
  at: from,
  row: 0,
  expert: 0,
});

/** Another address of what a pointer points into. */
export const pointer = ({ kind, from, to }: Operand, at: number, row: number, expert: number): Pointer => ({
  kind,
  from,
  to,
  at,
  row,
  expert,
});
