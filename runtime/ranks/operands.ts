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
