// A session: several sequences over one paged latent cache. prefill, extend and decode are one operation on ragged rows;
// the entry is chosen by what is cached. Results are views of the arena, good until the next call of the session.
// Refuses ids outside the vocabulary, rows past maxTokens, and two calls at once.
import { Batch, TABLES } from "./batch.ts";
import { align, arenaBytes, functionOf, largestDims } from "./devices/program.ts";
import * as diagnostics from "./diagnostics.ts";
import type { Model } from "./model.ts";
import { argmax } from "./sample.ts";
import type { Tensor } from "./values.ts";
import { bytesIn, bytesOf, layOut, logitsOf, readValue, writeValue } from "./values.ts";

export type { Tensor } from "./values.ts";

export interface SessionOptions {
  /** Rows the cache holds per sequence; the model's positions or 4096 when absent, whichever is less. */
  maxTokens?: number;
  /** Sequences of the batch; by default the first prefill's. */
  sequences?: number;
}

/** What one call gives. `sequences` lists the sequences that had rows, in order; `starts` their first rows. */
export interface Result {
  sequences: number[];
  starts: number[];
  /** Logits [vocab] after the last row of a sequence. */
  logits(sequence: number): Float32Array;
  /** The most likely id after the last row of a sequence: 4 bytes fetched instead of the logits. */
  next(sequence: number): number;
  /** Every result by name: "logits", "next", "final" and taps such as "hidden.0"; fetched when their data is looked at. */
  taps: Record<string, Tensor>;
}

export class Session {
  readonly maxTokens: number;
  /** Cached rows by sequence. */
  readonly lengths: number[] = [];
  private readonly draftLengths: number[] = [];
  private readonly model: Model;
  private sequences: number;
  private cache = { at: 0, layerBytes: 0 };
  private arena = { at: 0, bytes: 0 };
  private busy = false;
  private closed = false;

  constructor(model: Model, options: SessionOptions) {
    const { maxPositions } = model.manifest.model;
    const maxTokens = options.maxTokens ?? Math.min(4096, maxPositions);
    if (!(Number.isSafeInteger(maxTokens) && maxTokens > 0))
      throw diagnostics.misuse(`maxTokens is ${maxTokens}; it must be a whole number above 0`);
    if (maxTokens > maxPositions)
      throw diagnostics.misuse(`maxTokens is ${maxTokens}, and the model was compiled for ${maxPositions} positions`);
    this.model = model;
    this.maxTokens = maxTokens;
    this.sequences = options.sequences ?? 0;
  }

  /** New sequences: the cache is emptied, and entry b of `tokens` becomes sequence b. */
  prefill(tokens: readonly ArrayLike<number>[]): Promise<Result> {
    if (tokens.some((t) => t.length === 0))
      return Promise.reject(diagnostics.misuse("a prompt is empty", "give every sequence at least one token"));
    if (!this.busy) {
      this.lengths.fill(0);
      this.draftLengths.fill(0);
      if (tokens.length > this.sequences) this.releaseCache();
    }
    return this.run(tokens);
  }

  /** New rows on what is cached. An empty entry lets its sequence sit out. */
  extend(tokens: readonly ArrayLike<number>[]): Promise<Result> {
    return this.run(tokens);
  }

  /** One token for each sequence; null lets one sit out. */
  decode(tokens: readonly (number | null)[]): Promise<Result> {
    return this.run(tokens.map((t) => (t === null ? [] : [t])));
  }

  /** Rows for any of the sequences: prefill when none of them has cached rows, decode when each has one new row, else extend. */
  run(tokens: readonly ArrayLike<number>[]): Promise<Result> {
    const { entries } = this.model.manifest;
    const active = tokens.flatMap((t, b) => (t.length ? [b] : []));
    const fresh = active.every((b) => !this.lengths[b]);
    const single = active.every((b) => tokens[b].length === 1);
    return this.call(fresh ? entries.prefill : single ? entries.decode : entries.extend, tokens, this.lengths);
  }

  /**
   * The extra prediction layer over rows of a call: `tokens` are the next ids, row by row, `hidden` [rows, hidden] the main
   * model's state after its final norm. It caches rows of its own; the logits are of the ids after the next.
   */
  draft(tokens: readonly ArrayLike<number>[], hidden: Float32Array): Promise<Result> {
    const { entries, model } = this.model.manifest;
    if (entries.draft === undefined)
      return Promise.reject(diagnostics.misuse("the model was compiled without its extra prediction layer"));
    return this.call(entries.draft, tokens, this.draftLengths, { hidden: hidden.slice() }, model.layers);
  }

  /** Forgets the rows of a sequence from `length` on. */
  truncate(sequence: number, length: number): void {
    this.lengths[sequence] = Math.min(length, this.lengths[sequence] ?? 0);
    this.draftLengths[sequence] = Math.min(length, this.draftLengths[sequence] ?? 0);
  }

  /** Gives cache and arena back. Results of earlier calls are no longer good. */
  close(): void {
    this.closed = true;
    // A call under way still writes there; it gives them back when it ends.
    if (this.busy) return;
    this.releaseCache();
    this.releaseArena();
  }

  private releaseCache(): void {
    if (this.cache.at) this.model.device.release(this.cache.at);
    this.cache = { at: 0, layerBytes: 0 };
  }

  private releaseArena(): void {
    if (this.arena.at) this.model.device.release(this.arena.at);
    this.arena = { at: 0, bytes: 0 };
  }

  private async call(
    entry: string,
    tokens: readonly ArrayLike<number>[],
    lengths: number[],
    inputs: Record<string, Float32Array> = {},
    layer?: number,
  ): Promise<Result> {
    if (this.closed) throw diagnostics.misuse("the session is closed");
    if (this.busy) throw diagnostics.misuse("the session is at work", "await one call before the next, or open another session");
    this.busy = true;
    try {
      return await this.callAlone(entry, tokens, lengths, inputs, layer);
    } finally {
      this.busy = false;
      if (this.closed) this.close();
    }
  }

  private async callAlone(
    entry: string,
    tokens: readonly ArrayLike<number>[],
    lengths: number[],
    inputs: Record<string, Float32Array>,
    layer?: number,
  ): Promise<Result> {
    const { model, maxTokens } = this;
    const { manifest, device } = model;
    const { pageRows } = manifest.model;
    this.check(tokens, lengths);
    await model.ensureRope(maxTokens);
    this.openCache(tokens.length);
    const batch = new Batch(tokens, lengths, pageRows);
    const dims = largestDims(batch.shape);

    // One block: tables, inputs, results, then the arena of the program.
    const plan = functionOf(manifest, entry);
    let end = 0;
    const take = (bytes: number): number => {
      const at = end;
      end += align(bytes);
      return at;
    };
    const tables = new Map(TABLES.map((t) => [t, take(batch.count(t) * 4)]));
    const host = new ArrayBuffer(end);
    const given = layOut(plan.inputs, dims, take);
    const results = layOut(plan.results, dims, take);
    const slots = take(arenaBytes(manifest, entry, dims));
    const base = this.openArena(end);

    // Pages of the sequences alternate, so that a batch never lies in order by accident.
    batch.write(
      (t) => new Int32Array(host, tables.get(t), batch.count(t)),
      pageRows,
      (sequence, p) => p * this.sequences + sequence,
    );
    device.write(base, bytesIn(new Int32Array(host)));
    for (const g of given) writeValue(device, g, base, inputs[g.arg.name]);
    await device.run({
      function: entry,
      layer,
      batch: batch.shape,
      arena: base + slots,
      args: new Map([...given, ...results].map((a) => [a.arg.name, base + a.at])),
      places: {
        weight: (symbol, part, layer) => model.weights.address(symbol, part, layer),
        cache: (layer) => this.cache.at + this.cache.layerBytes * (layer ?? 0),
        batch: (t) => base + (tables.get(t) as number),
      },
    });
    const { active, shape } = batch;
    active.forEach((b, i) => (lengths[b] = shape.lengths[i]));
    const taps = Object.fromEntries(results.map((r) => [r.arg.name, readValue(device, r, base)]));
    const logits = (b: number): Float32Array => logitsOf(device, results, base, active.indexOf(b), shape.starts);
    const next = (b: number): number => (taps.next && active.includes(b) ? taps.next.data[active.indexOf(b)] : argmax(logits(b)));
    return { sequences: active, starts: [...shape.starts], taps, logits, next };
  }

  private check(tokens: readonly ArrayLike<number>[], lengths: readonly number[]): void {
    const { vocab } = this.model.manifest.model;
    if (!tokens.some((t) => t.length)) throw diagnostics.misuse("no sequence has a token");
    if (this.cache.at && tokens.length > this.sequences)
      throw diagnostics.misuse(
        `the session holds ${this.sequences} sequences, and ${tokens.length} were given`,
        "pass `sequences` when opening it, or prefill them together",
      );
    tokens.forEach((t, b) => {
      for (let i = 0; i < t.length; i++)
        if (!(Number.isInteger(t[i]) && t[i] >= 0 && t[i] < vocab)) throw diagnostics.badId(b, i, t[i], vocab);
      const reach = (lengths[b] ?? 0) + t.length;
      if (reach > this.maxTokens) throw diagnostics.tooLong(b, reach, this.maxTokens);
    });
  }

  private openCache(sequences: number): void {
    if (this.cache.at) return;
    const { model, device } = { model: this.model.manifest.model, device: this.model.device };
    this.sequences = Math.max(this.sequences, sequences);
    const pagesEach = Math.ceil(this.maxTokens / model.pageRows);
    const layerBytes = align(pagesEach * this.sequences * model.pageRows * model.cacheWidth * bytesOf[model.cacheDType]);
    const bytes = layerBytes * model.caches;
    const what = `the cache of ${this.sequences} sequences of ${this.maxTokens} tokens`;
    if (bytes > device.available()) throw diagnostics.noMemory(what, bytes, device.available(), []);
    this.cache = { at: device.allocate(bytes, what), layerBytes };
  }

  private openArena(bytes: number): number {
    const { device } = this.model;
    if (bytes > this.arena.bytes) {
      this.releaseArena();
      if (bytes > device.available()) throw diagnostics.noMemory("the values between the kernels", bytes, device.available(), []);
      this.arena = { at: device.allocate(bytes, "the values between the kernels"), bytes };
    }
    return this.arena.at;
  }
}
