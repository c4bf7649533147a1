// Greedy generation as an async iterator: one step per token and sequence, the first being the prefill's.
// The choice is the first maximum of the logits. A sequence that has stopped sits out; the batch ends when all have.
import type { Model } from "./model.ts";
import { argmax } from "./sample.ts";
import type { Result } from "./session.ts";

export interface GenerateOptions {
  /** New tokens per sequence. */
  maxNew: number;
  /** Ids that end a sequence, e.g. `model.manifest.model.eos`; none when absent. The stopping id is part of the answer. */
  stop?: readonly number[];
  signal?: AbortSignal;
}

/** One step of a batch. */
export interface GenerateStep {
  index: number;
  /** The id chosen for each sequence, null for those that have stopped. */
  ids: (number | null)[];
  /** The call the ids were chosen from; its logits and taps hold until the next step. */
  result: Result;
  /** Milliseconds the call took: step 0 is the prefill, the others one decode each. */
  ms: number;
}

/** Continues a batch of prompts greedily. Opens a session for exactly this and closes it at the end, however it ends. */
export async function* generate(
  model: Model,
  prompts: readonly ArrayLike<number>[],
  options: GenerateOptions,
): AsyncGenerator<GenerateStep, void, undefined> {
  if (options.maxNew < 1) return;
  const longest = prompts.reduce((most, p) => Math.max(most, p.length), 0);
  // The last id is chosen but never fed back.
  const session = model.session({ maxTokens: Math.max(1, longest + options.maxNew - 1), sequences: prompts.length });
  const stop = new Set(options.stop);
  try {
    let ids: (number | null)[] = [];
    for (let index = 0; index < options.maxNew; index++) {
      options.signal?.throwIfAborted();
      const from = performance.now();
      const result = index === 0 ? await session.prefill(prompts) : await session.decode(ids);
      const ms = performance.now() - from;
      ids = prompts.map((_, b) => (result.sequences.includes(b) ? argmax(result.logits(b)) : null));
      yield { index, ids, result, ms };
      ids = ids.map((id) => (id !== null && stop.has(id) ? null : id));
      if (ids.every((id) => id === null)) return;
    }
  } finally {
    session.close();
  }
}
