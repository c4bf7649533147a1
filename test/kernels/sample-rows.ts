// Rows to draw ids from, with the ids that the sampler chooses: logits as models have them and as they should not be, under all options.
import { CHOICE_BYTES, Sampler, type Sampling } from "../../runtime/sample.ts";

/** Deterministic words. */
function random(seed: number): () => number {
  let x = seed;
  return () => {
    x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
    return ((x ^ (x >>> 13)) >>> 0) / 2 ** 32;
  };
}

/** Logits as models have them, and as they should not be. */
const shapes: Record<string, (r: () => number, i: number) => number> = {
  wide: (r) => (r() + r() + r() + r() - 2) * 12,
  flat: (r) => 3 + r() * 0.01,
  "of few values, with ties": (r) => Math.round((r() - 0.5) * 40) / 4,
  "all equal": () => 1.5,
  "zeros of both signs": (r) => (r() < 0.5 ? 0 : -0),
  "one above, the others far": (_, i) => (i === 77 ? 30 : -1000),
  "mostly far below": (r) => (r() < 0.9 ? -3e38 : r() * 4),
  "one NaN": (r, i) => (i === 61 ? NaN : r() * 4),
  "infinite after minus infinite": (r, i) => (i === 9 ? -Infinity : i === 55 ? Infinity : r() * 4),
};
const options: Sampling[] = [
  { temperature: 1 },
  { temperature: 0.7, topK: 40 },
  { temperature: 0.7, topP: 0.9 },
  { temperature: 1.3, topK: 50, topP: 0.95, seed: 2 ** 40 + 7 },
  { temperature: 0.05, topP: 0.5 },
  { temperature: 40, topK: 1000, topP: 0.999 },
  { temperature: 1e6, topP: 0.3 },
  { temperature: 1, topK: 1 },
  { repeatPenalty: 1.3 },
  { temperature: 0.8, topP: 0.9, topK: 20, repeatPenalty: 1.2 },
  { temperature: 1, topP: 1e-9 },
  { temperature: 1e-3, repeatPenalty: 0.5 },
];

export interface Rows {
  buffers: Record<string, Uint8Array<ArrayBuffer>>;
  want: number[];
}

/** A row for every shape of logits and every set of options, and what the sampler chooses; -1 - id of the first logit that is no number. */
export function sampleRows(vocab: number): Rows {
  const r = random(vocab);
  const rows = Object.keys(shapes).flatMap((shape) => options.map((o) => ({ shape, o })));
  const words = Math.ceil(vocab / 32);
  const logits = new Float32Array(rows.length * vocab);
  const [choices, ids, starts, lengths] = [
    new DataView(new ArrayBuffer(rows.length * CHOICE_BYTES)),
    new Int32Array(rows.length * 2),
    new Int32Array(rows.length + 1),
    new Int32Array(rows.length),
  ];
  const seen = new Uint32Array(rows.length * words);
  const want = rows.map(({ shape, o }, b) => {
    const row = logits.subarray(b * vocab, (b + 1) * vocab);
    for (let i = 0; i < vocab; i++) row[i] = shapes[shape](r, i);
    const sampler = new Sampler(o);
    const held = Array.from({ length: 100 }, () => Math.floor(r() * vocab));
    for (const id of held) seen[b * words + (id >>> 5)] |= 1 << (id & 31);
    // Two rows a sequence: the last of them is the id that was fed.
    [starts[b + 1], lengths[b]] = [2 * b + 2, 5 + 17 * b];
    ids[2 * b + 1] = Math.floor(r() * vocab);
    sampler.write(choices, b * CHOICE_BYTES, b);
    const bad = row.findIndex((v) => !Number.isFinite(v));
    return bad < 0 ? sampler.choose(row, new Set([...held, ids[2 * b + 1]]), lengths[b], b) : -1 - bad;
  });
  const bytes = (a: ArrayBufferView<ArrayBuffer>): Uint8Array<ArrayBuffer> =>
    new Uint8Array(a.buffer, a.byteOffset, a.byteLength);
  return {
    want,
    buffers: {
      logits: bytes(logits),
      choices: bytes(choices),
      ids: bytes(ids),
      starts: bytes(starts),
      lengths: bytes(lengths),
      seen: bytes(seen),
      y: new Uint8Array(4 * rows.length),
    },
  };
}
