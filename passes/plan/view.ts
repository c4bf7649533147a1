// Where a value lies: a buffer, an offset and strides. Views (reshape, split, weight slices) cost nothing when strides
// can say them; when they cannot, the planner copies.
import type { Ref } from "../../ir/artifact.ts";
import { mul, sizeOfDim, type Size } from "../../ir/size.ts";
import { fixed, partsOf, type Dim } from "../../ir/types.ts";

/** A buffer of a plan before memory is assigned. */
export interface Buffer {
  /** Arena buffers get a slot later; the others are addressed by what they are. */
  place: { arena: true } | Exclude<Ref, { slot: number }>;
  dtype: "f32" | "bf16" | "i32" | "e4m3";
  /** Extents, symbolic. */
  shape: readonly Size[];
  /** The value that it holds, as the ledger calls it (passes/site.ts); of scratch, what its choice calls it. */
  name?: string;
}

/** Part of a buffer. Strides and offset are in elements. */
export interface Slice {
  buffer: Buffer;
  scales?: Buffer;
  scaled?: "1x128" | "128x128";
  offset: number;
  dims: readonly Dim[];
  strides: readonly Size[];
  /** Inside a region over rows: the first axis is this slice's rows of the whole. */
  rows?: boolean;
  /** Inside a region over experts: this expert's part of a stack, in elements of data and scales. */
  expert?: { data: number; scales: number };
}

/** Row-major strides. */
export function contiguous(dims: readonly Dim[]): Size[] {
  const out: Size[] = [];
  let n: Size = 1;
  for (let i = dims.length - 1; i >= 0; i--) {
    out[i] = n;
    n = mul(sizeOfDim(dims[i]), n);
  }
  return out;
}

const same = (a: Size, b: Size): boolean => JSON.stringify(a) === JSON.stringify(b);

/** Strides of the same elements under other axes, or null when they would have to move. */
export function reshaped(dims: readonly Dim[], strides: readonly Size[], to: readonly Dim[]): Size[] | null {
  const out: Size[] = [];
  let i = 0;
  let j = 0;
  while (i < dims.length || j < to.length) {
    // Take axes of both until their products meet.
    let a: Dim = dims[i++] ?? 1;
    let b: Dim = to[j++] ?? 1;
    const from = [{ d: a, s: strides[i - 1] ?? 1 }];
    const made = [b];
    while (a !== b) {
      const [pa, pb] = [partsOf(a), partsOf(b)];
      if (pa.symbol === pb.symbol ? pa.times < pb.times : pa.symbol === "") {
        if (i >= dims.length) return null;
        from.push({ d: dims[i], s: strides[i] });
        a = merge(a, dims[i++]);
      } else {
        if (j >= to.length) return null;
        made.push(to[j]);
        b = merge(b, to[j++]);
      }
    }
    for (let k = 0; k + 1 < from.length; k++) {
      const { d, s } = from[k + 1];
      if (typeof d !== "number" || !same(from[k].s, mul(s, d))) return null;
    }
    let s = from.at(-1)!.s;
    const part: Size[] = [];
    for (let k = made.length - 1; k >= 0; k--) {
      part[k] = s;
      if (k > 0) s = mul(s, fixed(made[k]));
    }
    out.push(...part);
  }
  return out;
}

function merge(a: Dim, b: Dim): Dim {
  const [pa, pb] = [partsOf(a), partsOf(b)];
  const symbol = pa.symbol || pb.symbol;
  const n = pa.times * pb.times;
  return symbol === "" ? n : n === 1 ? symbol : `${n}${symbol}`;
}
