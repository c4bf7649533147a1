// Functions timed in turn, so that what disturbs one disturbs all.

/** How long functions run before they are timed, and how long one is timed at least in a round. */
const WARM_MS = 60;
const ROUND_US = 200;

/** Microseconds of each of `count` functions in each round; `run` runs the i-th once. */
export function timedInTurn(count: number, run: (i: number) => void, rounds: number): number[][] {
  const all = Array.from({ length: count }, (_, i) => i);
  const once = (i: number): number => {
    const from = performance.now();
    run(i);
    return (performance.now() - from) * 1000;
  };
  // The compiler's second tier replaces a function between two launches.
  const from = performance.now();
  for (let warm = 0; warm < 3 || performance.now() - from < WARM_MS; warm++) all.forEach(once);
  const shortest = Math.min(...all.map(once));
  const repeat = Math.max(1, Math.min(2000, Math.ceil(ROUND_US / Math.max(shortest, 0.05))));
  return Array.from({ length: rounds }, (_, round) => {
    const out: number[] = [];
    for (const i of round % 2 ? all.toReversed() : all)
      out[i] = Array.from({ length: repeat }, () => once(i)).reduce((a, b) => a + b, 0) / repeat;
    return out;
  });
}
