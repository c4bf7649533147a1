// Whether turned codes explain an answer in f32: a value that float64 puts within f32's rounding of the edge between two codes may become
// the other one. Call by call, the one such code is turned that brings the reference nearest to the answer, until the call is as close as
// sums in another order are. An answer for which no such code does that stays unexplained.
import { e4m3Values } from "../../ir/numeric.ts";
import type { Module, Tensor } from "../../ir/index.ts";
import type { ModelSpec } from "../../compiler/frontend/spec.ts";
import type { Raw } from "../interpreted.ts";
import { play, type CallAnswer, type CallRows, type Played } from "./family-reference.ts";

/** A code of a quantised row: of which call, of its how manieth quantisation, which element; the code beyond the edge, and how far off that is. */
export interface Turn {
  call: number;
  nth: number;
  at: number;
  code: number;
  off: number;
}

/** How near an edge, in codes of up to 448: some units in the last place of a row's sums. */
const EDGE = 1e-4;
/** Codes tried for one step, the nearest to their edges first; codes that one call may have turned. */
const MOST_TRIED = 64;
const MOST_TURNED = 8;

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

/** The reference with the codes turned that bring it to the answers, all within `limit`; undefined where there are none. */
export function withTurnedCodes(module: Module, spec: ModelSpec, raw: Raw, calls: readonly CallRows[], answers: readonly CallAnswer[], limit: number): { played: Played; turns: readonly Turn[] } | undefined {
  let turns: Turn[] = [];
  const upTo = (i: number, with_: readonly Turn[]): { played: Played; apart: number; rms: number } => {
    const played = play(module, spec, raw, calls.slice(0, i + 1), answers, "real", with_);
    const [got, want] = [answers[i].logits, played.logits[i]];
    const off = Array.from(want, (w, j) => Math.abs(got[j] - w));
    return { played, apart: off.reduce((a, b) => Math.max(a, b), 0), rms: Math.hypot(...off) };
  };
  for (const i of calls.keys()) {
    let now = upTo(i, turns);
    for (let step = 0; !(now.apart < limit); step++) {
      const near = now.played.near.filter((t) => t.call === i && !turns.some((o) => o.call === i && o.nth === t.nth && o.at === t.at)).toSorted((a, b) => a.off - b.off);
      let best: { turn: Turn; got: typeof now } | undefined;
      for (const turn of near.slice(0, MOST_TRIED)) {
        const got = upTo(i, [...turns, turn]);
        if (!best || got.rms < best.got.rms) best = { turn, got };
        if (got.apart < limit) break;
      }
      if (!best || !(best.got.rms < 0.7 * now.rms) || step === MOST_TURNED) return undefined;
      turns = [...turns, best.turn];
      now = best.got;
    }
  }
  return { played: upTo(calls.length - 1, turns).played, turns };
}
