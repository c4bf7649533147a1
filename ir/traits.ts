// Facts of an op that the interpreter, passes, the planner and reports ask for, in place of knowing its name.
import type { Attrs } from "./attr.ts";

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
}
