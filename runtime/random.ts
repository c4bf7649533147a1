// Random numbers that depend on nothing but their coordinates: Philox4x32-10 (Salmon et al., SC 2011), a counter-based generator.
// A token has one block: key = seed (low word, high word), counter = (position, sequence, 0, 0), where position counts the sequence's
// ids from 0, prompt included. A word w of it is u = (w + 0.5) / 2^32,
// or of a whole number the share w / 2^32 of it, rounded down. So a draw needs no state: it is the same whatever else the
// batch holds, after a conversation was cut back, and on any device.
//   word 0  the id itself      word 1  whether a draft of it is taken      word 2  the draft

const MULTIPLY = [0xd2511f53, 0xcd9e8d57] as const;
const WEYL = [0x9e3779b9, 0xbb67ae85] as const;

/** High word of the 64-bit product of two words. */
function high(a: number, b: number): number {
  const [a1, a0, b1, b0] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  // Sums stay below 2^53, so dividing is an exact shift.
  return (a1 * b1 + Math.floor((middle + a0 * b1) / 65536)) >>> 0;
}

/** Ten rounds over a block of four words. */
export function philox(counter: readonly number[], key: readonly number[]): number[] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    [c0, c1, c2, c3] = [
      (high(MULTIPLY[1], c2) ^ c1 ^ k0) >>> 0,
      Math.imul(MULTIPLY[1], c2) >>> 0,
      (high(MULTIPLY[0], c0) ^ c3 ^ k1) >>> 0,
      Math.imul(MULTIPLY[0], c0) >>> 0,
    ];
    k0 = (k0 + WEYL[0]) >>> 0;
    k1 = (k1 + WEYL[1]) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** What a draw is for: the id, taking a draft of it, the draft. */
export type Use = 0 | 1 | 2;

/** The draw, strictly between 0 and 1, for the id at `position` of `sequence`. Seeds are whole numbers below 2^53. */
export function draw(seed: number, position: number, sequence: number, use: Use = 0): number {
  return (block(seed, position, sequence)[use] + 0.5) / 2 ** 32;
}

/** The drawn share of a whole number below 2^53, a whole number below it: word 0 times the total, by 2^32, rounded down. */
export function share(total: number, seed: number, position: number, sequence: number): number {
  const [word] = block(seed, position, sequence);
  // In two halves, for the product has 85 bits.
  return word * Math.floor(total / 2 ** 32) + high(word, total % 2 ** 32);
}

const block = (seed: number, position: number, sequence: number): number[] =>
  philox([position >>> 0, sequence >>> 0, 0, 0], [seed >>> 0, Math.floor(seed / 2 ** 32)]);
