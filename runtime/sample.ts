// Choosing the next id from logits. In this order, each step so defined that a device repeats it bit for bit (dsc_sample of
// codegen/cuda/system does), whatever order it adds in: weights are whole numbers, and their sums stay below 2^53.
//   penalty      ids the sequence holds already: l > 0 ? l / penalty : l * penalty in f64, rounded to f32
//   temperature  0: the first maximum, and nothing below applies
//   top-k        the k largest logits; of equal ones at the edge, lower ids first
//   weights      w = 2^31 exp((l - max) / temperature), rounded: `weightOf`. A draw has 32 bits, and so has a weight
//   top-p        the fewest largest logits whose weights reach p of all; of equal ones, lower ids first
//   draw         ids in ascending order: the first whose running sum exceeds the drawn share of what is kept (random.ts)
// The same seed gives the same ids wherever the logits are the same bits; where they differ by rounding, a draw that falls between
// two ids may go either way.
// A draft d, drawn from the draft layer's probabilities q, is taken where u < p[d] / q[d], p being the main model's; else the id is
// drawn from max(0, p - q). That is p again (Leviathan et al., 2023; Chen et al., 2023), and no other rule takes more drafts.
import * as diagnostics from "./diagnostics.ts";
import { draw, share } from "./random.ts";
import { POWERS } from "../ir/system.ts";

/** How ids are chosen; nothing given means greedy. */
export interface Sampling {
  /** Divides the logits; 0 (the default) takes the first maximum. */
  temperature?: number;
  /** Draws from the k largest only; 0 (the default) from all. */
  topK?: number;
  /** Draws from the fewest ids that together have this probability; 1 (the default) from all. */
  topP?: number;
  /** Makes ids the sequence holds less likely; 1 (the default) leaves them. */
  repeatPenalty?: number;
  /** The same seed gives the same ids; 0 when absent. */
  seed?: number;
}

/** Bytes of a row's options, as `write` lays them out. */
export const CHOICE_BYTES = 40;

/** A drafted id, and the probabilities it was drawn from; none where it was the most likely. */
export interface Draft {
  id: number;
  q?: Float64Array;
}

/** 2^31 and what halving makes of it: what the largest logit weighs, one half as likely, and so on. */
const HALVES = Float64Array.from({ length: 35 }, (_, i) => 2 ** 31 / 2 ** i);

/**
 * Logits times this are powers of two: what a temperature becomes. Finite, so that the largest logit, whose distance is 0,
 * keeps its weight.
 */
const scaleOf = (temperature: number): number => Math.min(Number.MAX_VALUE, 1 / (temperature * Math.LN2));

/**
 * The weight of a logit: 2^31 2^((l - most) scale), rounded. Every operation is one of f64, none fused, so that a device has the same
 * bits. What weighs less than half of 2^-31 of the most is never drawn.
 */
function weightOf(l: number, most: number, scale: number): number {
  const z = (l - most) * scale;
  if (!(z > -33)) return 0;
  const n = Math.floor(z + 0.5);
  const f = z - n;
  let p = POWERS[0];
  for (let i = 1; i < POWERS.length; i++) p = p * f + POWERS[i];
  return Math.floor(p * HALVES[-n] + 0.5);
}

/** Index of the first maximum; what is no number is none. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  while (best < values.length - 1 && Number.isNaN(values[best])) best++;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** The options of sampling, by name. */
export const SAMPLING = ["temperature", "topK", "topP", "repeatPenalty", "seed"] as const;

/** Chooses ids by one set of options, which are checked here. */
export class Sampler {
  readonly options: Required<Sampling>;
  private readonly scratch: { logits: Float32Array; weights: Float64Array };

  constructor(options: Sampling = {}, vocab = 0) {
    this.options = { temperature: 0, topK: 0, topP: 1, repeatPenalty: 1, seed: 0 };
    // Clients that send JSON say null for what they do not set.
    for (const name of SAMPLING) if ((options[name] ?? undefined) !== undefined) this.options[name] = options[name]!;
    const { temperature, topK, topP, repeatPenalty, seed } = this.options;
    for (const name of SAMPLING)
      if (typeof this.options[name] !== "number")
        throw diagnostics.badSampling({ option: name, seen: this.options[name], wanted: "a number" });
    if (!(temperature >= 0 && temperature < Infinity))
      throw diagnostics.badSampling({ option: "temperature", seen: temperature, wanted: "a number from 0 up" });
    if (!(Number.isSafeInteger(topK) && topK >= 0))
      throw diagnostics.badSampling({ option: "topK", seen: topK, wanted: "a whole number from 0 up; 0 keeps every id" });
    if (!(topP > 0 && topP <= 1)) throw diagnostics.badSampling({ option: "topP", seen: topP, wanted: "above 0 and at most 1" });
    if (!(repeatPenalty > 0 && repeatPenalty < Infinity))
      throw diagnostics.badSampling({ option: "repeatPenalty", seen: repeatPenalty, wanted: "a number above 0" });
    if (!(Number.isSafeInteger(seed) && seed >= 0))
      throw diagnostics.badSampling({ option: "seed", seen: seed, wanted: "a whole number from 0 to 2^53 - 1" });
    this.scratch = { logits: new Float32Array(vocab), weights: new Float64Array(vocab) };
  }

  /** The first maximum of the logits as they are: a device may choose it itself. */
  get plain(): boolean {
    return this.options.temperature === 0 && !this.penalises;
  }

  get penalises(): boolean {
    return this.options.repeatPenalty !== 1;
  }

  /** The options of a row for a device that chooses by itself: scale, top-p, penalty as f64, then seed, top-k and the sequence. */
  write(to: DataView, at: number, sequence: number): void {
    const { temperature, topK, topP, repeatPenalty, seed } = this.options;
    [temperature && scaleOf(temperature), topP, repeatPenalty].forEach((v, i) => to.setFloat64(at + 8 * i, v, true));
    [seed % 2 ** 32, Math.floor(seed / 2 ** 32), Math.min(topK, 2 ** 31 - 1), sequence].forEach((v, i) =>
      to.setInt32(at + 24 + 4 * i, v, true),
    );
  }

  /** The id that follows in `sequence` at `position`; `seen` holds the ids it has, and matters with a penalty only. */
  choose(logits: Float32Array, seen: ReadonlySet<number>, position: number, sequence: number): number {
    const l = this.penalise(logits, seen);
    const { temperature, seed } = this.options;
    return temperature === 0 ? argmax(l) : (fall(this.weigh(l), seed, position, sequence) ?? argmax(l));
  }

  /** A draft of that id, by another model's logits. */
  draft(logits: Float32Array, seen: ReadonlySet<number>, position: number, sequence: number): Draft {
    if (this.options.temperature === 0) return { id: argmax(this.penalise(logits, seen)) };
    const q = this.probabilities(logits, seen);
    return { id: pick(q, draw(this.options.seed, position, sequence, 2)), q };
  }

  /** The id, where a draft of it was made: the draft's own where it is taken, never where it is not. */
  judge(logits: Float32Array, seen: ReadonlySet<number>, position: number, sequence: number, { id, q }: Draft): number {
    const { temperature, seed } = this.options;
    if (temperature === 0 || !q) return this.choose(logits, seen, position, sequence);
    const p = this.probabilities(logits, seen);
    if (draw(seed, position, sequence, 1) * q[id] < p[id]) return id;
    const left = p.map((x, i) => Math.max(0, x - q[i]));
    // p and q equal but for rounding leave nothing.
    return pick(left.some((x) => x > 0) ? left : p, draw(seed, position, sequence));
  }

  /** Probabilities of all ids, after everything but the draw. */
  probabilities(logits: Float32Array, seen: ReadonlySet<number>): Float64Array {
    const l = this.penalise(logits, seen);
    const w = this.weigh(l);
    const total = w.reduce((a, b) => a + b, 0);
    if (total > 0) return w.map((x) => x / total);
    const most = argmax(l);
    return w.map((_, i) => (i === most ? 1 : 0));
  }

  private penalise(logits: Float32Array, seen: ReadonlySet<number>): Float32Array {
    if (!this.penalises) return logits;
    const out = sized(this.scratch, logits.length).logits;
    out.set(logits);
    for (const id of seen) out[id] = out[id] > 0 ? out[id] / this.options.repeatPenalty : out[id] * this.options.repeatPenalty;
    return out;
  }

  /** Weights of the ids that stay; 0 for the others. */
  private weigh(l: Float32Array): Float64Array {
    const { temperature, topK, topP } = this.options;
    const w = sized(this.scratch, l.length).weights;
    const most = l[argmax(l)];
    const scale = scaleOf(temperature);
    let edge = -Infinity;
    let atEdge = Infinity;
    if (topK > 0 && topK < l.length) [edge, atEdge] = kthLargest(l, topK);
    let total = 0;
    for (let i = 0; i < l.length; i++) {
      const stays = l[i] > edge || (l[i] === edge && atEdge-- > 0) || edge === -Infinity;
      total += w[i] = stays ? weightOf(l[i], most, scale) : 0;
    }
    if (topP < 1) keepNucleus(l, w, Math.ceil(topP * total), total);
    return w;
  }
}

function sized(s: { logits: Float32Array; weights: Float64Array }, n: number): typeof s {
  if (s.logits.length !== n) [s.logits, s.weights] = [new Float32Array(n), new Float64Array(n)];
  return s;
}

/** The k-th largest value, and how many values equal to it are among the k: three counting passes over the sortable bits. */
export function kthLargest(values: Float32Array, k: number): [value: number, equal: number] {
  const bits = new Uint32Array(values.length);
  bits.set(new Uint32Array(values.buffer, values.byteOffset, values.length));
  // Unsigned order of these words is the order of the numbers, -0 and 0 made one.
  for (let i = 0; i < bits.length; i++)
    bits[i] = bits[i] === 0x80000000 ? 0x80000000 : bits[i] & 0x80000000 ? ~bits[i] : bits[i] | 0x80000000;
  let left = k;
  let prefix = 0;
  for (const [shift, width] of [
    [21, 11],
    [10, 11],
    [0, 10],
  ]) {
    const count = new Uint32Array(1 << width);
    // Shifting by 31 and once more, for a shift of 32 would shift by 0.
    for (const b of bits) if ((b >>> (shift + width - 1)) >>> 1 === prefix) count[(b >>> shift) & (count.length - 1)]++;
    let bin = count.length - 1;
    while (count[bin] < left) left -= count[bin--];
    prefix = ((prefix << width) | bin) >>> 0;
  }
  const word = new Uint32Array([prefix & 0x80000000 ? prefix & 0x7fffffff : ~prefix]);
  return [new Float32Array(word.buffer)[0], left];
}

/** Zeroes the weights of all but the fewest largest logits whose weights reach `need` of the total. */
function keepNucleus(l: Float32Array, w: Float64Array, need: number, total: number): void {
  // Logits that weigh less than this are not needed, for all of them together are less than what may go; few are left to sort.
  // Rounding can weigh a larger logit one less than a smaller one.
  const floor = (total - need) / w.length - 2;
  const large: number[] = [];
  for (let i = 0; i < w.length; i++) if (w[i] >= floor && w[i] > 0) large.push(i);
  large.sort((a, b) => l[b] - l[a] || a - b);
  let sum = 0;
  let n = 0;
  while (n < large.length && sum < need) sum += w[large[n++]];
  const kept = large.slice(0, n).map((i) => [i, w[i]] as const);
  w.fill(0);
  for (const [i, x] of kept) w[i] = x;
}

/** The id a draw for itself falls on, walking ids in ascending order; undefined where nothing has a weight. */
function fall(weights: Float64Array, seed: number, position: number, sequence: number): number | undefined {
  let total = 0;
  for (const w of weights) total += w;
  if (!(total > 0)) return undefined;
  const target = share(total, seed, position, sequence);
  let sum = 0;
  return Math.max(
    0,
    weights.findIndex((w) => (sum += w) > target),
  );
}

/** The id a draw falls on, walking ids in ascending order. */
export function pick(weights: Float64Array, u: number): number {
  let total = 0;
  for (const w of weights) total += w;
  const target = u * total;
  let sum = 0;
  let last = 0;
  for (let i = 0; i < weights.length; i++) {
    if (weights[i] === 0) continue;
    sum += weights[i];
    last = i;
    if (sum > target) return i;
  }
  return last;
}
