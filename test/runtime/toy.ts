// A hand-made model of seven small kernels, and what it computes in plain TypeScript: rows get an embedding, each layer adds a gain,
// caches the row, replaces it by the causal sum of its sequence's cached rows, and lets "experts" scale parts of the batch.
import type { Manifest, Ref, Step } from "../../ir/artifact.ts";
import type { KernelRecord } from "../../ir/artifact.ts";
import { encode } from "../../codegen/cpu/encode.ts";
import { f32, get, i32, ins, load, plus, set, store, times, type Expr } from "../../codegen/cpu/wasm.ts";
import { Writer } from "../../codegen/cpu/writer.ts";
import { CpuDevice, type CpuKernel } from "../../runtime/devices/cpu.ts";
import { Model } from "../../runtime/model.ts";
import { FORMAT } from "../../runtime/manifest-text.ts";

type WasmKernel = Extract<CpuKernel, { binary: unknown }>;

export const H = 4;
export const V = 11;
export const LAYERS = 2;
export const PAGE = 4;

const word = (base: Expr, index: Expr): Expr => plus(base, times(index, i32(4)));
const lt = (base: Expr, index: Expr): Expr => load("i32.load", word(base, index));
const at = (base: Expr, row: Expr, lane: Expr): Expr => word(base, plus(times(row, i32(H)), lane));

type Body = (w: Writer, cell: Expr, ...p: Expr[]) => void;

/** Operands of tables, and those that no kernel writes. */
const integers = ["ids", "positions", "sequence", "pages", "starts", "offsets"];
const read = ["ids", "positions", "sequence", "pages", "starts", "table", "gain", "head", "by", "from"];

/** A kernel whose cells are independent: args are addresses, then dims. */
function kernel(
  name: string,
  args: string[],
  dims: string[],
  cells: KernelRecord["cells"],
  body: Body,
): { record: KernelRecord; binary: WasmKernel } {
  const params = ["begin", "end", "scratch", ...args, ...dims];
  const w = new Writer(
    "run",
    params.map((p) => [p, "i32"] as const),
  );
  w.loop("cell", w.param(0), w.param(1), 1, (cell) => body(w, cell, ...params.slice(3).map((_, i) => w.param(i + 3))));
  return {
    record: {
      text: `kernels/${name}.wat`,
      binary: `kernels/${name}.wasm`,
      entry: "run",
      family: name,
      params: args.map((a) => ({
        kind: "buffer",
        name: a,
        dtype: integers.includes(a) ? "i32" : "f32",
        access: read.includes(a) ? "in" : "inout",
      })),
      dims,
      cells,
      scratchBytes: 128,
    },
    binary: { name, entry: "run", scratchBytes: 128, binary: encode({ header: [name], funcs: [w.func] }) },
  };
}

const lanes = (w: Writer, body: (j: Expr) => void): void => w.loop("j", i32(0), i32(H), 1, body);

const kernels = [
  kernel("embed", ["ids", "table", "out"], ["T"], "T", (w, t, ids, table, out) =>
    lanes(w, (j) => w.push(store("f32.store", at(out, t, j), load("f32.load", at(table, lt(ids, t), j))))),
  ),
  kernel("add", ["x", "gain", "out"], ["T"], "T", (w, t, x, gain, out) =>
    lanes(w, (j) =>
      w.push(store("f32.store", at(out, t, j), ins("f32.add", load("f32.load", at(x, t, j)), load("f32.load", word(gain, j))))),
    ),
  ),
  kernel(
    "append",
    ["x", "positions", "sequence", "pages", "cache"],
    ["T", "P"],
    "T",
    (w, t, x, positions, sequence, pages, cache, _T, P) => {
      const page = lt(pages, plus(times(lt(sequence, t), P), ins("i32.div_u", lt(positions, t), i32(PAGE))));
      const row = plus(times(page, i32(PAGE)), ins("i32.rem_u", lt(positions, t), i32(PAGE)));
      lanes(w, (j) => w.push(store("f32.store", at(cache, row, j), load("f32.load", at(x, t, j)))));
    },
  ),
  // Row i of t rows sums cached rows 0 .. s - t + i of its sequence.
  kernel("sum", ["pages", "cache", "out"], ["t", "s"], "t", (w, i, pages, cache, out, t, s) =>
    lanes(w, (j) => {
      const acc = w.define("acc", f32(0));
      w.loop("k", i32(0), plus(plus(ins("i32.sub", s, t), i), i32(1)), 1, (k) => {
        const row = plus(times(lt(pages, ins("i32.div_u", k, i32(PAGE))), i32(PAGE)), ins("i32.rem_u", k, i32(PAGE)));
        w.push(set(acc, ins("f32.add", get(acc), load("f32.load", at(cache, row, j)))));
      });
      w.push(store("f32.store", at(out, i, j), get(acc)));
    }),
  ),
  // Three experts: the first half of the rows, none, the rest.
  kernel("route", ["offsets"], ["T"], 1, (w, _, offsets, T) => {
    const half = ins("i32.div_u", T, i32(2));
    [i32(0), half, half, T].forEach((v, i) => w.push(store("i32.store", offsets, v, 4 * i)));
  }),
  kernel("scale", ["x", "by"], ["m"], "m", (w, i, x, by) =>
    lanes(w, (j) => w.push(store("f32.store", at(x, i, j), ins("f32.mul", load("f32.load", at(x, i, j)), load("f32.load", by))))),
  ),
  kernel(
    "logits",
    ["x", "starts", "head", "out"],
    ["B", "V"],
    { op: "mul", of: ["B", "V"] },
    (w, cell, x, starts, head, out, _B, vocab) => {
      const b = ins("i32.div_u", cell, vocab);
      const row = plus(lt(starts, plus(b, i32(1))), i32(-1));
      const acc = w.define("acc", f32(0));
      lanes(w, (j) =>
        w.push(
          set(
            acc,
            ins(
              "f32.add",
              get(acc),
              ins("f32.mul", load("f32.load", at(x, row, j)), load("f32.load", at(head, ins("i32.rem_u", cell, vocab), j))),
            ),
          ),
        ),
      );
      w.push(store("f32.store", word(out, cell), get(acc)));
    },
  ),
  kernel("double", ["from", "out"], ["n"], "n", (w, i, x, out) =>
    w.push(store("f32.store", word(out, i), ins("f32.mul", load("f32.load", word(x, i)), f32(2)))),
  ),
  kernel("trap", ["x"], ["T"], "T", (w, _, x) =>
    w.push(store("i32.store", x, ins("i32.div_u", i32(1), plus(i32(0), lt(x, i32(0)))))),
  ),
];

export const binaries: WasmKernel[] = kernels.map((k) => k.binary);

const step = (kernel: string, args: Ref[], dims: (string | number)[]): Step => ({
  kind: "kernel",
  kernel,
  args,
  dims,
  site: `toy/${kernel}`,
});
const weight = (w: string): Ref => ({ weight: w, part: "data" });
const rows: [string, number] = ["T", H];
const T4 = { op: "mul" as const, of: ["T", 4 * H] };

function entry(name: string): Manifest["functions"][string] {
  const calls: Step[] = Array.from({ length: LAYERS }, (_, layer) => ({
    kind: "call",
    function: "layer",
    layer,
    args: { x: layer ? { arg: "final" } : { slot: 0 }, y: { arg: "final" } },
  }));
  return {
    name,
    inputs: [],
    slots: [T4],
    results: [
      { name: "logits", dtype: "f32", shape: ["B", V] },
      { name: "final", dtype: "f32", shape: rows },
    ],
    steps: [
      step("embed", [{ batch: "ids" }, weight("embed"), { slot: 0 }], ["T"]),
      ...calls,
      step("logits", [{ arg: "final" }, { batch: "starts" }, weight("head"), { arg: "logits" }], ["B", V]),
    ],
  };
}

const checkpoint = (
  tensor: string,
  dtype: "f32" | "bf16",
  shape: number[],
  layers: number[] | null,
  more = {},
): Manifest["weights"][string] => ({
  dtype,
  shape,
  layers,
  source: { kind: "checkpoint", pieces: [{ at: [], tensor }] },
  ...more,
});
const all = Array.from({ length: LAYERS }, (_, i) => i);

export const manifest: Manifest = {
  format: FORMAT,
  compiler: "toy",
  target: "cpu",
  options: {},
  model: {
    architecture: "Toy",
    vocab: V,
    hidden: H,
    layers: LAYERS,
    cachedLayers: LAYERS + 1,
    caches: { latent: { width: H, dtype: "f32" } },
    pageRows: PAGE,
    maxPositions: 64,
    bos: null,
    eos: [],
    experts: null,
  },
  weights: {
    embed: checkpoint("model.embed_tokens.weight", "f32", [V, H], null),
    head: checkpoint("lm_head.weight", "f32", [V, H], null),
    gain: checkpoint("model.layers.{layer}.input_layernorm.weight", "f32", [H], all, { staging: true }),
    gain2: { dtype: "f32", shape: [H], layers: all, source: { kind: "computed", by: "load", result: "doubled" } },
    by: {
      dtype: "f32",
      shape: [3, 1],
      layers: all,
      source: { kind: "checkpoint", pieces: [{ at: ["*"], tensor: "model.layers.{layer}.experts.{0}.by.bias" }] },
    },
    rope: { dtype: "f32", shape: [64, 4], layers: null, source: { kind: "rope", invFreq: [1, 0.01], factor: 2 } },
  },
  kernels: Object.fromEntries(kernels.map((k) => [k.binary.name, k.record])),
  functions: {
    prefill: entry("prefill"),
    extend: entry("extend"),
    decode: entry("decode"),
    layer: {
      name: "layer",
      inputs: [{ name: "x", dtype: "f32", shape: rows }],
      results: [{ name: "y", dtype: "f32", shape: rows }],
      slots: [T4, 16],
      steps: [
        step("add", [{ arg: "x" }, weight("gain2"), { slot: 0 }], ["T"]),
        step(
          "append",
          [{ slot: 0 }, { batch: "positions" }, { batch: "sequence" }, { batch: "pages" }, { cache: "latent" }],
          ["T", "P"],
        ),
        {
          kind: "slices",
          over: "sequences",
          steps: [
            step(
              "sum",
              [{ batch: "pages", offset: { op: "mul", of: ["b", "P", 4] } }, { cache: "latent" }, { arg: "y", rowBytes: 4 * H }],
              ["t", "s"],
            ),
          ],
        },
        step("route", [{ slot: 1 }], ["T"]),
        {
          kind: "slices",
          over: "experts",
          offsets: { slot: 1 },
          count: 3,
          steps: [
            step(
              "scale",
              [
                { arg: "y", rowBytes: 4 * H },
                { weight: "by", part: "data", expertBytes: 4 },
              ],
              ["m"],
            ),
          ],
        },
      ],
    },
    draft: {
      name: "draft",
      inputs: [{ name: "hidden", dtype: "f32", shape: rows }],
      slots: [],
      results: [{ name: "logits", dtype: "f32", shape: ["B", V] }],
      steps: [
        step(
          "append",
          [{ arg: "hidden" }, { batch: "positions" }, { batch: "sequence" }, { batch: "pages" }, { cache: "latent" }],
          ["T", "P"],
        ),
        step("logits", [{ arg: "hidden" }, { batch: "starts" }, weight("head"), { arg: "logits" }], ["B", V]),
      ],
    },
    load: {
      name: "load",
      inputs: [],
      results: [{ name: "doubled", dtype: "f32", shape: [H] }],
      slots: [4 * H],
      steps: [step("double", [weight("gain"), { arg: "doubled" }], [H])],
    },
  },
  entries: { prefill: "prefill", extend: "extend", decode: "decode", draft: "draft" },
  load: [{ function: "load", layers: all }],
  files: {},
};

/** A model of the toy's kernels on the CPU. */
export async function openToy(
  m: Manifest,
  weights: string,
  options: { threads: number; profile?: boolean },
): Promise<Model<CpuDevice>> {
  return Model.open(m, await CpuDevice.open(m, binaries, options), { weights });
}

export interface ToyWeights {
  embed: number[];
  head: number[];
  gain: number[][];
  by: number[][];
}

/** The model in plain numbers. `past[layer][sequence]` holds cached rows and grows. Rows of all sequences are packed. */
export function reference(w: ToyWeights, past: number[][][][], tokens: number[][]): { logits: number[][]; final: number[][] } {
  const flat = tokens.flat();
  const owner = tokens.flatMap((t, b) => t.map(() => b));
  let x = flat.map((id) => w.embed.slice(id * H, id * H + H));
  for (let layer = 0; layer < LAYERS; layer++) {
    x = x.map((row, t) => {
      const rows = ((past[layer] ??= [])[owner[t]] ??= []);
      rows.push(row.map((v, j) => v + 2 * w.gain[layer][j]));
      return row.map((_, j) => rows.reduce((a, r) => a + r[j], 0));
    });
    const half = Math.floor(x.length / 2);
    x = x.map((row, t) => row.map((v) => v * w.by[layer][t < half ? 0 : 2]));
  }
  const last = tokens.flatMap((t, b) => (t.length ? [owner.lastIndexOf(b)] : []));
  return {
    final: x,
    logits: last.map((t) => Array.from({ length: V }, (_, v) => x[t].reduce((a, n, j) => a + n * w.head[v * H + j], 0))),
  };
}
