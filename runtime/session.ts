// A session: several sequences over one paged latent cache. prefill, extend and decode are one operation on ragged rows; the entry is
// chosen by what is cached. Results are views of the session's arena, good until its next call.
// Refuses ids outside the vocabulary, rows past maxTokens, and two calls at once.
import type { ArgPlan } from "../ir/artifact.ts";
import { evaluate } from "../ir/size.ts";
import { availableBytes } from "./devices/cpu.ts";
import type { BatchShape, BatchTable } from "./devices/program.ts";
import { align, arenaBytes, flatten, functionOf, largestDims } from "./devices/program.ts";
import * as diagnostics from "./diagnostics.ts";
import type { Model } from "./model.ts";

export interface SessionOptions {
  /** Rows the cache holds per sequence; the model's positions or 4096 when absent, whichever is less. */
  maxTokens?: number;
  /** Sequences of the batch; by default the first prefill's. */
  sequences?: number;
}

/** A named result. bf16 values are widened. */
export interface Tensor {
  shape: number[];
  data: Float32Array | Int32Array;
}

/** What one call gives. `sequences` lists the sequences that had rows, in order; `starts` their first rows. */
export interface Result {
  sequences: number[];
  starts: number[];
  /** Logits [vocab] after the last row of a sequence. */
  logits(sequence: number): Float32Array;
  /** Every result by name: "logits", "final" and taps such as "hidden.0". */
  taps: Record<string, Tensor>;
}

const TABLES: BatchTable[] = ["positions", "sequence", "starts", "lengths", "pages", "ids"];
const width = (dtype: ArgPlan["dtype"]): number => (dtype === "bf16" ? 2 : 4);

export class Session {
  readonly maxTokens: number;
  /** Cached rows by sequence. */
  readonly lengths: number[] = [];
  private readonly draftLengths: number[] = [];
  private readonly model: Model;
  private sequences: number;
  private cache = { at: 0, layerBytes: 0, pagesEach: 0 };
  private arena = { at: 0, bytes: 0 };
  private busy = false;
  private closed = false;

  constructor(model: Model, options: SessionOptions) {
    const { maxPositions } = model.manifest.model;
    const maxTokens = options.maxTokens ?? Math.min(4096, maxPositions);
    if (!(Number.isSafeInteger(maxTokens) && maxTokens > 0)) throw diagnostics.misuse(`maxTokens is ${maxTokens}; it must be a whole number above 0`);
    if (maxTokens > maxPositions) throw diagnostics.misuse(`maxTokens is ${maxTokens}, and the model was compiled for ${maxPositions} positions`);
    this.model = model;
    this.maxTokens = maxTokens;
    this.sequences = options.sequences ?? 0;
  }

  /** New sequences: the cache is emptied, and entry b of `tokens` becomes sequence b. */
  prefill(tokens: readonly ArrayLike<number>[]): Promise<Result> {
    if (tokens.some((t) => t.length === 0)) return Promise.reject(diagnostics.misuse("a prompt is empty", "give every sequence at least one token"));
    if (!this.busy) {
      this.lengths.fill(0);
      this.draftLengths.fill(0);
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
    if (entries.draft === undefined) return Promise.reject(diagnostics.misuse("the model was compiled without its extra prediction layer"));
    return this.call(entries.draft, tokens, this.draftLengths, { hidden: hidden.slice() }, model.layers);
  }

  /** Forgets the rows of a sequence from `length` on. */
  truncate(sequence: number, length: number): void {
    this.lengths[sequence] = Math.min(length, this.lengths[sequence] ?? 0);
    this.draftLengths[sequence] = Math.min(length, this.draftLengths[sequence] ?? 0);
  }

  /** Gives cache and arena back. Results of earlier calls are no longer good. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.cache.at) this.model.device.release(this.cache.at);
    if (this.arena.at) this.model.device.release(this.arena.at);
  }

  private async call(entry: string, tokens: readonly ArrayLike<number>[], lengths: number[], inputs: Record<string, Float32Array> = {}, layer?: number): Promise<Result> {
    if (this.closed) throw diagnostics.misuse("the session is closed");
    if (this.busy) throw diagnostics.misuse("the session is at work", "await one call before the next, or open another session");
    this.busy = true;
    try {
      return await this.callAlone(entry, tokens, lengths, inputs, layer);
    } finally {
      this.busy = false;
    }
  }

  private async callAlone(entry: string, tokens: readonly ArrayLike<number>[], lengths: number[], inputs: Record<string, Float32Array>, layer?: number): Promise<Result> {
    const { model, maxTokens } = this;
    const { manifest, device } = model;
    this.check(tokens, lengths);
    await model.ensureRope(maxTokens);
    this.openCache(tokens.length);

    const active = tokens.flatMap((t, b) => (t.length ? [b] : []));
    const starts = [0];
    for (const b of active) starts.push(starts[starts.length - 1] + tokens[b].length);
    const after = active.map((b) => (lengths[b] ?? 0) + tokens[b].length);
    const { pageRows } = manifest.model;
    const shape: BatchShape = { starts, lengths: after, pages: Math.max(...after.map((n) => Math.ceil(n / pageRows))) };
    const dims = largestDims(shape);
    const [T, B] = [dims.T, dims.B];

    // One block: tables, inputs, results, then the arena of the program.
    const plan = functionOf(manifest, entry);
    let end = 0;
    const take = (bytes: number): number => {
      const at = end;
      end += align(bytes);
      return at;
    };
    const counts: Record<BatchTable, number> = { positions: T, sequence: T, starts: B + 1, lengths: B, pages: B * shape.pages, ids: T };
    const tables = new Map(TABLES.map((t) => [t, take(counts[t] * 4)]));
    const named = [...plan.inputs, ...plan.results].map((a) => {
      const extent = a.shape.map((s) => evaluate(s, dims));
      const count = extent.reduce((x, y) => x * y, 1);
      return { ...a, extent, count, at: take(count * width(a.dtype)) };
    });
    const slots = take(arenaBytes(manifest, entry, dims));
    const base = this.openArena(end);

    const table = (t: BatchTable): Int32Array => device.i32(base + (tables.get(t) as number), counts[t]);
    const [positions, sequence, ids, pages] = [table("positions"), table("sequence"), table("ids"), table("pages")];
    active.forEach((b, i) => {
      const from = lengths[b] ?? 0;
      for (let j = 0; j < tokens[b].length; j++) {
        positions[starts[i] + j] = from + j;
        sequence[starts[i] + j] = i;
        ids[starts[i] + j] = tokens[b][j];
      }
      // Pages of the sequences alternate, so that a batch never lies in order by accident.
      for (let p = 0; p < shape.pages; p++) pages[i * shape.pages + p] = p < Math.ceil(after[i] / pageRows) ? p * this.sequences + b : 0;
    });
    table("starts").set(starts);
    table("lengths").set(after);
    for (const a of plan.inputs) this.writeInput(a, base + (named.find((n) => n.name === a.name)?.at ?? 0), inputs[a.name], named.find((n) => n.name === a.name)?.count ?? 0);

    await device.run(flatten(manifest, entry, {
      layer, batch: shape, arena: base + slots, kernels: device.kernels,
      args: new Map(named.map((a) => [a.name, base + a.at])),
      places: {
        weight: (symbol, part, layer) => model.weights.address(symbol, part, layer),
        cache: (layer) => this.cache.at + this.cache.layerBytes * (layer ?? 0),
        batch: (t) => base + (tables.get(t) as number),
      },
    }));
    active.forEach((b, i) => (lengths[b] = after[i]));
    const taps: Record<string, Tensor> = {};
    for (const a of named) if (plan.results.some((r) => r.name === a.name)) taps[a.name] = { shape: a.extent, data: this.read(a.dtype, base + a.at, a.count) };
    return { sequences: active, starts, taps, logits: (b) => logitsOf(taps, active.indexOf(b), starts) };
  }

  private check(tokens: readonly ArrayLike<number>[], lengths: readonly number[]): void {
    const { vocab } = this.model.manifest.model;
    if (!tokens.some((t) => t.length)) throw diagnostics.misuse("no sequence has a token");
    if (this.sequences && tokens.length > this.sequences && this.cache.at) throw diagnostics.misuse(`the session was opened for ${this.sequences} sequences, and ${tokens.length} were given`, "pass `sequences` when opening it");
    tokens.forEach((t, b) => {
      for (let i = 0; i < t.length; i++) if (!(Number.isInteger(t[i]) && t[i] >= 0 && t[i] < vocab)) throw diagnostics.badId(b, i, t[i], vocab);
      const reach = (lengths[b] ?? 0) + t.length;
      if (reach > this.maxTokens) throw diagnostics.tooLong(b, reach, this.maxTokens);
    });
  }

  private openCache(sequences: number): void {
    if (this.cache.at) return;
    const { model, device } = { model: this.model.manifest.model, device: this.model.device };
    this.sequences = Math.max(this.sequences, sequences);
    const pagesEach = Math.ceil(this.maxTokens / model.pageRows);
    const layerBytes = align(pagesEach * this.sequences * model.pageRows * model.cacheWidth * width(model.cacheDType));
    const bytes = layerBytes * model.caches;
    const what = `the cache of ${this.sequences} sequences of ${this.maxTokens} tokens`;
    if (bytes > availableBytes()) throw diagnostics.noMemory(what, bytes, availableBytes(), []);
    this.cache = { at: device.allocate(bytes, what), layerBytes, pagesEach };
  }

  private openArena(bytes: number): number {
    const { device } = this.model;
    if (bytes > this.arena.bytes) {
      if (this.arena.at) device.release(this.arena.at);
      this.arena = { at: 0, bytes: 0 };
      if (bytes > availableBytes()) throw diagnostics.noMemory("the values between the kernels", bytes, availableBytes(), []);
      this.arena = { at: device.allocate(bytes, "the values between the kernels"), bytes };
    }
    return this.arena.at;
  }

  private writeInput(a: ArgPlan, at: number, value: Float32Array | undefined, count: number): void {
    if (!value) throw diagnostics.brokenManifest(`an entry takes ${a.name}, which a session does not give`);
    if (value.length !== count) throw diagnostics.misuse(`${a.name} has ${value.length} values; the rows need ${count}`);
    const { device } = this.model;
    if (a.dtype === "f32") device.f32(at, count).set(value);
    else if (a.dtype === "bf16") {
      const bits = new Uint32Array(value.buffer, value.byteOffset, count);
      const out = new Uint16Array(device.memory.buffer, at, count);
      for (let i = 0; i < count; i++) out[i] = (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) >>> 16;
    } else device.i32(at, count).set(value);
  }

  private read(dtype: ArgPlan["dtype"], at: number, count: number): Tensor["data"] {
    const { device } = this.model;
    if (dtype === "f32") return device.f32(at, count);
    if (dtype === "i32") return device.i32(at, count);
    const bits = Uint32Array.from(new Uint16Array(device.memory.buffer, at, count), (b) => b << 16);
    return new Float32Array(bits.buffer);
  }
}

function logitsOf(taps: Record<string, Tensor>, index: number, starts: readonly number[]): Float32Array {
  const t = taps.logits ?? taps.logits_all;
  if (!t) throw diagnostics.brokenManifest("the entry gives no logits");
  if (index < 0) throw diagnostics.misuse("that sequence had no rows in this call");
  const [rows, vocab] = t.shape;
  const row = rows === starts.length - 1 ? index : starts[index + 1] - 1;
  return (t.data as Float32Array).subarray(row * vocab, (row + 1) * vocab);
}
