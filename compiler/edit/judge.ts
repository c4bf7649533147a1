// How far the results of a kernel are from what they should be, and how far they may be: an error is measured against its row
// of the result, and what the kernel as it was compiled is off by, another order of sums may be off by too.
import { Elements } from "./layout.ts";
import type { Result, Trial, TrialBuffer } from "./trial.ts";

/** An element that is too far off. */
export interface WrongElement {
  result: string;
  index: string;
  value: number;
  expected: number;
  limit: number;
  /** Elements of the result that are too far off, and all of them. */
  wrong: number;
  of: number;
}

/** One result of a trial. */
export interface ResultError {
  result: string;
  /** What error and limit are: of a row's largest element, of codes that are one step off, of each scale, of whole numbers. */
  measure: "of its row's largest" | "of the codes one step off" | "of itself" | "elements that differ";
  error: number;
  limit: number;
  /** The same of the kernel as it was compiled. */
  original: number;
  wrong?: WrongElement;
}

/** Rounding of sums in f32, of a result in bf16, and of codes between operands and results. */
const RELATIVE = { f32: 2e-5, bf16: 2 ** -7, codes: 5e-2 } as const;
/** Large numbers make more of an error on its way: scores of hundreds in an exponent. */
const HARD = 20;
/** Codes that another order of sums rounds the other way. */
const CODES = 0.01;
const SCALES = 1e-5;
/** What a second kernel may be off by beside a first. */
const OTHERS = 4;

/**
 * Every result of a trial, as a kernel left it (`after`) and as the kernel it was made from did (`before`); without the latter
 * nothing is excused.
 */
export function judge(trial: Trial, after: readonly Uint8Array[], before?: readonly Uint8Array[]): ResultError[] {
  return trial.buffers.flatMap((b, i) => (b.result ? [judged(trial, b, b.result, after[i], before?.[i])] : []));
}

interface Numbers {
  count: number;
  got: (i: number) => number;
  was: (i: number) => number;
  want: (i: number) => number;
}

function judged(trial: Trial, b: TrialBuffer, r: Result, after: Uint8Array, before: Uint8Array | undefined): ResultError {
  const [got, was] = [after, before ?? after].map((bytes) => new Elements(bytes, b.dtype));
  const { layout, want } = r;
  const original = (i: number): number => was.get(layout.place(i));
  const expected = want ? (i: number): number => want[i] : original;
  const n: Numbers = {
    count: layout.count,
    got: (i) => got.get(layout.place(i)),
    was: before ? original : expected,
    want: expected,
  };
  if (r.kind === "codes") return codes(r, n);
  if (r.kind === "scales") return numbers(r, n, 1, SCALES, "of itself");
  if (r.kind === "whole") return whole(r, n);
  const relative = trial.rounds
    ? RELATIVE.codes
    : b.dtype === "bf16"
      ? RELATIVE.bf16
      : RELATIVE.f32 * (trial.filling === "hard" ? HARD : 1);
  return numbers(r, n, layout.shape.at(-1) ?? 1, relative, "of its row's largest");
}

const same = (a: number, b: number): boolean => a === b || (Number.isNaN(a) && Number.isNaN(b));
const apart = (a: number, b: number): number => (same(a, b) ? 0 : Number.isFinite(a - b) ? Math.abs(a - b) : Infinity);

function numbers(r: Result, n: Numbers, width: number, relative: number, measure: ResultError["measure"]): ResultError {
  const out: ResultError = { result: r.name, measure, error: 0, limit: relative, original: 0 };
  let wrong = 0;
  let most = -1;
  for (let from = 0; from < n.count; from += width) {
    const to = Math.min(n.count, from + width);
    let [large, own] = [0, 0];
    for (let i = from; i < to; i++) {
      if (Number.isFinite(n.want(i))) large = Math.max(large, Math.abs(n.want(i)));
      own = Math.max(own, apart(n.was(i), n.want(i)));
    }
    large = Math.max(large, 1e-30);
    const bound = Math.max(relative * large, Number.isFinite(own) ? OTHERS * own : 0);
    out.original = Math.max(out.original, own / large);
    for (let i = from; i < to; i++) {
      const off = apart(n.got(i), n.want(i));
      if (off / bound > most) [most, out.error, out.limit] = [off / bound, off / large, bound / large];
      if (off <= bound || same(n.got(i), n.was(i))) continue;
      wrong++;
      out.wrong ??= {
        result: r.name,
        index: r.layout.index(i),
        value: n.got(i),
        expected: n.want(i),
        limit: bound,
        wrong,
        of: n.count,
      };
    }
  }
  if (out.wrong) out.wrong.wrong = wrong;
  return out;
}

/** One step of e4m3 at a value. */
const stepOf = (x: number): number => Math.max(2 ** -9, 2 ** (Math.floor(Math.log2(Math.abs(x) || 2 ** -9)) - 3));

function codes(r: Result, n: Numbers): ResultError {
  let [other, own] = [0, 0];
  let first: WrongElement | undefined;
  let far = 0;
  for (let i = 0; i < n.count; i++) {
    const [got, want] = [n.got(i), n.want(i)];
    if (!same(n.was(i), want)) own++;
    if (same(got, want)) continue;
    other++;
    const step = stepOf(Math.max(Math.abs(got), Math.abs(want)));
    if (apart(got, want) <= step || same(got, n.was(i))) continue;
    far++;
    first ??= { result: r.name, index: r.layout.index(i), value: got, expected: want, limit: step, wrong: 0, of: n.count };
  }
  const limit = Math.max(2, CODES * n.count, OTHERS * own) / Math.max(1, n.count);
  const out: ResultError = {
    result: r.name,
    measure: "of the codes one step off",
    error: other / Math.max(1, n.count),
    limit,
    original: own / Math.max(1, n.count),
  };
  if (!first && out.error > limit) {
    far = other;
    first = firstOther(r, n);
  }
  return first ? { ...out, wrong: { ...first, wrong: far } } : out;
}

function firstOther(r: Result, n: Numbers): WrongElement {
  let i = 0;
  while (same(n.got(i), n.want(i))) i++;
  return { result: r.name, index: r.layout.index(i), value: n.got(i), expected: n.want(i), limit: 0, wrong: 0, of: n.count };
}

/** Whole numbers are equal; where two are as good, the kernel as it was compiled has the other. */
function whole(r: Result, n: Numbers): ResultError {
  const out: ResultError = { result: r.name, measure: "elements that differ", error: 0, limit: 0, original: 0 };
  for (let i = 0; i < n.count; i++) {
    if (!same(n.was(i), n.want(i))) out.original++;
    if (same(n.got(i), n.want(i)) || same(n.got(i), n.was(i))) continue;
    out.error++;
    out.wrong ??= {
      result: r.name,
      index: r.layout.index(i),
      value: n.got(i),
      expected: n.want(i),
      limit: 0,
      wrong: 0,
      of: n.count,
    };
  }
  if (out.wrong) out.wrong.wrong = out.error;
  return out;
}
