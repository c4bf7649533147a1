// Reference values of one call of a few sequences, repeated for a batch in which each may come many times: rows of a value go where
// the rows of its sequence are. What depends on the batch as a whole, the order of pairs by expert, is sorted anew.
import { closeSync, openSync, readSync } from "node:fs";
import type { Func, Node, Value } from "../../ir/graph.ts";
import { firstAxis, idOf, type JobCall } from "./oracle-job.ts";

/** A tensor of a file: its bytes in rows of the first axis. */
export interface Stored {
  shape: number[];
  bytes: Uint8Array;
}

/** A safetensors file, read tensor by tensor. */
export class StoredValues {
  private readonly file: number;
  private readonly header: Record<string, { shape: number[]; data_offsets: [number, number] }>;
  private readonly first: number;
  private readonly kept = new Map<string, Stored | undefined>();

  constructor(path: string) {
    this.file = openSync(path, "r");
    const size = Buffer.alloc(8);
    readSync(this.file, size, 0, 8, 0);
    const text = Buffer.alloc(Number(size.readBigUInt64LE(0)));
    readSync(this.file, text, 0, text.length, 8);
    this.header = JSON.parse(text.toString());
    this.first = 8 + text.length;
  }

  get(key: string): Stored | undefined {
    if (this.kept.has(key)) return this.kept.get(key);
    const t = this.header[key];
    let found: Stored | undefined;
    if (t) {
      const [from, to] = t.data_offsets;
      const bytes = new Uint8Array(to - from);
      for (let done = 0; done < bytes.length;)
        done += readSync(this.file, bytes, done, bytes.length - done, this.first + from + done);
      found = { shape: t.shape, bytes };
    }
    this.kept.set(key, found);
    return found;
  }

  close(): void {
    closeSync(this.file);
  }
}

const ints = (bytes: Uint8Array): Int32Array => new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
const asBytes = (a: Int32Array): Uint8Array => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

/** Rows of a stored value, in the order asked for. */
function rowsOf(t: Stored, rows: ArrayLike<number>): Uint8Array {
  const per = t.bytes.length / t.shape[0];
  const out = new Uint8Array(rows.length * per);
  for (let i = 0; i < rows.length; i++) out.set(t.bytes.subarray(rows[i] * per, (rows[i] + 1) * per), i * per);
  return out;
}

interface Pairs {
  order: Int32Array;
  offsets: Int32Array;
  places: Int32Array;
  /** Of the sorted pairs here, which of the reference's sorted pairs each is. */
  rows: Int32Array;
}

/** One batch made of the reference's sequences. */
export class Play {
  readonly call: JobCall;
  readonly sequences: readonly number[];
  readonly values: StoredValues;
  /** Which of the reference's rows each row is. */
  readonly rows: Int32Array;
  private readonly only: readonly (number | "entry")[] | undefined;
  private readonly pairs = new Map<string, Pairs>();

  constructor(call: JobCall, sequences: readonly number[], values: StoredValues, only?: readonly (number | "entry")[]) {
    [this.call, this.sequences, this.values, this.only] = [call, sequences, values, only];
    this.rows = Int32Array.from(
      sequences.flatMap((b) => Array.from({ length: call.starts[b + 1] - call.starts[b] }, (_, i) => call.starts[b] + i)),
    );
  }

  /** Whether launches of a function are looked at. Of a call that ends after some layers, only these are known. */
  sees(func: string, layer: number | undefined): boolean {
    const entry = func === this.call.entry;
    if (this.only && !this.only.includes(entry ? "entry" : layer!)) return false;
    return entry ? this.call.reference : this.call.layers.includes(layer!);
  }

  /** Key of a value: inside a loop over sequences it is of the one at hand. */
  key(func: string, layer: number | undefined, v: Value, sequence?: number): string {
    return `${func}|${layer ?? ""}|${idOf(v)}${sequence === undefined ? "" : `#${this.sequences[sequence]}`}`;
  }

  /** A part of a value as this batch has it, by some of its rows or all; undefined where the reference says nothing. */
  part(
    func: Func,
    layer: number | undefined,
    v: Value,
    part: string,
    sequence: number | undefined,
    only?: ArrayLike<number>,
  ): Uint8Array | undefined {
    const axis = firstAxis(v.type);
    const sorted = typeof axis === "string" && /^\d+T$/.test(axis);
    const name = v.node.op.outs[v.index];
    if (part === "t" || part === "e") {
      const own = name === "offsets" || name === "order" || name === "places" ? this.sort(func, layer)[name] : undefined;
      if (own) return asBytes(only ? Int32Array.from(only, (i) => own[i]) : own);
    }
    const stored = this.values.get(`${this.key(func.name, layer, v, sequence)}|${part}`);
    if (!stored) return undefined;
    if (sequence !== undefined || typeof axis === "number") return only ? rowsOf(stored, only) : stored.bytes;
    const from = sorted ? this.sort(func, layer).rows : axis === "B" ? Int32Array.from(this.sequences) : this.rows;
    return rowsOf(stored, only ? Int32Array.from(only, (i) => from[i]) : from);
  }

  /** Pairs of token and slot by expert, as sort_experts puts them. */
  private sort(func: Func, layer: number | undefined): Pairs {
    const key = `${func.name}|${layer ?? ""}`;
    const known = this.pairs.get(key);
    if (known) return known;
    const node = sortOf(func);
    const result = (name: string): Value | undefined =>
      node.results[node.op.outs.indexOf(name)] ?? node.operands[node.op.ins.indexOf(name)];
    const stored = (name: string): Stored => this.values.get(`${this.key(func.name, layer, result(name)!)}|t`)!;
    const [indices, base] = [stored("indices"), ints(stored("places").bytes)];
    const k = indices.shape[1];
    const experts = ints(rowsOf(indices, this.rows));
    const count = stored("offsets").shape[0] - 1;
    const order = Int32Array.from(experts.keys()).sort((a, b) => experts[a] - experts[b] || a - b);
    const places = new Int32Array(order.length);
    for (const [i, p] of order.entries()) places[p] = i;
    const offsets = new Int32Array(count + 1);
    for (const e of experts) offsets[e + 1]++;
    for (let e = 0; e < count; e++) offsets[e + 1] += offsets[e];
    const made = { order, offsets, places, rows: order.map((p) => base[this.rows[Math.floor(p / k)] * k + (p % k)]) };
    this.pairs.set(key, made);
    return made;
  }
}

const sorts = new WeakMap<Func, Node>();

/** The node of a function that sorts by expert. */
function sortOf(func: Func): Node {
  let found = sorts.get(func);
  const seen = new Set<Node>();
  const visit = (n: Node): void => {
    if (found || seen.has(n)) return;
    seen.add(n);
    if (n.op.outs.includes("places")) found = n;
    for (const o of n.operands) visit(o.node);
  };
  if (!found) for (const r of func.results) visit(r.value.node);
  if (!found) throw new RangeError(`${func.name} sorts nothing by expert`);
  sorts.set(func, found);
  return found;
}
