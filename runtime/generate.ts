// Generation as an async iterator: a step is one call of the main model for every sequence that still goes on, the first being
// the prefill. A sequence that has finished sits out; the steps end when all have. With drafts (draft.ts) a step can give a
// sequence several ids. A signal is looked at between calls; one that is running is awaited, and what was opened is closed.
import { idLists, made, maybeFlag, maybeSignal, maybeStops, optionsOf, shown } from "./arguments.ts";
import * as diagnostics from "./diagnostics.ts";
import { Drafter } from "./draft.ts";
import type { Model } from "./model.ts";
import { SAMPLING, Sampler, type Draft, type Sampling } from "./sample.ts";
import type { Result, Session } from "./session.ts";

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

/** Continues a batch of prompts. Opens a session for exactly this and closes it at the end, however it ends. */
export async function* generate(
  model: Model,
  prompts: readonly ArrayLike<number>[],
  options: GenerateOptions,
): AsyncGenerator<GenerateStep, void, undefined> {
  made("generate", "model", model, ["session", "close"], "load(...)");
  idLists("generate", "prompts", prompts);
  checkOptions("generate", options);
  const longest = prompts.reduce((most, p) => Math.max(most, p.length), 0);
  const empty = prompts.findIndex((p) => p.length === 0);
  if (empty >= 0 || prompts.length === 0)
    throw diagnostics.misuse(
      prompts.length ? `prompt ${empty} is empty` : "there is no prompt",
      "give every sequence at least one token",
    );
  // The last id is chosen but never fed back.
  const session = model.session({ maxTokens: Math.max(1, longest + options.maxNew - 1), sequences: prompts.length });
  try {
    yield* proceed(session, prompts, options);
  } finally {
    session.close();
  }
}

/** The options of `generate`, by name. */
export const GENERATE_OPTIONS = ["maxNew", "stop", "draft", "ahead", "signal", ...SAMPLING] as const;

function checkOptions(call: string, options: GenerateOptions): void {
  const { maxNew, draft = 0, stop, ahead, signal } = optionsOf(call, options, GENERATE_OPTIONS, "maxNew, the ids to make");
  maybeStops(call, stop);
  maybeFlag(call, "ahead", ahead);
  maybeSignal(call, signal);
  if (!(Number.isSafeInteger(maxNew) && maxNew >= 1))
    throw diagnostics.misuse(`maxNew is ${shown(maxNew)}`, "give a whole number of at least 1");
  if (!(Number.isInteger(draft) && draft >= 0 && draft <= 4))
    throw diagnostics.misuse(`draft is ${shown(draft)}`, "give a whole number from 0 to 4");
}

/** What is known of a sequence that goes on. */
class Line {
  readonly sequence: number;
  /** Ids it holds, for the penalty. */
  readonly seen: Set<number>;
  /** The id chosen last: part of the answer, not in the cache yet. */
  pending = -1;
  made = 0;
  finish: Finish | null = null;

  constructor(sequence: number, seen: Iterable<number>) {
    this.sequence = sequence;
    this.seen = new Set(seen);
  }
}

/** Adds rows to what a session holds, sequence by sequence, and continues them. The session stays open. */
export async function* proceed(
  session: Session,
  rows: readonly ArrayLike<number>[],
  options: GenerateOptions,
): AsyncGenerator<GenerateStep, void, undefined> {
  made("proceed", "session", session, ["run", "truncate"], "model.session()");
  idLists("proceed", "rows", rows);
  checkOptions("proceed", options);
  const sampler = new Sampler(options);
  const stop = new Set(options.stop);
  const drafter = options.draft ? new Drafter(session, sampler, options.draft, options.signal) : undefined;
  const given = drafter ? drafter.refeed(rows) : rows;
  const lines = rows.flatMap((r, b) =>
    r.length ? [new Line(b, sampler.penalises ? [...session.cached(b), ...Array.from(given[b])] : [])] : [],
  );

  if (lines.length === 0) throw diagnostics.misuse("no sequence has a token");

  /** The ids of one sequence's rows of a call: each next one counts while the drafts before it were right. */
  const choose = (line: Line, result: Result, drafts: readonly Draft[], first: number): number[] => {
    const ids: number[] = [];
    for (let row = 0; row <= drafts.length && !line.finish; row++) {
      const { sequence } = line;
      const draft = drafts.at(row);
      const logits = sampler.plain || result.drawn ? undefined : result.logits(sequence, row);
      const id = !logits
        ? result.next(sequence, row)
        : draft
          ? sampler.judge(logits, line.seen, first + row, sequence, draft)
          : sampler.choose(logits, line.seen, first + row, sequence);
      ids.push(id);
      line.pending = id;
      if (sampler.penalises) line.seen.add(id);
      line.finish = stop.has(id) ? "stop" : ++line.made >= options.maxNew ? "length" : null;
      if (id !== draft?.id) break;
    }
    return ids;
  };

  const finishes = (): (Finish | null)[] => rows.map((_, b) => lines.find((l) => l.sequence === b)?.finish ?? null);
  // Drafts are judged here, by all probabilities.
  const drawing = sampler.plain || drafter ? undefined : sampler;
  const ahead = options.ahead === true && !drafter && session.runsAhead && (sampler.plain || session.draws);
  for (let index = 0; ; index++) {
    const active = lines.filter((l) => !l.finish);
    if (active.length === 0) return;
    options.signal?.throwIfAborted();
    let from = performance.now();
    if (ahead && index > 0) {
      // Until a sequence ends: the others go on without it then.
      const first = rows.map((_, b) => active.find((l) => l.sequence === b)?.pending ?? null);
      for await (const result of session.ahead(first, options.maxNew - Math.max(...active.map((l) => l.made)), drawing)) {
        const ids = rows.map((_, b) => active.filter((l) => l.sequence === b).flatMap((l) => choose(l, result, [], 0)));
        yield { index: index++, ids, finish: finishes(), result, ms: performance.now() - from, drafted: 0, accepted: 0 };
        if (active.some((l) => l.finish)) break;
        options.signal?.throwIfAborted();
        from = performance.now();
      }
      index--;
      continue;
    }
    const drafts = index > 0 && drafter ? await drafter.propose(active, options.maxNew) : new Map<number, Draft[]>();
    const draftsOf = (b: number): readonly Draft[] => drafts.get(b) ?? [];
    const fed: number[][] = rows.map(() => []);
    for (const l of active) fed[l.sequence] = [l.pending, ...draftsOf(l.sequence).map((d) => d.id)];
    options.signal?.throwIfAborted();
    const result =
      index === 0 ? await session.run(given, drawing) : drafter ? await session.verify(fed) : await session.run(fed, drawing);
    const ids: number[][] = rows.map(() => []);
    let drafted = 0;
    let accepted = 0;
    for (const l of active) {
      const { sequence } = l;
      const tried = draftsOf(sequence);
      const length = session.lengths[sequence];
      ids[sequence] = choose(l, result, tried, length - tried.length);
      drafted += tried.length;
      accepted += ids[sequence].filter((id, i) => id === tried[i]?.id).length;
      // Rows of drafts that were not chosen go; so does the row of an id past the end.
      if (index > 0) session.truncate(sequence, length - tried.length + ids[sequence].length - 1);
      if (drafter && !l.finish) drafter.learn(sequence, index === 0 ? given[sequence] : [], ids[sequence], result);
    }
    yield { index, ids, finish: finishes(), result, ms: performance.now() - from, drafted, accepted };
  }
}
