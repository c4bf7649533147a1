// What a model needs of a machine's memory.

/** What has to fit, in bytes. */
export interface Fit {
  weights: number;
  cache: number;
  /** Rows between kernels; the larger of a prefill's and a decode step's. */
  arena: number;
  total: number;
  available: number;
  fits: boolean;
  /** Main layers of the model, and how many of the first fit. */
  layers: number;
  layers_that_fit: number;
  /** A weight of one layer that no memory of the target can hold, however large the machine is. */
  too_large?: { weight: string; bytes: number; most: number };
}
