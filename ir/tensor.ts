// Values of the interpreter: tensors in float64, and the sequences of a step.
import type { DType } from "./dtype.ts";

/** A concrete tensor: row-major float64 data. Scaled dtypes hold code values in `data` and multipliers in `scales`. */
export interface Tensor {
  shape: number[];
  dtype: DType;
  data: Float64Array;
  scales?: Float64Array;
  /** Set on cache values, whose shape is the width of a row: this layer's rows of every sequence. */
  rows?: Float64Array[];
}

/** The sequences of a step. `lengths` counts cached rows including the new ones; `starts` has B + 1 entries. */
export interface Batch {
  starts: number[];
  lengths: number[];
  ids: number[];
}
