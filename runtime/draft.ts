// Drafts of the extra prediction layer, to be verified by the main model. Row i of the layer takes the id after it and the main
// model's state after its final norm, and foresees the id after the next; further drafts are fed the layer's own state and draft.
// The layer caches rows of its own. Those of drafts are cut before the main model has answered, for its state replaces theirs.
// How drafts are drawn and judged where ids are drawn is sample.ts's: answers keep the main model's distribution.
import * as diagnostics from "./diagnostics.ts";
import type { Draft, Sampler } from "./sample.ts";
import type { Result, Session } from "./session.ts";

/** A sequence to draft for: what generation knows of it. */
interface Ahead {
  sequence: number;
  pending: number;
  made: number;
  seen: ReadonlySet<number>;
}

/** Rows the layer has not seen: ids after them, and the main model's states. */
interface Known {
  ids: number[];
  hidden: Float32Array[];
}

export class Drafter {
  private readonly session: Session;
  private readonly sampler: Sampler;
  private readonly most: number;
  private readonly signal: AbortSignal | undefined;
  private readonly known = new Map<number, Known>();

  constructor(session: Session, sampler: Sampler, most: number, signal?: AbortSignal) {
    if (!session.drafts) throw diagnostics.noDraftLayer();
    this.session = session;
    this.sampler = sampler;
    this.most = most;
    this.signal = signal;
  }

  /** Rows of an earlier turn that the layer never saw have lost their states: they are cut and go through the model again. */
  refeed(rows: readonly ArrayLike<number>[]): readonly ArrayLike<number>[] {
    return rows.map((r, b) => {
      if (r.length === 0) return r;
      // The layer's last row has seen the id after it, which must be one that stays.
      const have = Math.max(0, Math.min(this.session.draftLengths[b] ?? 0, (this.session.lengths[b] ?? 0) - 1));
      const again = this.session.cached(b).slice(have);
      if (again.length) this.session.truncate(b, have, have);
      return again.length ? [...again, ...Array.from(r)] : r;
    });
  }

  /** Takes the states of a call: `fed` are its rows of a sequence where they were given, `ids` what was chosen after them. */
  learn(sequence: number, fed: ArrayLike<number>, ids: readonly number[], result: Result): void {
    // The rows of a prompt know their next ids; the last row of any call has been answered.
    const next = [...Array.from(fed).slice(1), ...ids];
    this.known.set(sequence, { ids: next, hidden: [result.hidden(sequence, next.length)] });
  }

  /** Drafts for each sequence, no more than it still wants. */
  async propose(active: readonly Ahead[], maxNew: number): Promise<Map<number, Draft[]>> {
    const { session } = this;
    const drafts = new Map<number, Draft[]>();
    const wanted = new Map(
      active.map((a) => [
        a.sequence,
        Math.min(this.most, maxNew - a.made - 1, session.maxTokens - session.lengths[a.sequence] - 1),
      ]),
    );
    let going = active.filter((a) => wanted.get(a.sequence)! > 0);
    if (going.length === 0) return drafts;
    const sure = new Map<number, number>();
    for (let j = 0; going.length > 0; j++) {
      this.signal?.throwIfAborted();
      const tokens: number[][] = session.lengths.map(() => []);
      const states: Float32Array[] = [];
      for (const { sequence } of going) {
        const known = this.known.get(sequence)!;
        tokens[sequence] = known.ids;
        states.push(...known.hidden);
      }
      const result = await session.draft(tokens, joined(states));
      for (const { sequence, seen } of going) {
        if (j === 0) sure.set(sequence, session.draftLengths[sequence]);
        const position = session.lengths[sequence] + 1 + j;
        const before = drafts.get(sequence) ?? [];
        const known = this.sampler.penalises ? new Set([...seen, ...before.map((d) => d.id)]) : seen;
        const drafted = this.sampler.plain
          ? { id: result.next(sequence) }
          : this.sampler.draft(result.logits(sequence), known, position, sequence);
        drafts.set(sequence, [...before, drafted]);
        this.known.set(sequence, {
          ids: [drafted.id],
          hidden: j + 1 < wanted.get(sequence)! ? [result.hidden(sequence, 1)] : [],
        });
      }
      going = going.filter((a) => j + 1 < wanted.get(a.sequence)!);
    }
    for (const [b, length] of sure) session.cutDraft(b, length);
    return drafts;
  }
}

function joined(parts: readonly Float32Array[]): Float32Array {
  if (parts.length === 1) return parts[0];
  const out = new Float32Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}
