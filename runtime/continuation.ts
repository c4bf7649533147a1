// The steps of a batch that goes on from what a session holds: call the model, choose the ids of every sequence, and say who has
// ended. With drafts a step verifies what the extra prediction layer foresaw; ahead of its ids a step begins on the device.
import * as diagnostics from "./diagnostics.ts";
import { Drafter } from "./draft.ts";
import { Sampler, type Draft, type Sampling } from "./sample.ts";
import type { Result, Session } from "./session.ts";

/** Options of `generate`: how many ids, how they are chosen, where it stops, and its AbortSignal. */
export interface GenerateOptions extends Sampling {
  /** New ids per sequence, at most. */
  maxNew: number;
  /** Ids that end a sequence, e.g. `model.manifest.model.eos`; none when absent. The stopping id is the last of the answer. */
  stop?: readonly number[];
  /**
   * Ids the extra prediction layer drafts before each call of the main model, 0 to 4; 0 when absent. Greedy answers stay the
   * same, drawn ones keep their distribution.
   */
  draft?: number;
  /**
   * Steps may be begun before the ids of the last are known here, where the device chooses them: of a step's result only
   * `next` can be read then.
   */
  ahead?: boolean;
  signal?: AbortSignal;
}

/** Why a sequence ended: an id of `stop`, or `maxNew` ids. */
export type Finish = "stop" | "length";

/** One step of a batch. */
export interface GenerateStep {
  index: number;
  /** New ids of every sequence, in order; none for one that sat out. */
  ids: number[][];
  /** Why a sequence has ended, null for one that goes on. */
  finish: (Finish | null)[];
  /** The call of the main model the ids were chosen from; what it gives holds until the next step. */
  result: Result;
  /** Milliseconds of the step's calls: step 0 is the prefill. */
  ms: number;
  /** Ids drafted for this step, of all sequences together, and how many of them the main model chose as well. */
  drafted: number;
  accepted: number;
}

/** What is known of a sequence that goes on. */
interface Sequence {
  /** Its number in the session. */
  readonly sequence: number;
  /** Ids it holds, for the penalty. */
  readonly seen: Set<number>;
  /** The id chosen last: part of the answer, not in the cache yet. */
  pending: number;
  made: number;
  finish: Finish | null;
}

export class Continuation {
  readonly #session: Session;
  readonly #options: GenerateOptions;
  readonly #sampler: Sampler;
  readonly #stop: ReadonlySet<number>;
  readonly #drafter: Drafter | undefined;
  /** The rows of the first step: those asked for, and before them what the extra layer has to see again. */
  readonly #rows: readonly ArrayLike<number>[];
  readonly #sequences: readonly Sequence[];

  constructor(session: Session, rows: readonly ArrayLike<number>[], options: GenerateOptions) {
    this.#session = session;
    this.#options = options;
    this.#sampler = new Sampler(options);
    this.#stop = new Set(options.stop);
    this.#drafter = options.draft ? new Drafter(session, this.#sampler, options.draft, options.signal) : undefined;
    const given = this.#drafter ? this.#drafter.refeed(rows) : rows;
    const seen = (b: number): number[] => (this.#sampler.penalises ? [...session.cached(b), ...Array.from(given[b])] : []);
    this.#rows = given;
    this.#sequences = rows.flatMap((r, b) =>
      r.length ? [{ sequence: b, seen: new Set(seen(b)), pending: -1, made: 0, finish: null }] : [],
    );
    if (this.#sequences.length === 0) throw diagnostics.misuse({ what: "no sequence has a token" });
  }

  async *steps(): AsyncGenerator<GenerateStep, void, undefined> {
    const ahead =
      this.#options.ahead === true && !this.#drafter && this.#session.runsAhead && (this.#sampler.plain || this.#session.draws);
    for (let index = 0; ;) {
      const active = this.#sequences.filter((l) => !l.finish);
      if (active.length === 0) return;
      this.#options.signal?.throwIfAborted();
      if (ahead && index > 0) index += yield* this.#ahead(index, active);
      else yield this.#step(index++, active);
    }
  }

  /** The sampler where the device is to draw; drafts are judged here, by all probabilities. */
  get #drawing(): Sampler | undefined {
    return this.#sampler.plain || this.#drafter ? undefined : this.#sampler;
  }

  /** By sequence of the batch, those that sat out too. */
  #each<T>(of: (s: Sequence | undefined) => T): T[] {
    return this.#rows.map((_, b) => of(this.#sequences.find((s) => s.sequence === b)));
  }

  #finishes(): (Finish | null)[] {
    return this.#each((s) => s?.finish ?? null);
  }

  /** Steps that begin before the ids of the last are known here, until a sequence ends: the others go on without it then. */
  async *#ahead(index: number, active: readonly Sequence[]): AsyncGenerator<GenerateStep, number, undefined> {
    const { maxNew, signal } = this.#options;
    const goes = new Set(active);
    const first = this.#each((s) => (s && goes.has(s) ? s.pending : null));
    const most = maxNew - Math.max(...active.map((s) => s.made));
    let from = performance.now();
    let steps = 0;
    for await (const result of this.#session.ahead(first, most, this.#drawing)) {
      const ids = this.#each((s) => (s && goes.has(s) ? this.#choose(s, result, [], 0) : []));
      const ms = performance.now() - from;
      yield { index: index + steps++, ids, finish: this.#finishes(), result, ms, drafted: 0, accepted: 0 };
      if (active.some((s) => s.finish)) break;
      signal?.throwIfAborted();
      from = performance.now();
    }
    return steps;
  }

  /** One call of the main model and what was chosen of it; from the second on with the drafts that it verifies. */
  async #step(index: number, active: readonly Sequence[]): Promise<GenerateStep> {
    const from = performance.now();
    const { maxNew, signal } = this.#options;
    const drafts = index > 0 && this.#drafter ? await this.#drafter.propose(active, maxNew) : new Map<number, Draft[]>();
    signal?.throwIfAborted();
    const result = index === 0 ? await this.#session.run(this.#rows, this.#drawing) : await this.#next(active, drafts);
    const ids: number[][] = this.#rows.map(() => []);
    let drafted = 0;
    let accepted = 0;
    for (const s of active) {
      const tried = drafts.get(s.sequence) ?? [];
      const length = this.#session.lengths[s.sequence];
      const chosen = this.#choose(s, result, tried, length - tried.length);
      ids[s.sequence] = chosen;
      drafted += tried.length;
      accepted += chosen.filter((id, i) => id === tried[i]?.id).length;
      // Rows of drafts that were not chosen go; so does the row of an id past the end.
      if (index > 0) this.#session.truncate(s.sequence, length - tried.length + chosen.length - 1);
      if (!s.finish) this.#drafter?.learn(s.sequence, index === 0 ? this.#rows[s.sequence] : [], chosen, result);
    }
    return { index, ids, finish: this.#finishes(), result, ms: performance.now() - from, drafted, accepted };
  }

  /** The call that is fed the ids chosen last, with the drafts behind them. */
  #next(active: readonly Sequence[], drafts: ReadonlyMap<number, readonly Draft[]>): Promise<Result> {
    const fed: number[][] = this.#rows.map(() => []);
    for (const s of active) fed[s.sequence] = [s.pending, ...(drafts.get(s.sequence) ?? []).map((d) => d.id)];
    return this.#drafter ? this.#session.verify(fed) : this.#session.run(fed, this.#drawing);
  }

  /** The ids of one sequence's rows of a call, from row `first` on: each next one counts while the drafts before it were right. */
  #choose(s: Sequence, result: Result, drafts: readonly Draft[], first: number): number[] {
    const sampler = this.#sampler;
    const ids: number[] = [];
    for (let row = 0; row <= drafts.length && !s.finish; row++) {
      const draft = drafts.at(row);
      const logits = sampler.plain || result.drawn ? undefined : result.logits(s.sequence, row);
      const id = !logits
        ? result.next(s.sequence, row)
        : draft
          ? sampler.judge(logits, s.seen, first + row, s.sequence, draft)
          : sampler.choose(logits, s.seen, first + row, s.sequence);
      ids.push(id);
      s.pending = id;
      if (sampler.penalises) s.seen.add(id);
      s.finish = this.#stop.has(id) ? "stop" : ++s.made >= this.#options.maxNew ? "length" : null;
      if (id !== draft?.id) break;
    }
    return ids;
  }
}
