// Stands around every launch of a run: writes the reference's values into all that the launch's node reads, lets it go, and compares
// what the node's launches wrote with what they should give from those very values. Driven by the graph alone: which node a step
// is of, its operands and results and how they lie. So a new kernel or a fused op needs nothing here, and a new op one entry in
// oracle_ops.py.
import type { Manifest, Step } from "../../ir/artifact.ts";
import type { Value } from "../../ir/graph.ts";
import type { View } from "../../ir/kernel/catalogue.ts";
import { evaluate, type Dims } from "../../ir/size.ts";
import type { Watch } from "../../runtime/devices/cuda/executor.ts";
import {
  between,
  codeValues,
  distance,
  elementBytes,
  floats,
  gather,
  integers,
  scatter,
  type Layout,
  type Memory,
} from "./oracle-compare.ts";
import type { Placed } from "./oracle-job.ts";
import type { Play, Stored } from "./oracle-values.ts";

/** What is known of a kernel as part of an op: a part of a fused one shares its result with the others. */
export interface Tally {
  kernel: string;
  op: string;
  launches: number;
  elements: number;
  /** The worst row, and the worst element (oracle-compare.ts). */
  row: number;
  element: number;
  where: string;
  codes: number;
  codesApart: number;
  scalesApart: number;
  unexplained: number;
  /** Integers, and bits of copies, that differ. */
  wrong: number;
  integers: number;
}

/** Rows compared of a value with many: the first, the last, and some between. */
const EDGE = 12;
const BETWEEN = 8;
const MOST = 100;

type Launch = Parameters<Watch>[0];

/** The launches of one node at one place, as far as they have been let go. */
interface Group {
  placed: Placed;
  launch: Launch;
  kernels: Set<string>;
  written: Set<string>;
  /** Addresses of results, by number and part. */
  results: Map<string, number>;
}

export class Watcher {
  readonly tallies = new Map<string, Tally>();
  /** Kernels of the planner's copies and of steps nothing is known of. */
  readonly copies = new Set<string>();
  private play: Play | undefined;
  private group: Group | undefined;
  private memory!: Memory;
  private readonly steps: ReadonlyMap<Step, Placed>;
  private readonly manifest: Manifest;

  constructor(manifest: Manifest, steps: ReadonlyMap<Step, Placed>) {
    [this.manifest, this.steps] = [manifest, steps];
  }

  /** From here on calls are those of a play; none: launches pass unseen. */
  begin(memory: Memory, play: Play | undefined): void {
    this.memory = memory;
    this.play = play;
  }

  /** The call has ended: what its last node wrote is looked at. */
  end(): void {
    this.flush();
    this.play = undefined;
  }

  readonly watch: Watch = (launch, go) => {
    const placed = this.steps.get(launch.site.step);
    const { layer } = launch.site;
    const known = this.play?.sees(launch.site.function, layer);
    if (!known || !placed) {
      this.flush();
      return go();
    }
    const now = this.group;
    const same =
      now &&
      placed.node &&
      now.placed.node === placed.node &&
      now.launch.site.layer === layer &&
      now.launch.site.dims.b === launch.site.dims.b;
    if (!same) {
      this.flush();
      this.group = { placed, launch, kernels: new Set(), written: new Set(), results: new Map() };
    }
    const group = this.group!;
    group.kernels.add(launch.kernel);
    this.bring(group, launch, placed);
    go();
  };

  /** A weight that a load function computed, as it lies on the card. */
  computed(memory: Memory, at: number, dtype: "f32" | "bf16", want: Stored, kernel: string, op: string): void {
    const tally = this.tally(kernel, op);
    tally.launches++;
    const got = memory.read(at, (want.bytes.length / 4) * elementBytes[dtype]);
    this.near(
      [tally],
      floats(new Uint8Array(got), dtype),
      floats(want.bytes, "f32"),
      want.shape[want.shape.length - 1],
      "loading",
    );
  }

  private dims({ call, site }: Launch): { dims: Dims; sequence: number | undefined } {
    return { dims: site.dims, sequence: call.batch ? site.dims.b : undefined };
  }

  /** Writes the operands that a launch binds, once each; notes where its results will be. */
  private bring(group: Group, launch: Launch, placed: Placed): void {
    const { node, chosen, site, func } = placed;
    const { dims, sequence } = this.dims(launch);
    const operands = node?.operands.filter((o) => o.type.kind === "tensor") ?? [];
    for (const [i, arg] of chosen.args.entries()) {
      const at = launch.addresses[i];
      if ("out" in arg) group.results.set(`${arg.out}${arg.part ?? ""}`, at);
      if ("cache" in arg) {
        group.results.set("cache", at);
        const cache =
          node?.operands.find((o) => o.type.kind === "cache") ?? (site.op === "cache_rows" ? cacheOf(placed) : undefined);
        if (cache && !group.written.has("cache")) this.bringCache(at, launch, placed, cache);
        group.written.add("cache");
      }
      if (!("in" in arg) || !node) continue;
      const v = operands[arg.in];
      const key = `${arg.in}${arg.part ?? ""}`;
      if (fromWeights(v) || group.written.has(key)) continue;
      group.written.add(key);
      const bytes = this.play!.part(func, launch.site.layer, v, arg.part ? "ts" : "t", sequence);
      if (!bytes)
        throw new RangeError(
          `the reference has no ${this.play!.key(func.name, launch.site.layer, v, sequence)}, which ${node.op.name} reads`,
        );
      scatter(this.memory, at, arg.part ? scalesOf(site.ins[arg.in], dims) : layoutOf(site.ins[arg.in], dims), bytes);
    }
  }

  /** Every sequence's rows into the pages that the batch gives them. */
  private bringCache(at: number, launch: Launch, placed: Placed, cache: Value): void {
    for (const { base, bytes } of this.cacheRuns(at, launch, placed, cache)) if (bytes) this.memory.write(base, bytes);
  }

  /** Runs of rows within pages: where they lie, whose they are, and the reference's bytes. */
  private *cacheRuns(
    at: number,
    { call, site }: Launch,
    { func }: Placed,
    cache: Value,
    only: (sequence: number) => boolean = () => true,
  ): Generator<{ base: number; sequence: number; first: number; rows: number; bytes: Uint8Array | undefined }> {
    const { pageRows, caches } = this.manifest.model;
    const { width: cacheWidth, dtype: cacheDType } = caches.latent;
    const { lengths, pages } = call.batch!;
    const table = integers(new Uint8Array(this.memory.read(call.places.batch("pages"), 4 * lengths.length * pages)));
    const size = cacheWidth * elementBytes[cacheDType];
    for (let b = 0; b < lengths.length; b++) {
      if (!only(b)) continue;
      const stored = this.play!.values.get(`${this.play!.key(func.name, site.layer, cache, b)}|t`);
      const count = stored ? stored.shape[0] : lengths[b];
      for (let first = 0; first < count; first += pageRows) {
        const rows = Math.min(pageRows, count - first);
        const base = at + table[b * pages + first / pageRows] * pageRows * size;
        yield { base, sequence: b, first, rows, bytes: stored?.bytes.subarray(first * size, (first + rows) * size) };
      }
    }
  }

  private flush(): void {
    const group = this.group;
    this.group = undefined;
    if (!group) return;
    const { node, site } = group.placed;
    const tallies = [...group.kernels].map((k) => this.tally(k, node?.op.name ?? site.op));
    for (const t of tallies) t.launches++;
    if (!node) {
      if (site.op === "cache_rows") this.compareRows(group, tallies);
      else for (const k of group.kernels) this.copies.add(k);
      return;
    }
    let out = 0;
    for (const v of node.results) {
      if (v.type.kind === "cache") this.compareCache(group, v, tallies);
      if (v.type.kind === "tensor") this.compare(group, v, out++, tallies);
    }
  }

  private tally(kernel: string, op: string): Tally {
    const key = `${kernel} ${op}`;
    let t = this.tallies.get(key);
    if (!t)
      this.tallies.set(
        key,
        (t = {
          kernel,
          op,
          launches: 0,
          elements: 0,
          row: 0,
          element: 0,
          where: "",
          codes: 0,
          codesApart: 0,
          scalesApart: 0,
          unexplained: 0,
          wrong: 0,
          integers: 0,
        }),
      );
    return t;
  }

  /** One result of a node. */
  private compare(group: Group, v: Value, out: number, tallies: readonly Tally[]): void {
    const {
      placed: { func, site, node },
      launch,
    } = group;
    const { dims, sequence } = this.dims(launch);
    const layout = layoutOf(site.outs[out], dims);
    const at = group.results.get(String(out));
    if (at === undefined) throw new RangeError(`${node!.op.name} binds no result ${out}`);
    const rows = someRows(layout.shape[0]);
    const part = (name: string): Uint8Array | undefined => this.play!.part(func, launch.site.layer, v, name, sequence, rows);
    const want = part("e");
    if (!want)
      throw new RangeError(
        `the reference has no result ${this.play!.key(func.name, launch.site.layer, v, sequence)} of ${node!.op.name}`,
      );
    const got = gather(this.memory, at, layout, rows);
    const where = `${func.name}${launch.site.layer === undefined ? "" : ` ${launch.site.layer}`}, ${layout.shape[0]} rows`;
    if (layout.dtype === "i32") {
      const r = between(integers(got), integers(want));
      for (const t of tallies) [t.wrong, t.integers] = [t.wrong + r.apart, t.integers + r.count];
    } else if (layout.dtype === "e4m3") {
      const [lo, hi] = [part("lo"), part("hi")];
      const codes = between(codeValues(got), codeValues(want), lo && codeValues(lo), hi && codeValues(hi));
      const scaleAt = group.results.get(`${out}scales`)!;
      const real = (b: Uint8Array | undefined): Float32Array | undefined => b && floats(b, "f32");
      const scales = between(
        floats(gather(this.memory, scaleAt, scalesOf(site.outs[out], dims), rows), "f32"),
        real(part("es"))!,
        real(part("los")),
        real(part("his")),
      );
      for (const t of tallies) {
        t.codes += codes.count;
        t.codesApart += codes.apart;
        t.scalesApart += scales.apart;
        t.unexplained += codes.unexplained + scales.unexplained;
        if (codes.unexplained + scales.unexplained > 0) t.where = where;
      }
    } else this.near(tallies, floats(got, layout.dtype), floats(want, "f32"), layout.shape.at(-1)!, where);
  }

  private near(tallies: readonly Tally[], got: Float32Array, want: Float32Array, width: number, where: string): void {
    const { row, element } = distance(got, want, width);
    for (const t of tallies) {
      t.elements += want.length;
      t.element = Math.max(t.element, element);
      if (row > t.row) [t.row, t.where] = [row, where];
    }
  }

  /** The new rows of some sequences, where the pages hold them. */
  private compareCache(group: Group, v: Value, tallies: readonly Tally[]): void {
    const { placed, launch } = group;
    const { width: cacheWidth, dtype: cacheDType } = this.manifest.model.caches.latent;
    const { starts, lengths } = launch.call.batch!;
    const seen = new Set(someRows(lengths.length));
    const size = cacheWidth * elementBytes[cacheDType];
    for (const { base, sequence: b, first, rows } of this.cacheRuns(group.results.get("cache")!, launch, placed, v, (b) =>
      seen.has(b),
    )) {
      const fresh = Math.max(first, lengths[b] - (starts[b + 1] - starts[b]));
      const count = first + rows - fresh;
      if (count <= 0) continue;
      const want = this.play!.values.get(`${this.play!.key(placed.func.name, launch.site.layer, v, b)}|e`)!;
      const got = this.memory.read(base + (fresh - first) * size, count * size);
      this.near(
        tallies,
        floats(new Uint8Array(got), cacheDType),
        floats(want.bytes.subarray(fresh * cacheWidth * 4, (fresh + count) * cacheWidth * 4), "f32"),
        cacheWidth,
        `${placed.func.name}, the cache`,
      );
    }
  }

  /** Rows of a sequence copied out of its pages: bit by bit. */
  private compareRows(group: Group, tallies: readonly Tally[]): void {
    const { placed, launch } = group;
    const { dims, sequence } = this.dims(launch);
    const want = this.play!.values.get(`${this.play!.key(placed.func.name, launch.site.layer, cacheOf(placed)!, sequence)}|t`)!;
    const layout = layoutOf(placed.site.outs[0], dims);
    const got = gather(
      this.memory,
      group.results.get("0")!,
      layout,
      Array.from({ length: layout.shape[0] }, (_, i) => i),
    );
    const r = between(got, want.bytes);
    for (const t of tallies) [t.wrong, t.integers] = [t.wrong + r.apart, t.integers + r.count];
  }
}

const roots = (v: Value): Value => (["reshape", "split"].includes(v.node.op.name) ? roots(v.node.operands[0]) : v);
/** A weight, or a view of one: in place already. */
const fromWeights = (v: Value): boolean => roots(v).node.op.name === "weight";

/** The cache that a function's loop over sequences reads. */
function cacheOf({ func }: Placed): Value | undefined {
  const seen = new Set<Value>();
  const find = (v: Value): Value | undefined => {
    if (seen.has(v)) return undefined;
    seen.add(v);
    const own = v.node.op.name === "map_sequences" ? v.node.operands.find((o) => o.type.kind === "cache") : undefined;
    return own ?? v.node.operands.map(find).find((x) => x !== undefined);
  };
  return func.results.map((r) => find(r.value)).find((x) => x !== undefined);
}

const layoutOf = (v: View, dims: Dims): Layout => ({
  dtype: v.dtype,
  shape: v.shape.map((s) => evaluate(s, dims)),
  strides: v.strides.map((s) => evaluate(s, dims)),
});

/** Scales lie row after row, a column for every 128. */
function scalesOf(v: View, dims: Dims): Layout {
  const shape = v.shape.map((s, i) => (i === v.shape.length - 1 ? Math.ceil(evaluate(s, dims) / 128) : evaluate(s, dims)));
  const strides = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
  return { dtype: "f32", shape, strides };
}

/** Rows to look at: all, or the first, the last and some between. */
function someRows(n: number): number[] {
  if (n <= MOST) return Array.from({ length: n }, (_, i) => i);
  const between = Array.from({ length: BETWEEN }, (_, i) => EDGE + Math.floor(((i + 0.5) * (n - 2 * EDGE)) / BETWEEN));
  const ends = Array.from({ length: EDGE }, (_, i) => i);
  return [...new Set([...ends, ...between, ...ends.map((i) => n - EDGE + i)])];
}
