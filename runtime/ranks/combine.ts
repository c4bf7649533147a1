// What every rank has after a meeting, computed from the operands of all: the arithmetic of ir/ops/collective.ts in f32, sums in rank
// order, so that all ranks get the same bits. Used by transports whose ranks' memory the host can see, or whose operands it carries.
import type { CollectiveStep } from "../../ir/artifact.ts";
import { operandsOf } from "./operands.ts";

/** Operands or results of one rank, in the order of the step, as bytes. */
export type Buffers = readonly Uint8Array[];

export interface MeetingShape {
  step: Pick<CollectiveStep, "op" | "dtype" | "experts" | "width">;
  outer: number;
  inner: number;
}

const f32 = (b: Uint8Array, n: number): Float32Array => new Float32Array(b.buffer, b.byteOffset, n);
const i32 = (b: Uint8Array, n: number): Int32Array => new Int32Array(b.buffer, b.byteOffset, n);
const words = (b: Uint8Array, n: number): Uint16Array => new Uint16Array(b.buffer, b.byteOffset, n);
const bf16In = new Float32Array(1);
const bf16Bits = new Uint32Array(bf16In.buffer);

/** bf16 to f32. */
function widened(v: number): number {
  bf16Bits[0] = v << 16;
  return bf16In[0];
}

/** f32 to bf16, to nearest even. */
function narrowed(v: number): number {
  bf16In[0] = v;
  const bits = bf16Bits[0];
  return Number.isNaN(v) ? 0x7fc0 : (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** Writes the results of rank `rank`. `all[r]` are the operands of rank r; of own_experts and once only its own are looked at. */
export function combine(m: MeetingShape, rank: number, all: readonly Buffers[], results: Buffers): void {
  const { step, outer, inner } = m;
  const n = all.length;
  switch (step.op) {
    case "all_reduce":
      return sum(
        step.dtype,
        all.map(([x]) => x),
        results[0],
        outer * inner,
        0,
      );
    case "reduce_scatter":
      return scatter(m, rank, all, results[0]);
    case "all_gather":
      return gather(
        step.dtype === "bf16" ? 2 : 4,
        all.map(([x]) => x),
        results[0],
        outer,
        inner,
      );
    case "once":
      return void (rank === 0
        ? results[0].set(all[0][0].subarray(0, results[0].length))
        : results[0].fill(0, 0, outer * inner * (step.dtype === "bf16" ? 2 : 4)));
    case "pick_max":
      return pick(
        all.map(([x]) => f32(x, outer * inner)),
        i32(results[0], outer),
        outer,
        inner,
      );
    case "own_experts":
      return own(m, rank, all[rank], results, n);
  }
}

/** results = the sum of elements [from, from + count) of every rank, in rank order, in f32. */
function sum(dtype: string, of: readonly Uint8Array[], to: Uint8Array, count: number, from: number): void {
  if (dtype === "bf16") {
    const all = of.map((b) => words(b, from + count));
    const out = words(to, count);
    for (let i = 0; i < count; i++) {
      let total = widened(all[0][from + i]);
      for (let r = 1; r < all.length; r++) total = Math.fround(total + widened(all[r][from + i]));
      out[i] = narrowed(total);
    }
    return;
  }
  const all = of.map((b) => f32(b, from + count));
  const out = f32(to, count);
  out.set(all[0].subarray(from, from + count));
  for (const x of all.slice(1)) for (let i = 0; i < count; i++) out[i] += x[from + i];
}

function scatter({ step, outer, inner }: MeetingShape, rank: number, all: readonly Buffers[], to: Uint8Array): void {
  const bytes = step.dtype === "bf16" ? 2 : 4;
  for (let o = 0; o < outer; o++)
    sum(
      step.dtype,
      all.map(([x]) => x),
      to.subarray(o * inner * bytes, (o + 1) * inner * bytes),
      inner,
      (o * all.length + rank) * inner,
    );
}

function gather(bytes: number, of: readonly Uint8Array[], to: Uint8Array, outer: number, inner: number): void {
  const run = inner * bytes;
  for (let o = 0; o < outer; o++)
    for (const [r, x] of of.entries()) to.set(x.subarray(o * run, (o + 1) * run), (o * of.length + r) * run);
}

/** Column of the first maximum of rows whose columns the ranks divide; -1 - column of the first value that is no number. */
function pick(of: readonly Float32Array[], to: Int32Array, outer: number, inner: number): void {
  for (let o = 0; o < outer; o++) {
    let [best, at, bad] = [-Infinity, 0, -1];
    for (const [r, x] of of.entries())
      for (let i = 0; i < inner; i++) {
        const v = x[o * inner + i];
        if (!Number.isFinite(v)) {
          if (bad < 0) bad = r * inner + i;
        } else if (v > best) [best, at] = [v, r * inner + i];
      }
    to[o] = bad < 0 ? at : -1 - bad;
  }
}

function own({ step, outer, inner }: MeetingShape, rank: number, operands: Buffers, results: Buffers, n: number): void {
  const sizes = operandsOf(step, outer, inner, n);
  const [indices, weights] = [i32(operands[0], sizes[0].elements), f32(operands[1], sizes[1].elements)];
  const [ids, by] = [i32(results[0], sizes[2].elements), f32(results[1], sizes[3].elements)];
  const experts = step.experts!;
  const first = Math.floor(rank / step.width!) * experts;
  for (let i = 0; i < ids.length; i++) {
    const mine = indices[i] >= first && indices[i] < first + experts;
    ids[i] = mine ? indices[i] - first : indices[i] % experts;
    by[i] = mine ? weights[i] : 0;
  }
}
