// Codes of quantised rows that lie near the edge to another: a value that float64 puts within f32's rounding of the edge between two codes
// may become the other one.
import { e4m3Values } from "../../ir/numeric.ts";
import type { Tensor } from "../../ir/index.ts";

/** A code of a quantised row: of which call, of its how manieth quantisation, which element; the code beyond the edge, and how far off that is. */
export interface Turn {
  call: number;
  nth: number;
  at: number;
  code: number;
  off: number;
}

/** How near an edge, in codes of up to 448: ten units in the last place of f32 there, which sums that cancel are off by. */
const EDGE = 3e-4;

const values = [...new Set([...e4m3Values].filter((v) => Number.isFinite(v)))].toSorted((a, b) => a - b);
const place = new Map(values.map((v, i) => [v, i]));

/** Codes near an edge go to `near`; those to be turned are turned in place. */
export function turnCodes(call: number, nth: number, x: Tensor, given: Tensor, turns: readonly Turn[], near: Turn[]): void {
  const k = x.shape.at(-1)!;
  const blocks = Math.ceil(k / 128);
  for (let at = 0; at < x.data.length; at++) {
    const v = Math.abs(x.data[at]) / given.scales![Math.floor(at / k) * blocks + Math.floor((at % k) / 128)];
    const [code, sign] = [Math.abs(given.data[at]), x.data[at] < 0 ? -1 : 1];
    const other = values[place.get(code)! + (v > code ? 1 : -1)];
    if (other === undefined || other < 0) continue;
    const off = Math.abs(v - (code + other) / 2);
    if (off < EDGE) near.push({ call, nth, at, code: sign * other, off });
  }
  for (const t of turns) if (t.call === call && t.nth === nth) given.data[t.at] = t.code;
}
