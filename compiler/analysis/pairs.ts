// What two lists have in common, in order: the base of every comparison of texts.

/** Equal items of two lists, in order, as pairs of their indices: as many as there can be. */
export function pairs(as: readonly string[], bs: readonly string[]): [number, number][] {
  // Numbers for texts, which are compared often.
  const known = new Map<string, number>();
  const numberOf = (text: string): number => known.get(text) ?? (known.set(text, known.size), known.size - 1);
  const [a, b] = [Int32Array.from(as, numberOf), Int32Array.from(bs, numberOf)];
  let [from, endA, endB] = [0, a.length, b.length];
  while (from < endA && from < endB && a[from] === b[from]) from++;
  while (endA > from && endB > from && a[endA - 1] === b[endB - 1]) [endA, endB] = [endA - 1, endB - 1];
  const out: [number, number][] = Array.from({ length: from }, (_, i) => [i, i]);
  const width = endB - from + 1;
  const best = new Uint32Array((endA - from + 1) * width);
  for (let i = endA - 1; i >= from; i--)
    for (let j = endB - 1; j >= from; j--) {
      const at = (i - from) * width + (j - from);
      best[at] = a[i] === b[j] ? best[at + width + 1] + 1 : Math.max(best[at + width], best[at + 1]);
    }
  for (let [i, j] = [from, from]; i < endA && j < endB;) {
    const at = (i - from) * width + (j - from);
    if (a[i] === b[j]) out.push([i++, j++]);
    else if (best[at + width] >= best[at + 1]) i++;
    else j++;
  }
  for (let k = 0; endA + k < a.length; k++) out.push([endA + k, endB + k]);
  return out;
}
