// Byte pair encoding over ids: of all neighbours that merge, the pair of lowest rank does, the leftmost first, to the end.
// tokenizer.json lists its merges; in a tiktoken vocabulary two tokens merge where their bytes together are a token, whose id is
// the rank. A heap of pairs keeps a text without spaces at n log n.

/** Ids below this, so that two of them are one key. */
export const MOST_IDS = 2 ** 22;
/** Symbols of one piece; with a rank below MOST_IDS beside it, a heap's key is exact. */
const MOST_SYMBOLS = 2 ** 31;

/** The rank at which two neighbours merge, and what they become. */
export interface Merges {
  rank(left: number, right: number): number | undefined;
  merged(rank: number): number;
}

/** Merges of a list: [left, right, merged] by rank. */
export function listedMerges(list: readonly (readonly [number, number, number])[]): Merges {
  const ranks = new Map<number, number>();
  for (const [rank, [left, right]] of list.entries()) ranks.set(left * MOST_IDS + right, rank);
  return { rank: (left, right) => ranks.get(left * MOST_IDS + right), merged: (rank) => list[rank][2] };
}

/** Merges of ranked tokens, looked up as they are met: two tokens merge where their texts together are a token. */
export function rankedMerges(ids: ReadonlyMap<string, number>, texts: readonly string[]): Merges {
  const seen = new Map<number, number>();
  const rank = (left: number, right: number): number | undefined => {
    const key = left * MOST_IDS + right;
    let r = seen.get(key);
    if (r === undefined) {
      r = ids.get(texts[left] + texts[right]) ?? -1;
      if (seen.size >= 1 << 20) seen.clear();
      seen.set(key, r);
    }
    return r < 0 ? undefined : r;
  };
  return { rank, merged: (r) => r };
}

/** The ids of a piece after all merges. */
export function mergeAll(symbols: readonly number[], merges: Merges): number[] {
  const n = symbols.length;
  if (n < 2) return [...symbols];
  const id = Int32Array.from(symbols);
  const next = Int32Array.from(id, (_, i) => (i + 1 < n ? i + 1 : -1));
  const previous = Int32Array.from(id, (_, i) => i - 1);
  // The rank of the pair that begins at a symbol, as last pushed: other entries of the heap are of the past.
  const due = new Float64Array(n).fill(-1);
  const heap = new MinHeap();
  const consider = (at: number): void => {
    const right = next[at];
    const rank = right < 0 ? undefined : merges.rank(id[at], id[right]);
    due[at] = rank ?? -1;
    if (rank !== undefined) heap.push(rank * MOST_SYMBOLS + at);
  };
  for (let i = 0; i + 1 < n; i++) consider(i);
  for (let key = heap.pop(); key !== undefined; key = heap.pop()) {
    const at = key % MOST_SYMBOLS;
    const rank = (key - at) / MOST_SYMBOLS;
    if (due[at] !== rank) continue;
    const right = next[at];
    id[at] = merges.merged(rank);
    due[right] = -1;
    next[at] = next[right];
    if (next[right] >= 0) previous[next[right]] = at;
    consider(at);
    if (previous[at] >= 0) consider(previous[at]);
  }
  const out: number[] = [];
  for (let at = 0; at >= 0; at = next[at]) out.push(id[at]);
  return out;
}

class MinHeap {
  private readonly items: number[] = [];

  push(value: number): void {
    const { items } = this;
    let at = items.length;
    items.push(value);
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (items[up] <= value) break;
      items[at] = items[up];
      at = up;
    }
    items[at] = value;
  }

  pop(): number | undefined {
    const { items } = this;
    const top = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return top;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= items.length) break;
      if (down + 1 < items.length && items[down + 1] < items[down]) down++;
      if (items[down] >= last) break;
      items[at] = items[down];
      at = down;
    }
    items[at] = last;
    return top;
  }
}
