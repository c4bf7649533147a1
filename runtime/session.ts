// A session: several sequences over one paged latent cache. prefill, extend and decode are one operation on ragged rows; the entry
// is chosen by what is cached. Sequences come and go while others run, and hold pages for the rows they have, no more. Results
// are good until the next call of the session. Refuses ids outside the vocabulary, rows past maxTokens, and two calls at once.
import { idList, idLists, maybeWhole, optionsOf, shown, whole } from "./arguments.ts";
import { PADDING, type Entry } from "./batch.ts";
import { Cache } from "./cache.ts";
import { Arena, begin, drawable, type CallOptions, type Result } from "./call.ts";
import * as diagnostics from "./diagnostics.ts";
import { concat, snapshot } from "./concat.ts";
import type { Letter } from "./ranks/letters.ts";
import type { SessionModel } from "./session-model.ts";
import type { Sampler } from "./sample.ts";
import { Stepping } from "./stepping.ts";
import { TokenBitmap } from "./token-bitmap.ts";
import { bytesIn } from "./values.ts";

export type { Result } from "./call.ts";
export type { Tensor } from "./values.ts";

/** Options of `model.session()`. */
export interface SessionOptions {
  /** Rows a sequence may have; the model's positions when absent. */
  maxTokens?: number;
  /** Sequences to expect: the cache grows no further than they need, unless there are more. */
  sequences?: number;
}

/** Rope tables reach at least so far, then double. */
const FIRST_POSITIONS = 4096;

type Unnumbered<L> = L extends unknown ? Omit<L, "session"> : never;

/** What a call may have besides rows. */
interface Extra {
  inputs?: Record<string, Float32Array>;
  layer?: number;
  sampler?: Sampler | undefined;
}

/** Sequences of a model over one cache: rows in, logits out; they start, grow, are cut and end by themselves. */
export class Session {
  readonly maxTokens: number;
  private readonly model: SessionModel;
  private readonly expected: number;
  private readonly cache: Cache;
  private readonly arena: Arena;
  private readonly seen: TokenBitmap;
  /** The most rows of a step where the artifact keeps sequences from seeing each other: one at a time but in steps. */
  private readonly stepRows: number | undefined;
  private readonly ids: number[][] = [];
  private readonly draftRows: number[] = [];
  private busy = false;
  private closed = false;
  private released = false;
  /** Which of the model's sessions it is, where other ranks have to know. */
  private readonly number: number;
  /** Counts calls: a result belongs to one. */
  private turn = 0;

  constructor(model: SessionModel, options: SessionOptions) {
    const { maxPositions } = model.manifest.model;
    optionsOf("session", options, ["maxTokens", "sequences"]);
    maybeWhole("session", "sequences", options.sequences, 1);
    const maxTokens = options.maxTokens ?? maxPositions;
    if (!(Number.isSafeInteger(maxTokens) && maxTokens > 0))
      throw diagnostics.misuse({ what: `maxTokens is ${shown(maxTokens)}; it must be a whole number above 0` });
    if (maxTokens > maxPositions)
      throw diagnostics.misuse({ what: `maxTokens is ${maxTokens}, and the model was compiled for ${maxPositions} positions` });
    this.model = model;
    this.maxTokens = maxTokens;
    this.expected = options.sequences ?? 1;
    this.cache = new Cache(model.device, model.manifest.model, (layer) => model.weights.near(layer));
    this.arena = new Arena(model.device);
    this.seen = new TokenBitmap(model.device, model.manifest.model.vocab);
    this.stepRows = model.manifest.options.deterministic === undefined ? undefined : Number(model.manifest.options.deterministic);
    this.number = model.mail ? model.sessions++ : 0;
    this.say({ call: "open", options: { ...options } });
  }

  /** Tells other ranks what this session does, where this rank leads them. */
  private say(letter: Unnumbered<Letter>): void {
    this.model.mail?.say({ ...letter, session: this.number } as Letter);
  }

  /** Cached rows by sequence. */
  get lengths(): readonly number[] {
    return this.ids.map((s) => s.length);
  }

  /** Rows by sequence that the extra prediction layer has cached. */
  get draftLengths(): readonly number[] {
    return this.ids.map((_, b) => this.draftRows[b] ?? 0);
  }

  /** Whether the model has its extra prediction layer. */
  get drafts(): boolean {
    return this.model.manifest.entries.draft !== undefined;
  }

  /** Pages of the cache: in sequences, and there are; bytes of all. */
  get pages(): { inUse: number; capacity: number; bytes: number } {
    const { pool, bytes } = this.cache;
    return { inUse: pool.inUse, capacity: pool.capacity, bytes };
  }

  /** The ids whose rows a sequence has. */
  cached(sequence: number): readonly number[] {
    whole("cached", "sequence", sequence, 0);
    return this.ids[sequence] ?? [];
  }

  /** New sequences: the cache is emptied, and entry b of `tokens` becomes sequence b. */
  async prefill(tokens: readonly ArrayLike<number>[]): Promise<Result> {
    idLists("prefill", "tokens", tokens);
    if (tokens.some((t) => t.length === 0))
      throw diagnostics.misuse({ what: "a prompt is empty", help: "give every sequence at least one token" });
    this.check(tokens, () => 0);
    this.ids.forEach((_, b) => this.truncate(b, 0));
    return this.run(tokens);
  }

  /** New rows on what is cached. An empty entry lets its sequence sit out. */
  async extend(tokens: readonly ArrayLike<number>[]): Promise<Result> {
    idLists("extend", "tokens", tokens);
    return this.run(tokens);
  }

  /** One token for each sequence; null lets one sit out. */
  async decode(tokens: readonly (number | null)[]): Promise<Result> {
    if (!Array.isArray(tokens))
      throw diagnostics.badArgument({
        call: "decode",
        seen: `tokens is ${shown(tokens)}`,
        wanted: "an array with an id, or null, for each sequence",
      });
    return this.run(tokens.map((t) => (t === null ? [] : [t])));
  }

  /**
   * Rows for any of the sequences: prefill when none of them has cached rows, decode when each has one new row, else extend. The
   * device draws the ids by `sampler` where it can, and the result says whether it did.
   */
  async run(tokens: readonly ArrayLike<number>[], sampler?: Sampler): Promise<Result> {
    const { entries } = this.model.manifest;
    idLists("run", "tokens", tokens);
    const active = tokens.flatMap((t, b) => (t.length ? [b] : []));
    const fresh = active.every((b) => this.cached(b).length === 0);
    if (
      this.stepRows !== undefined &&
      active.length > 1 &&
      !active.every((b) => this.cached(b).length > 0 && tokens[b].length === 1)
    ) {
      this.check(tokens, (b) => this.cached(b).length);
      return this.oneByOne(active, (b) =>
        this.run(
          tokens.map((t, i) => (i === b ? t : [])),
          sampler,
        ),
      );
    }
    const single = active.every((b) => tokens[b].length === 1);
    const entry = fresh ? entries.prefill : single ? entries.decode : entries.extend;
    return this.append(entry, tokens, "last", sampler);
  }

  /**
   * Rows that are all answered, not the last one only: the main model's word on drafts. They are rows of `decode`, each on top of
   * those before it, so they meet the kernels that a step without drafts meets.
   */
  async verify(tokens: readonly ArrayLike<number>[]): Promise<Result> {
    idLists("verify", "tokens", tokens);
    return this.append(this.model.manifest.entries.decode, tokens, "all");
  }

  /** A new sequence beside those there are: the lowest number that has no rows. */
  async add(tokens: ArrayLike<number>): Promise<{ sequence: number; result: Result }> {
    if (idList("add", "tokens", tokens).length === 0)
      throw diagnostics.misuse({ what: "a prompt is empty", help: "give every sequence at least one token" });
    const free = this.ids.findIndex((s) => s.length === 0);
    const sequence = free < 0 ? this.ids.length : free;
    const rows: ArrayLike<number>[] = Array.from({ length: sequence + 1 }, () => []);
    rows[sequence] = tokens;
    return { sequence, result: await this.run(rows) };
  }

  /**
   * The extra prediction layer over rows of a call: `tokens` are the next ids, row by row, `hidden` [rows, hidden] the main
   * model's state after its final norm. It caches rows of its own; the logits are of the ids after the next.
   */
  async draft(tokens: readonly ArrayLike<number>[], hidden: Float32Array): Promise<Result> {
    const { entries, model } = this.model.manifest;
    if (entries.draft === undefined) throw diagnostics.noDraftLayer();
    const wanted = idLists("draft", "tokens", tokens).reduce((n, t) => n + t.length, 0) * model.hidden;
    if (!(hidden instanceof Float32Array) || hidden.length !== wanted)
      throw diagnostics.badArgument({
        call: "draft",
        seen: `hidden is ${hidden instanceof Float32Array ? `${hidden.length} numbers` : shown(hidden)}`,
        wanted: `a Float32Array of ${wanted} numbers, ${model.hidden} for each id`,
      });
    this.check(tokens, (b) => this.draftRows[b] ?? 0);
    const active = tokens.flatMap((t, b) => (t.length ? [b] : []));
    if (this.stepRows !== undefined && active.length > 1) {
      let from = 0;
      return this.oneByOne(active, (b) =>
        this.draft(
          tokens.map((t, i) => (i === b ? t : [])),
          hidden.subarray(from * model.hidden, (from += tokens[b].length) * model.hidden),
        ),
      );
    }
    const rows = tokens.flatMap((t, sequence) =>
      t.length ? [{ sequence, before: this.draftRows[sequence] ?? 0, tokens: t }] : [],
    );
    const extra = { inputs: { hidden: hidden.slice() }, layer: model.layers };
    const result = await this.call(entries.draft, rows, extra, { call: "draft", tokens: tokens.map((t) => Array.from(t)) });
    for (const { sequence, before, tokens: t } of rows) this.draftRows[sequence] = before + t.length;
    return result;
  }

  /**
   * Forgets the rows of a sequence from `length` on and gives their pages back; 0 ends it. The extra layer's last row has seen
   * the id after it, so one row more of it goes unless `draftLength` says otherwise.
   */
  truncate(sequence: number, length: number, draftLength?: number): void {
    if (this.busy) throw diagnostics.misuse({ what: "the session is at work", help: "await the call before cutting a sequence" });
    whole("truncate", "sequence", sequence, 0);
    whole("truncate", "length", length, 0);
    maybeWhole("truncate", "draftLength", draftLength, 0);
    const ids = this.ids[sequence];
    if (!ids || length >= ids.length) return;
    this.say({ call: "truncate", sequence, length, ...(draftLength === undefined ? {} : { draftLength }) });
    ids.length = length;
    this.seen.forget(sequence);
    this.cut(sequence, draftLength ?? Math.max(0, length - 1));
  }

  /** Forgets rows of the extra layer only. */
  cutDraft(sequence: number, length: number): void {
    whole("cutDraft", "sequence", sequence, 0);
    whole("cutDraft", "length", length, 0);
    this.say({ call: "cutDraft", sequence, length });
    this.cut(sequence, length);
  }

  private cut(sequence: number, length: number): void {
    this.draftRows[sequence] = Math.min(length, this.draftRows[sequence] ?? 0);
    this.cache.pool.cut(sequence, Math.max(this.cached(sequence).length, this.draftRows[sequence]));
  }

  /** `using session = model.session()` closes it at the end of its block. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** What console.log shows. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return (
      `Session { rows of its sequences: ${this.lengths.join(", ") || "none"}; at most ${this.maxTokens} each; ` +
      `${this.pages.inUse} pages in use${this.closed ? "; closed" : ""} }`
    );
  }

  /** Gives cache and arena back, after the call under way. Results of earlier calls are no longer good. */
  close(): void {
    this.closed = true;
    // A call under way still writes there; it gives them back when it ends.
    if (this.busy || this.released) return;
    this.released = true;
    this.say({ call: "close" });
    this.cache.close();
    this.arena.close();
    this.seen.close();
  }

  /** Calls of one sequence each, for sequences that must not see each other. */
  private async oneByOne(sequences: readonly number[], call: (sequence: number) => Promise<Result>): Promise<Result> {
    const parts: Result[] = [];
    for (const b of sequences) parts.push(snapshot(await call(b)));
    return concat(parts);
  }

  /** Rows by an entry of the manifest, answered by the last row of a sequence or by all: what the calls above are made of. */
  async append(
    entry: string,
    tokens: readonly ArrayLike<number>[],
    answered: "last" | "all",
    sampler?: Sampler,
  ): Promise<Result> {
    this.check(tokens, (b) => this.cached(b).length);
    const rows = tokens.flatMap((t, sequence): Entry[] => {
      const before = this.cached(sequence).length;
      if (answered === "all") return Array.from(t, (id, j) => ({ sequence, before: before + j, tokens: [id] }));
      return t.length ? [{ sequence, before, tokens: t }] : [];
    });
    if (entry === this.model.manifest.entries.decode) this.checkStep(rows.length);
    const ids = tokens.map((t) => Array.from(t));
    const letter = { call: "append" as const, tokens: ids, entry, rows: answered, ...(sampler && { sampling: sampler.options }) };
    const result = await this.call(entry, rows, { sampler }, letter);
    tokens.forEach((t, b) => {
      const ids = this.sequence(b);
      for (let i = 0; i < t.length; i++) ids.push(t[i]);
    });
    return result;
  }

  /** Whether steps can be begun ahead of their ids: see `ahead`. */
  get runsAhead(): boolean {
    return this.model.device.ahead;
  }

  /** Whether the device can draw the ids of steps. */
  get draws(): boolean {
    return drawable(this.model, this.model.manifest.entries.decode);
  }

  /**
   * Steps, each begun before the ids of the last are known here, so that the device does not wait for the host between them. Ids are
   * the most likely ones, or drawn by `sampler` where the session `draws`. `first` are the ids to begin with. Of a step's result only
   * `next` can be read. Leaving early forgets the step under way.
   */
  async *ahead(first: readonly (number | null)[], steps: number, sampler?: Sampler): AsyncGenerator<Result, void, undefined> {
    const { mail } = this.model;
    if (mail && !this.runsAhead)
      throw diagnostics.misuse({
        what: "steps of several ranks cannot begin ahead of their ids on the CPU",
        help: "call decode",
      });
    const stepping = this.stepping(first, steps, sampler);
    this.say({ call: "ahead", first: [...first], steps, ...(sampler && { sampling: sampler.options }) });
    const fail = (e: unknown): never => {
      mail?.fail(e);
      throw e;
    };
    const begin = (): boolean => {
      try {
        this.say({ call: "begin", taken: stepping.taken });
        return stepping.begin();
      } catch (e) {
        return fail(e);
      }
    };
    try {
      begin();
      for (let k = 0; k < steps; k++) {
        const more = k + 1 < steps;
        const begun = more && begin();
        const result = await stepping.take().catch(fail);
        if (this.closed) throw diagnostics.misuse({ what: "the session was closed during the call" });
        yield result;
        if (more && !begun) begin();
      }
    } finally {
      if (!mail?.ended) this.say({ call: "end", taken: stepping.taken });
      await stepping.end();
    }
  }

  /** Steps as `ahead` makes them, begun and looked at one by one; the session is at work until they end. */
  stepping(first: readonly (number | null)[], steps: number, sampler?: Sampler): Stepping {
    this.check(
      first.map((id) => (id === null ? [] : Array.from({ length: Math.max(1, steps) }, () => id))),
      (b) => this.cached(b).length,
    );
    const active = first.flatMap((id, b) => (id === null ? [] : [b]));
    this.checkStep(active.length);
    const lengths = active.map((b) => this.cached(b).length);
    this.busy = true;
    return new Stepping(
      active.map((b) => first[b]!),
      {
        begin: (k, fed, after) => {
          const entries = active.map((sequence, i) => ({ sequence, before: lengths[i] + k, tokens: [fed[i]] }));
          return begin(this.model, this.arena, this.prepared(this.model.manifest.entries.decode, entries, { sampler }), after);
        },
        took: (fed, result) => {
          if (this.closed) return [];
          for (const [i, b] of active.entries()) this.ids[b].push(fed[i]);
          return active.map((b) => result.next(b));
        },
        end: () => {
          for (const b of active) this.cut(b, this.draftRows[b] ?? 0);
          this.busy = false;
          if (this.closed) this.close();
        },
      },
    );
  }

  /** Pages and positions for the rows of a call, and the call. What it gives can be read until the next one is prepared. */
  private prepared(entry: string, entries: readonly Entry[], { inputs = {}, layer, sampler }: Extra): CallOptions {
    const turn = ++this.turn;
    const reach = new Map<number, number>();
    for (const e of entries) reach.set(e.sequence, Math.max(this.cached(e.sequence).length, e.before + e.tokens.length));
    const longest = Math.max(...reach.values());
    this.model.ensureRope(
      Math.min(this.model.manifest.model.maxPositions, Math.max(FIRST_POSITIONS, 2 ** Math.ceil(Math.log2(longest)))),
    );
    const { cache } = this;
    const expected = Math.max(this.expected, this.ids.length, ...[...reach.keys()].map((b) => b + 1));
    const { device, manifest } = this.model;
    const filled =
      entry === manifest.entries.decode ? (device.rows?.(entry, entries.length) ?? entries.length) - entries.length : 0;
    if (filled) reach.set(PADDING, 1);
    cache.reserve([...reach], expected * cache.pool.pagesFor(this.maxTokens) + (filled ? 1 : 0));
    return {
      entry,
      entries,
      padding: filled,
      inputs,
      ...(layer === undefined ? {} : { layer }),
      ...(sampler && drawable(this.model, entry) ? { sampling: { sampler, seen: this.marks(entries, sampler) } } : {}),
      cache: (name, l) => cache.address(name, l),
      page: (sequence, index) => cache.pool.page(sequence, index),
      current: () => {
        if (this.closed) throw diagnostics.misuse({ what: "the session is closed, and its results with it" });
        if (turn !== this.turn)
          throw diagnostics.misuse({
            what: "the result was overtaken by the session's next call",
            help: "read what you need, or copy it, before that",
          });
      },
    };
  }

  /** Where the ids that sequences hold are marked, those of the call among them; 0 where none are looked at. */
  private marks(entries: readonly Entry[], sampler: Sampler): number {
    if (!sampler.penalises) return 0;
    const at = this.seen.address(Math.max(...entries.map((e) => e.sequence)) + 1);
    for (const e of entries) this.seen.feed(e.sequence, e.before, e.tokens, () => this.cached(e.sequence));
    return at;
  }

  private async call(entry: string, entries: readonly Entry[], extra: Extra, letter: Unnumbered<Letter>): Promise<Result> {
    this.busy = true;
    try {
      const run = (): Promise<Result> => begin(this.model, this.arena, this.prepared(entry, entries, extra))!.result;
      const { mail } = this.model;
      const floats = Object.values(extra.inputs ?? {}).map(bytesIn);
      const result = await (mail ? mail.turn({ ...letter, session: this.number } as Letter, floats, run) : run());
      if (this.closed) throw diagnostics.misuse({ what: "the session was closed during the call" });
      return result;
    } catch (e) {
      // Rows that were not appended hold no pages.
      for (const { sequence } of entries) this.cut(sequence, this.draftRows[sequence] ?? 0);
      throw e;
    } finally {
      this.busy = false;
      if (this.closed) this.close();
    }
  }

  /** Refuses before anything changes. */
  private check(tokens: readonly ArrayLike<number>[], before: (sequence: number) => number): void {
    if (this.closed) throw diagnostics.misuse({ what: "the session is closed" });
    if (this.busy)
      throw diagnostics.misuse({
        what: "the session is at work",
        help: "await one call before the next, or open another session",
      });
    const { vocab } = this.model.manifest.model;
    if (!tokens.some((t) => t.length)) throw diagnostics.misuse({ what: "no sequence has a token" });
    tokens.forEach((t, b) => {
      for (let i = 0; i < t.length; i++)
        if (!(Number.isInteger(t[i]) && t[i] >= 0 && t[i] < vocab))
          throw diagnostics.badId({ sequence: b, index: i, id: t[i], vocab });
      const reach = before(b) + t.length;
      if (reach > this.maxTokens) throw diagnostics.tooLong({ sequence: b, wanted: reach, capacity: this.maxTokens });
    });
  }

  private checkStep(rows: number): void {
    if (this.stepRows !== undefined && rows > this.stepRows) throw diagnostics.tooManyRows({ rows, most: this.stepRows });
  }

  private sequence(b: number): number[] {
    while (this.ids.length <= b) this.ids.push([]);
    return this.ids[b];
  }
}
