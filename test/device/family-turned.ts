// Whether codes turned at their edges (family-codes.ts) explain an answer in f32. Call by call, the one such code is turned that brings
// the reference nearest to the answer, until the call is as close as sums in another order are. An answer for which no such code does
// that stays unexplained. Codes that turned together hide each other's effect, so a step need not bring the reference much nearer: what
// counts is that codes at their edges, and few of them, bring it all the way.
import type { Module } from "../../ir/index.ts";
import type { ModelSpec } from "../../compiler/frontend/spec.ts";
import type { Raw } from "../interpreted.ts";
import type { Turn } from "./family-codes.ts";
import { play, type CallAnswer, type CallRows, type Played } from "./family-reference.ts";

/** Codes tried for one step, the nearest to their edges first; codes that one call may have turned. */
const MOST_TRIED = 64;
const MOST_TURNED = 8;

/** The reference with the codes turned that bring it to the answers, all within `limit`; undefined where there are none. */
export function withTurnedCodes(
  module: Module,
  spec: ModelSpec,
  raw: Raw,
  calls: readonly CallRows[],
  answers: readonly CallAnswer[],
  limit: number,
): { played: Played; turns: readonly Turn[] } | undefined {
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
      const near = now.played.near
        .filter((t) => t.call === i && !turns.some((o) => o.call === i && o.nth === t.nth && o.at === t.at))
        .toSorted((a, b) => a.off - b.off);
      let best: { turn: Turn; got: typeof now } | undefined;
      for (const turn of near.slice(0, MOST_TRIED)) {
        const got = upTo(i, [...turns, turn]);
        if (!best || got.rms < best.got.rms) best = { turn, got };
        if (got.apart < limit) break;
      }
      if (!best || !(best.got.rms < 0.97 * now.rms) || step === MOST_TURNED) return undefined;
      turns = [...turns, best.turn];
      now = best.got;
    }
  }
  return { played: upTo(calls.length - 1, turns).played, turns };
}
