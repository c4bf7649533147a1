// What a meeting of ranks reads and writes on each of them.
import type { CollectiveStep } from "../../ir/artifact.ts";

export interface MeetingOperand {
  elements: number;
  dtype: "f32" | "bf16" | "i32";
  written: boolean;
}

/** Operands, then results, of a step whose operand is `outer` runs of `inner` elements on each of `n` ranks. */
export function operandsOf(s: Pick<CollectiveStep, "op" | "dtype">, outer: number, inner: number, n: number): MeetingOperand[] {
  const of = (elements: number, written: boolean, dtype = s.dtype): MeetingOperand => ({ elements, dtype, written });
  const part = outer * inner;
  switch (s.op) {
    case "all_reduce":
    case "once":
      return [of(part, false), of(part, true)];
    case "all_gather":
      return [of(part, false), of(n * part, true)];
    case "reduce_scatter":
      return [of(n * part, false), of(part, true)];
    case "pick_max":
      return [of(part, false), of(outer, true, "i32")];
    case "own_experts":
      return [of(part, false, "i32"), of(part, false, "f32"), of(part, true, "i32"), of(part, true, "f32")];
  }
}

/** Whether each rank makes its result from its own operand: nothing is carried. */
export const isAlone = ({ op }: Pick<CollectiveStep, "op">): boolean => op === "once" || op === "own_experts";

const bytesOf = ({ elements, dtype }: MeetingOperand): number => elements * (dtype === "bf16" ? 2 : 4);

/** Operands, or results, that lie one behind the other in `bytes`. */
export function viewsOf(all: readonly MeetingOperand[], written: boolean, bytes: Uint8Array): Uint8Array[] {
  let at = 0;
  return all.flatMap((o) => (o.written === written ? [bytes.subarray(at, (at += bytesOf(o)))] : []));
}

/** Memory for them. */
export const roomFor = (all: readonly MeetingOperand[], written: boolean): Uint8Array =>
  new Uint8Array(all.reduce((n, o) => (o.written === written ? n + bytesOf(o) : n), 0));
