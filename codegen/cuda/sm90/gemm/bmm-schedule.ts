// How the einsums of absorbed attention run on sm_90a: units of one head's matrix that a warp holds in registers.

/** y[z, i, j] = sum over p of a[z, i, p] b[z, j, p]; strides of [z, i, p], [z, j, p] and [z, i, j] in elements; m varies at run time. */
export interface BmmProblem {
  batch: number;
  n: number;
  k: number;
  a: readonly [number, number, number];
  b: readonly [number, number, number];
  y: readonly [number, number, number];
  x: "bf16" | "f32";
  yType: "bf16" | "f32";
  /** y, rounded to its type, is not written but quantised: codes and a scale for every 128 columns of a head. */
  scale?: "f32" | "ue8m0";
}

export interface BmmSchedule {
  form: "nt" | "nn";
  /** Steps of 32 contracted columns, and 16-row tiles, of a warp's unit: their product is at most 16, or 24 in bf16 by columns. */
  steps: number;
  tiles: number;
  warps: number;
}

/** The largest unit that fits the registers, or why there is none. */
export function bmmSchedule(p: BmmProblem): BmmSchedule | string {
  if (p.k % 32 !== 0) return `${p.k} contracted columns are no multiple of 32`;
  if (p.a[2] !== 1 || p.y[2] !== 1) return "rows of x and y must be contiguous";
  const steps = p.k / 32;
  if (steps > 16) return `${p.k} contracted columns do not fit a warp's registers`;
  if ([p.a[0], p.a[1], p.b[0], p.y[0], p.y[1]].some((s) => s % 8 !== 0))
    return "a stride is no multiple of 8 elements, and words of 16 bytes are read";
  if (p.b[2] === 1 && p.b[1] % 8 === 0) {
    const tiles = [4, 2, 1].find((t) => t * steps <= 16 && p.n % (16 * t) === 0);
    if (!tiles) return `${p.n} rows are no multiple of 16`;
    if (p.scale && p.n % 128 !== 0) return `${p.n} columns of a head are no whole scale blocks`;
    return { form: "nt", steps, tiles, warps: p.scale ? 128 / (16 * tiles) : 4 };
  }
  if (p.scale) return "columns of w are contiguous, and that form has no end in codes";
  if (p.b[1] !== 1 || p.b[2] % 8 !== 0) return "w is contiguous along neither axis";
  // A unit of 192 rows takes 192 of the 255 registers there are, and leaves no room for rows in three parts.
  if (steps > (p.x === "bf16" ? 6 : 4)) return `${p.k} rows of 64 columns do not fit a warp's registers`;
  return p.n % 64 === 0 ? { form: "nn", steps, tiles: 4, warps: 4 } : `${p.n} columns are no multiple of 64`;
}
