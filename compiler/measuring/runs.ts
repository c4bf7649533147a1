// Steps of a model on this machine, timed: a prompt of so many rows, then so many decode steps, over and over. Ids are drawn from
// a seed, so two runs do the same work.
import type { Model } from "../../runtime/index.ts";

/** What is measured. */
export interface Workload {
  /** Rows of each prompt. */
  prompt: number;
  /** Decode steps after it. */
  steps: number;
  /** Sequences. */
  batch: number;
  /** Times all of it is done, after one time that does not count. */
  rounds: number;
}

/** Milliseconds of a phase, one for each round (of decode, of a step), and when each began. */
export interface Phase {
  ms: number[];
  began: number[];
}

export interface Measured {
  prefill: Phase;
  decode: Phase;
}

const ids = (count: number, vocab: number, seed: number): number[] =>
  Array.from({ length: count }, (_, i) => Number((BigInt(i + 1) * 2654435761n + BigInt(seed) * 40503n) % BigInt(vocab)));

/** Runs a workload. `phase` hears which phase begins: "warm-up", "prefill", "decode". */
export async function measured(model: Model, w: Workload, phase: (name: string) => void = () => {}): Promise<Measured> {
  const { vocab } = model.manifest.model;
  const prompts = Array.from({ length: w.batch }, (_, b) => ids(w.prompt, vocab, b));
  const out: Measured = { prefill: { ms: [], began: [] }, decode: { ms: [], began: [] } };
  for (let round = 0; round <= w.rounds; round++) {
    const counts = round > 0;
    const session = model.session();
    try {
      phase(counts ? "prefill" : "warm-up");
      const first = await timed(async () => session.prefill(prompts));
      if (counts) note(out.prefill, first);
      if (counts) phase("decode");
      for (let step = 0; step < w.steps; step++) {
        const next = prompts.map((_, b) => (step * 31 + b * 7) % vocab);
        const at = await timed(async () => session.decode(next));
        if (counts) note(out.decode, at);
      }
    } finally {
      session.close();
    }
  }
  return out;
}

async function timed(run: () => Promise<unknown>): Promise<{ ms: number; began: number }> {
  const began = performance.now();
  await run();
  return { began, ms: performance.now() - began };
}

function note(p: Phase, { ms, began }: { ms: number; began: number }): void {
  p.ms.push(ms);
  p.began.push(began);
}

export const median = (list: readonly number[]): number => {
  const s = list.toSorted((a, b) => a - b);
  return s.length === 0 ? 0 : (s[Math.floor((s.length - 1) / 2)] + s[Math.ceil((s.length - 1) / 2)]) / 2;
};
