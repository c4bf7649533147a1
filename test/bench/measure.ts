// Timing side by side: what is compared takes turns, so that a slow moment of the machine falls on all, and what is reported is
// the median over the rounds of a ratio within a round.

/** Milliseconds of an await. */
export async function time(work: () => unknown): Promise<number> {
  const from = performance.now();
  await work();
  return performance.now() - from;
}

export function median(list: readonly number[]): number {
  const s = list.toSorted((a, b) => a - b);
  const half = s.length >> 1;
  return s.length % 2 ? s[half] : (s[half - 1] + s[half]) / 2;
}

/** Rates of several works, a list per work; each gives its own rate, and all of a round run one after the other. */
export async function turns<K extends string>(
  rounds: number,
  works: Record<K, () => Promise<number>>,
): Promise<Record<K, number[]>> {
  const names = Object.keys(works) as K[];
  const out = Object.fromEntries(names.map((n) => [n, [] as number[]])) as Record<K, number[]>;
  for (const n of names) await works[n]();
  for (let r = 0; r < rounds; r++) for (const n of names) out[n].push(await works[n]());
  return out;
}

/** Median over the rounds of one rate over another. */
export const ratio = (rates: readonly number[], over: readonly number[]): number => median(rates.map((x, i) => x / over[i]));
