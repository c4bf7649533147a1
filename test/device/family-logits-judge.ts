// Whether logits are those of a reference in f32, row by row. bf16 may turn a route where two router logits lie closer than its rounding
// moves them, and all of that row is another's then: so a row is held to the limit unless its margin is so small, and of rows
// with small margins only some may lie far. An id that is not the reference's is right where the reference's two logits lie
// within twice what the row is off by, and the row is right.
import type { Row } from "./device.ts";

export interface Answer {
  /** What made it. */
  by: string;
  /** Which row of the reference it answers. */
  row: number;
  logits: Float32Array;
  id: number;
}

export interface Reference {
  vocab: number;
  /** Logits [rows, vocab] of the reference in f32, and of its own bf16. */
  f32: Float32Array;
  bf16: Float32Array;
  /** How far router logits must move, row by row, before another expert is chosen. */
  margin: readonly number[];
}

/** The farthest a logit may lie, as in the models part; in bf16 also TIMES as far as the reference's own bf16 does in such rows. */
const TIMES = 1.5;
const LIMITS = { f32: 2e-3, bf16: 0.1, none: Infinity } as const;
/** Margins that rounding may cross: router logits of these models have a deviation of 0.8, and bf16 moves them by about a hundredth. */
const AT_RISK = { f32: 1e-4, bf16: 0.05, none: Infinity } as const;
/** The share of the rows at risk that may lie far. */
const FAR = 0.6;

export function judged(answers: readonly Answer[], want: Reference, limit: keyof typeof LIMITS): Row {
  const off = answers.map((a) => distance(a, want));
  const risk = answers.map((a) => want.margin[a.row] < AT_RISK[limit]);
  const safe = off.filter((_, i) => !risk[i]);
  const own =
    limit === "bf16" ? most(theirs(want).flatMap((a) => (want.margin[a.row] < AT_RISK.bf16 ? [] : distance(a, want)))) : 0;
  const far = off.map((d) => !(d.most < Math.max(LIMITS[limit], TIMES * own)));
  const other = answers.flatMap((a, i) => {
    const row = rowOf(want, a.row);
    const best = row.reduce((m, v, j) => (v > row[m] ? j : m), 0);
    return a.id === best ? [] : [{ gap: row[best] - row[a.id], allowed: 2 * off[i].most, right: risk[i] || !far[i] }];
  });
  const unexplained = other.filter((o) => !(o.right && o.gap <= o.allowed));
  const wrong = far.filter((f, i) => f && !risk[i]).length;
  const turned = far.filter((f, i) => f && risk[i]).length;
  const atRisk = risk.filter(Boolean).length;
  return {
    rows: answers.length,
    apart: most(off),
    apart_where_no_route_can_turn: most(safe),
    ...(own ? { their_bf16_there: own } : {}),
    relative_median: off.map((d) => d.relative).toSorted((a, b) => a - b)[off.length >> 1],
    at_risk: atRisk,
    far_at_risk: turned,
    far_otherwise: wrong,
    ids_equal: answers.length - other.length,
    other_ids_gap: other.reduce((m, o) => Math.max(m, o.gap), 0),
    unexplained_ids: unexplained.length,
    ok:
      wrong === 0 && unexplained.length === 0 && off.every((d) => Number.isFinite(d.most)) && turned <= Math.max(2, FAR * atRisk),
  };
}

const most = (list: readonly { most: number }[]): number => list.reduce((m, d) => Math.max(m, d.most), 0);

/** The reference's own bf16, as if it were an answer. */
export function theirs({ bf16, vocab }: Reference): Answer[] {
  return Array.from({ length: bf16.length / vocab }, (_, row) => {
    const logits = bf16.subarray(row * vocab, (row + 1) * vocab);
    return { by: "reference", row, logits, id: logits.reduce((best, v, i) => (v > logits[best] ? i : best), 0) };
  });
}

const rowOf = ({ f32, vocab }: Reference, row: number): Float32Array => f32.subarray(row * vocab, (row + 1) * vocab);

/** The farthest logit, and the root mean square beside that of the row; a number that is none is infinitely far. */
function distance({ logits, row }: Answer, want: Reference): { most: number; relative: number } {
  const exact = rowOf(want, row);
  if (logits.length !== exact.length) return { most: Infinity, relative: Infinity };
  let [most, squares, norm] = [0, 0, 0];
  for (let i = 0; i < exact.length; i++) {
    const d = Number.isFinite(logits[i]) ? Math.abs(logits[i] - exact[i]) : Infinity;
    most = Math.max(most, d);
    squares += d * d;
    norm += exact[i] * exact[i];
  }
  return { most, relative: Math.sqrt(squares / norm) };
}
