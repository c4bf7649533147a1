// How far a model's answers lie from a fixture's: prefill of its ids, then decode fed with the expected continuation.
import type { Model } from "../../runtime/model.ts";
import type { Raw } from "../interpreted.ts";

export interface Distances {
  prefill: number;
  decode: number;
  ids: number[];
  /** Whether all greedy ids are the expected ones. */
  same: boolean;
  /** Tokens of the prompt that went to other experts than expected. */
  flipped: number;
}

const farthest = (want: Float64Array, got: ArrayLike<number>): number =>
  want.reduce((most, v, i) => Math.max(most, Number.isNaN(got[i]) ? Infinity : Math.abs(v - got[i])), 0);

/** Needs a model compiled with taps. */
export async function distances(model: Model, expected: Raw): Promise<Distances> {
  const prompt = [...expected.get("input_ids")!.data];
  const greedy = [...expected.get("greedy_ids")!.data];
  const want = expected.get("greedy_logits")!;
  const vocab = want.shape[1];
  const session = model.session({ maxTokens: prompt.length + greedy.length, sequences: 1 });
  let result = await session.prefill([prompt]);
  // A token that goes to another expert than in f32 (its margin is less than a bf16 step) is another token from there on.
  const kept = prompt.map((_, t) =>
    [...expected].every(([name, want]) => {
      const k = want.shape[1];
      return (
        !name.endsWith(".indices") ||
        want.data.subarray(t * k, (t + 1) * k).every((e, j) => e === result.taps[name].data[t * k + j])
      );
    }),
  );
  const logits = result.taps.logits.data;
  const row = (t: number): number =>
    farthest(expected.get("logits")!.data.subarray(t * vocab, (t + 1) * vocab), logits.subarray(t * vocab, (t + 1) * vocab));
  const prefill = Math.max(...prompt.map((_, t) => (kept[t] ? row(t) : 0)));
  const ids: number[] = [];
  let decode = 0;
  for (const [i, id] of greedy.entries()) {
    ids.push(result.next(0));
    decode = Math.max(decode, farthest(want.data.subarray(i * vocab, (i + 1) * vocab), result.logits(0)));
    if (i + 1 < greedy.length) result = await session.decode([id]);
  }
  session.close();
  return { prefill, decode, ids, same: ids.every((id, i) => id === greedy[i]), flipped: kept.filter((k) => !k).length };
}
