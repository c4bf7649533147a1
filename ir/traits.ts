// Facts of an op that the interpreter, passes, the planner and reports ask for, in place of knowing its name.
import type { Attrs } from "./attr.ts";
import type { Dim, TensorType } from "./types.ts";

export interface Traits {
  /** Has no operands: a weight that the module declares, or a parameter of a function or region. */
  readonly leaf?: "weight" | "param";
  /** Runs another function of the module. */
  readonly call?: true;
  /** Costs no launch. "strides": the same elements, read otherwise. "load": where weights are put when they are loaded. */
  readonly view?: "strides" | "load";
  /**
   * Treats every row of its first operand alike, so that it commutes with cutting rows into sequences; or with which
   * attributes it does.
   */
  readonly rowwise?: true | ((attrs: Attrs) => boolean);
  /** What its region runs once for. */
  readonly region?: "sequences" | "experts";
  /** Operands of which a step reads a part: rows of tokens, last rows of sequences, matrices of chosen experts. */
  readonly reads?: Readonly<Record<string, "tokens" | "sequences" | "experts">>;
  /** Writes the new rows of its cache, and reads none. */
  readonly appends?: boolean;
  /** Letters of the signature that it sums over, or the sizes of such axes: of parts of one, it gives parts of a sum. */
  readonly sums?: string | ((types: readonly TensorType[], attrs: Attrs) => readonly Dim[]);
  /** Letters of the signature that are in no result, or whose every element it looks at together: such an axis is not divided. */
  readonly whole?: string;
  /** Linear in all its operands together: of parts of sums, it gives parts of a sum. */
  readonly linear?: true;
  /**
   * "exchange": ranks send each other what they have. "own": every rank computes it alone, and it depends on the rank. See
   * ir/ops/collective.ts.
   */
  readonly meets?: "exchange" | "own";
}
