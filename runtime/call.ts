// One call of an entry: its tables, inputs, results and arena are laid out as one block, the device runs it, and what it gives is
// fetched when looked at. A result that was overtaken by the next call is refused, not read.
import { whole } from "./arguments.ts";
import { Batch, PADDING, TABLES, padding, type Entry } from "./batch.ts";
import type { Device } from "./device.ts";
import { arenaBytes, functionOf, largestDims } from "./plan/dims.ts";
import { align } from "./plan/align.ts";
import * as diagnostics from "./diagnostics.ts";
import type { SessionModel } from "./session-model.ts";
import { CHOICE_BYTES, Sampler, argmax } from "./sample.ts";
import { bytesIn, layOut, readRows, readValue, writeValue, type Placed, type Tensor } from "./values.ts";

/** What one call gives. `sequences` lists the sequences that had rows, in order; `starts` their first rows. */
export interface Result {
  sequences: number[];
  starts: number[];
  /** Logits [vocab] after the last row of a sequence; of `verify`, after its row `row`. */
  logits(sequence: number, row?: number): Float32Array;
  /** The id after that row, the most likely one unless `drawn`: 4 bytes fetched instead of the logits. */
  next(sequence: number, row?: number): number;
  /** Whether `next` was drawn by the sampler of the call. */
  drawn: boolean;
  /** A copy of the first `rows` rows of a sequence after the final norm, [rows, hidden]. */
  hidden(sequence: number, rows: number): Float32Array;
  /** Every result by name: "logits", "next", "final" and taps such as "hidden.0"; fetched when their data is looked at. */
  taps: Record<string, Tensor>;
}

export interface CallOptions {
  entry: string;
  entries: readonly Entry[];
  /** Rows behind them that fill the batch up; nothing they give is seen. */
  padding?: number;
  inputs?: Record<string, Float32Array>;
  layer?: number;
  /** What draws the ids, on a device that does; `seen` is where the ids that sequences hold are marked (token-bitmap.ts). */
  sampling?: { sampler: Sampler; seen: number };
  /** Address of a layer's cache of a name, and places of pages in it. */
  cache(name: string, layer: number): number;
  page(sequence: number, index: number): number;
  /** Throws when what the call gave is no longer there. */
  current(): void;
}

/** Chooses for rows that nobody looks at. */
const greedy = new Sampler();

/** The block calls are laid out in. It grows and is kept from call to call. */
export class Arena {
  private at = 0;
  private bytes = 0;
  private readonly device: Device;

  constructor(device: Device) {
    this.device = device;
  }

  /** Whether a block of that size needs no other memory: a call under way may stay in it. */
  fits(bytes: number): boolean {
    return bytes <= this.bytes;
  }

  open(bytes: number): number {
    if (!this.fits(bytes)) {
      this.close();
      const what = "the values between the kernels";
      if (bytes > this.device.available()) throw this.device.shortOf(what, bytes, []);
      this.at = this.device.allocate(bytes, what);
      this.bytes = bytes;
    }
    return this.at;
  }

  close(): void {
    if (this.bytes) this.device.release(this.at);
    this.bytes = 0;
  }
}

/** Whether the ids of an entry can be drawn on the device: it needs the logits of every entry's last row, and no others. */
export function drawable({ manifest, device }: SessionModel, entry: string): boolean {
  const logits = functionOf(manifest, entry).results.find((r) => r.name === "logits");
  // A decode step has one row of each sequence.
  const lastOnly = logits?.shape[0] === "B" || (entry === manifest.entries.decode && manifest.options.taps !== true);
  return device.draws === true && logits?.dtype === "f32" && lastOnly;
}

/** A call under way: what it will give, and where the next one finds its ids before the host does. */
export interface Begun {
  result: Promise<Result>;
  base: number;
  /** Bytes of the tables, and the address of the ids it chooses. */
  tables: number;
  next: number | undefined;
}

/**
 * Begins to run an entry over rows of some sequences. `after` is a call under way whose ids this one continues: the device hands
 * them on. Undefined, and nothing begun, where the two blocks are laid out differently: tables of one would lie over ids of the
 * other, or the block of the other would have to move.
 */
export function begin(model: SessionModel, arena: Arena, o: CallOptions, after?: Begun): Begun | undefined {
  const { manifest, device, weights } = model;
  const { pageRows } = manifest.model;
  const entries = [...o.entries, ...Array<Entry>(o.padding ?? 0).fill(padding)];
  const batch = new Batch(entries, pageRows, (pages) => device.columns(pages));
  const dims = largestDims(batch.shape);
  const shown = { ...dims, T: batch.shape.starts[o.entries.length], B: o.entries.length };
  const plan = functionOf(manifest, o.entry);
  let end = 0;
  const take = (bytes: number): number => {
    const at = end;
    end += align(bytes);
    return at;
  };
  const tables = new Map(TABLES.map((t) => [t, take(batch.count(t) * 4)]));
  const choices = o.sampling && take(CHOICE_BYTES * entries.length);
  const host = new ArrayBuffer(end);
  const given = layOut(plan.inputs, dims, take);
  const results = layOut(plan.results, dims, take, shown);
  const slots = take(arenaBytes(manifest, o.entry, dims));
  if (after && !arena.fits(end)) return undefined;
  const base = arena.open(end);
  if (after && (after.base !== base || after.tables !== host.byteLength || after.next === undefined)) return undefined;
  batch.write((t) => new Int32Array(host, tables.get(t), batch.count(t)), pageRows, o.page);
  if (choices !== undefined)
    entries.forEach(({ sequence }, i) =>
      (sequence === PADDING ? greedy : o.sampling!.sampler).write(new DataView(host), choices + i * CHOICE_BYTES, sequence),
    );
  for (const g of given) writeValue(device, g, base, o.inputs?.[g.arg.name]);
  const run = device.run({
    function: o.entry,
    ...(o.layer === undefined ? {} : { layer: o.layer }),
    batch: batch.shape,
    tables: { at: base, bytes: bytesIn(new Int32Array(host)) },
    arena: base + slots,
    args: new Map([...given, ...results].map((a) => [a.arg.name, base + a.at])),
    places: {
      weight: (symbol, part, layer) => weights.address(symbol, part, layer),
      cache: (name, layer) => o.cache(name, layer ?? 0),
      batch: (t) => base + tables.get(t)!,
    },
    ...(choices === undefined ? {} : { sampling: { choices: base + choices, seen: o.sampling!.seen } }),
    ...(after?.next === undefined ? {} : { idsFrom: after.next }),
  });
  const next = results.find((r) => r.arg.name === "next");
  return {
    base,
    tables: host.byteLength,
    next: next && base + next.at,
    result: run.then((ids) => {
      const result = resultOf(device, base, results, batch.shape.starts, o, ids);
      expectNumbers(model, base, results, o, ids);
      return result;
    }),
  };
}

/** Throws DSC5037 where a logit is NaN or infinite: what chooses the ids reads every logit, and says such a one as -1 - id. */
function expectNumbers(
  model: SessionModel,
  base: number,
  results: readonly Placed[],
  { entries }: CallOptions,
  ids: Int32Array | undefined,
): void {
  const next = results.find((r) => r.arg.name === "next");
  if (!next || entries.length === 0) return;
  const chosen = ids ?? (readRows(model.device, { ...next, shape: [next.count] }, base, 0, next.count) as Int32Array);
  for (const [i, { sequence }] of entries.entries())
    if (chosen[i] < 0) throw diagnostics.logitsNotFinite({ sequence, id: -1 - chosen[i], weight: model.notFinite() });
}

function resultOf(
  device: Device,
  base: number,
  results: readonly Placed[],
  rows: readonly number[],
  { entries, current, sampling }: CallOptions,
  ids: Int32Array | undefined,
): Result {
  const taps = Object.fromEntries(results.map((r) => [r.arg.name, readValue(device, r, base, current)]));
  const named = (name: string): Placed => {
    const found = results.find((r) => r.arg.name === name);
    if (!found) throw diagnostics.misuse({ what: `the call gives no ${name}` });
    current();
    return found;
  };
  const entryOf = (sequence: number, row: number): number => {
    whole("the result", "row", row, Number.MIN_SAFE_INTEGER);
    const i = entries.findIndex((e) => e.sequence === sequence);
    if (i < 0) throw diagnostics.misuse({ what: "that sequence had no rows in this call" });
    if (entries[i + row]?.sequence !== sequence)
      throw diagnostics.misuse({ what: `the call answers no row ${row} of sequence ${sequence}` });
    return i + row;
  };
  const logits = (sequence: number, row = 0): Float32Array => {
    const index = entryOf(sequence, row);
    const t = named("logits");
    // There is a row per entry, or with taps one per row.
    const at = t.shape[0] === entries.length ? index : rows[index + 1] - 1;
    return readRows(device, t, base, at) as Float32Array;
  };
  const first = entries.flatMap((e, i) => (i > 0 && entries[i - 1].sequence === e.sequence ? [] : [i]));
  return {
    sequences: first.map((i) => entries[i].sequence),
    starts: [...first.map((i) => rows[i]), rows[entries.length]],
    logits,
    next: (sequence, row = 0) =>
      ids ? ids[entryOf(sequence, row)] : taps.next ? taps.next.data[entryOf(sequence, row)] : argmax(logits(sequence, row)),
    drawn: sampling !== undefined,
    hidden(sequence, count) {
      const from = rows[entryOf(sequence, 0)];
      whole("hidden", "rows", count, 0, rows[entries.findLastIndex((e) => e.sequence === sequence) + 1] - from);
      const t = named("final");
      return readRows(device, t, base, from, count).slice() as Float32Array;
    },
    taps,
  };
}
