// How well a model foresees a text: the mean negative log likelihood of its ids. The ids are cut into runs of `window` - 1, each
// is scored alone with <bos> before it, and the mean goes over all ids. A model without <bos> has runs of `window`, whose first
// id is context only. Log-sum-exp and means are f64.
import { idList, made, maybeSignal, optionsOf, shown } from "./arguments.ts";
import * as diagnostics from "./diagnostics.ts";
import type { Model } from "./model.ts";

/** Options of `score`. */
export interface ScoreOptions {
  /** Rows of one call, <bos> included; 512 when absent, or fewer where the model has fewer positions. */
  window?: number;
  signal?: AbortSignal;
  /** Called after every window. */
  progress?: (windows: { done: number; of: number; nll: number }) => void;
}

/** How well a model predicts a text: `perplexity` and what it is made of. */
export interface Score {
  /** Ids that were scored. */
  tokens: number;
  /** Mean negative log likelihood, in nats. */
  nll: number;
  /** exp(nll). */
  perplexity: number;
  windows: number;
}

/** Scores ids that have no special tokens. The model must be compiled with taps: logits of every row. */
export async function score(model: Model, ids: readonly number[], options: ScoreOptions = {}): Promise<Score> {
  made("score", "model", model, ["session", "close"], "load(...)");
  idList("score", "ids", ids);
  maybeSignal("score", optionsOf("score", options, ["window", "signal", "progress"]).signal);
  if (options.progress !== undefined && typeof options.progress !== "function")
    throw diagnostics.badArgument({ call: "score", seen: `progress is ${shown(options.progress)}`, wanted: "a function" });
  const { bos, maxPositions } = model.manifest.model;
  const window = options.window ?? Math.min(512, maxPositions);
  if (!(Number.isSafeInteger(window) && window >= 2 && window <= maxPositions))
    throw diagnostics.misuse({
      what: `a window of ${shown(window)} rows`,
      help: `give a whole number from 2 to ${maxPositions}, the positions of the model`,
    });
  if (!model.manifest.options.taps)
    throw diagnostics.misuse({ what: "scoring needs the logits of every row", help: "compile with --taps" });
  const runs = cut(ids, bos === null ? window : window - 1, bos);
  if (runs.length === 0) throw diagnostics.misuse({ what: "the text has no token to score" });
  const session = model.session({ maxTokens: window, sequences: 1 });
  try {
    let sum = 0;
    let tokens = 0;
    for (const [i, run] of runs.entries()) {
      options.signal?.throwIfAborted();
      const { taps } = await session.prefill([run]);
      const [rows, vocab] = taps.logits.shape;
      for (let r = 0; r + 1 < rows; r++) {
        const logits = (taps.logits.data as Float32Array).subarray(r * vocab, (r + 1) * vocab);
        const bad = logits.findIndex((l) => !Number.isFinite(l));
        if (bad >= 0) throw diagnostics.logitsNotFinite({ sequence: 0, id: bad, weight: model.notFinite() });
        sum += surprise(logits, 0, vocab, run[r + 1]);
      }
      tokens += rows - 1;
      options.progress?.({ done: i + 1, of: runs.length, nll: sum / tokens });
    }
    return { tokens, nll: sum / tokens, perplexity: Math.exp(sum / tokens), windows: runs.length };
  } finally {
    session.close();
  }
}

/** The rows of every window; one that holds nothing to score is left out. */
export function cut(ids: readonly number[], length: number, bos: number | null): number[][] {
  const runs: number[][] = [];
  for (let at = 0; at < ids.length; at += length) runs.push([...(bos === null ? [] : [bos]), ...ids.slice(at, at + length)]);
  return runs.filter((r) => r.length > 1);
}

/** -log softmax(logits[at .. at + n])[id]. */
export function surprise(logits: Float32Array, at: number, n: number, id: number): number {
  let most = -Infinity;
  for (let i = at; i < at + n; i++) if (logits[i] > most) most = logits[i];
  let sum = 0;
  for (let i = at; i < at + n; i++) sum += Math.exp(logits[i] - most);
  return Math.log(sum) + most - logits[at + id];
}
