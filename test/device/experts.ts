// A few tokens through R1's experts in two launches, on the card: against float64 on sampled outputs, gate and up against the bits of
// the product that gathers; then times with cold weights beside the floor and the products they replace, as one graph each.
import { scheduleFor } from "../../codegen/cuda/select.ts";
import type { GemmSchedule } from "../../codegen/cuda/sm90/gemm/fp8-schedule.ts";
import { expertsDown } from "../../codegen/cuda/sm90/moe/experts-down.ts";
import { expertsGateUp } from "../../codegen/cuda/sm90/moe/experts-gate-up.ts";
import { groupedGemm } from "../../codegen/cuda/sm90/gemm/grouped-gemm.ts";
import {
  downSchedule,
  gateUpSchedule,
  type ExpertsProblem,
  type SliceSchedule,
} from "../../codegen/cuda/sm90/moe/experts-schedule.ts";
import { candidates, groupedSchedules, type GroupedProblem } from "../../codegen/cuda/sm90/gemm/grouped-schedule.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { compileAll } from "./compile-all.ts";
import type { Row } from "./device.ts";
import { codes, distance, median, next, POOL, put, scales, scaleBytes, values } from "./gemm-data.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const up: ExpertsProblem = { experts: 257, n: 4096, k: 7168, parts: 2, per: 9, shared: 1 };
const down = { experts: 257, n: 7168, k: 2048, parts: 1, per: 9, shared: 1, ue8m0: false } as const;
/** Routed experts that have weights here, enough that L2 holds none of the next routing's; the shared one is the last. */
const PRESENT = 40;
const SHARED = 256;

interface Routing {
  T: number;
  /** Experts of each token, ascending, the shared one last. */
  chosen: number[][];
  order: number[];
  offsets: number[];
  places: number[];
}

function routing(chosen: number[][]): Routing {
  const indices = chosen.flat();
  const order = [...indices.keys()].toSorted((a, b) => indices[a] - indices[b] || a - b);
  const places = order.map(() => 0);
  for (const [i, p] of order.entries()) places[p] = i;
  return {
    T: chosen.length,
    chosen,
    order,
    offsets: Array.from({ length: up.experts + 1 }, (_, e) => indices.filter((v) => v < e).length),
    places,
  };
}

function random(T: number): Routing {
  return routing(
    Array.from({ length: T }, () => {
      const some = new Set<number>();
      while (some.size < 8) some.add(next() % PRESENT);
      return [...[...some].toSorted((a, b) => a - b), SHARED];
    }),
  );
}

/** Weights of the experts that are here; the rest is never read. */
function weights(cuda: Cuda, each: number, pool: Uint8Array): number {
  const at = cuda.alloc(up.experts * each);
  for (const [from, bytes] of [
    [0, PRESENT * each],
    [SHARED * each, each],
  ])
    for (let done = 0; done < bytes; done += pool.length)
      cuda.upload(at + from + done, pool.subarray(0, Math.min(pool.length, bytes - done)));
  return at;
}
/** Where in the pool an element of an expert's `each` lies. */
const inPool = (expert: number, each: number, i: number): number => (expert === SHARED ? 0 : expert * each) + i;

const words = (v: readonly number[]): Uint8Array => new Uint8Array(Int32Array.from(v).buffer);
const bf16Of = (w: number): number => new Float32Array(Uint32Array.of(w << 16).buffer)[0];

interface Placed {
  fixed: Record<string, number>;
  of(r: Routing): Record<string, number>;
}

function place(cuda: Cuda, most: number): Placed {
  const fixed = {
    w1: weights(cuda, up.n * up.k, codes),
    s1: weights(cuda, ((up.n * up.k) / 16384) * 4, scaleBytes),
    w2: weights(cuda, down.n * down.k, codes),
    s2: weights(cuda, ((down.n * down.k) / 16384) * 4, scaleBytes),
    x: put(cuda, most * up.k, codes),
    x_scale: put(cuda, most * (up.k / 128) * 4, scaleBytes),
    acts: cuda.alloc(9 * most * down.k * 4),
    ys: cuda.alloc(9 * most * down.n * 2),
    y: cuda.alloc(most * down.n * 2),
    residual: put(
      cuda,
      most * down.n * 2,
      new Uint8Array(Uint16Array.from({ length: 8192 }, () => 0x3f80 + (next() % 512)).buffer),
    ),
    xs: put(cuda, 9 * most * up.k, codes),
    xs_scale: put(cuda, 9 * most * (up.k / 128) * 4, scaleBytes),
    between: cuda.alloc(9 * most * up.n * 2),
    quantised: put(cuda, 9 * most * down.k, codes),
    quantised_scale: put(cuda, 9 * most * (down.k / 128) * 4, scaleBytes),
  };
  return {
    fixed,
    of: (r) => ({
      indices: put(cuda, 4 * r.order.length, words(r.chosen.flat())),
      offsets: put(cuda, 4 * r.offsets.length, words(r.offsets)),
      weights: put(
        cuda,
        4 * r.order.length,
        new Uint8Array(Float32Array.from(r.order, () => 0.05 + (next() % 1000) / 4000).buffer),
      ),
    }),
  };
}

interface Pair {
  up: CudaKernel;
  down: CudaKernel;
}

async function pairs(cuda: Cuda, list: readonly SliceSchedule["tokens"][]): Promise<ReadonlyMap<number, Pair>> {
  const texts = list.map((t) => [
    expertsGateUp(up, gateUpSchedule(up, t, h200), h200),
    expertsDown(down, downSchedule(down, t, h200), h200),
  ]);
  const kernels = await compileAll(cuda, texts.flat());
  return new Map(list.map((t, i) => [t, { up: kernels.get(texts[i][0].name)!, down: kernels.get(texts[i][1].name)! }]));
}

const run = (cuda: Cuda, k: Pair, f: Placed["fixed"], r: Record<string, number>, T: number, which = "both"): void => {
  if (which !== "down")
    cuda.launch(k.up, { w: f.w1, x: f.x, x_scale: f.x_scale, w_scale: f.s1, indices: r.indices, y: f.acts }, { T });
  if (which !== "up")
    cuda.launch(
      k.down,
      { w: f.w2, acts: f.acts, w_scale: f.s2, indices: r.indices, weights: r.weights, x: f.residual, y: f.y },
      { T },
    );
};

/** One element of gate and up, exact products of codes, in float64. */
function gateUp(expert: number, token: number, column: number): number {
  const [kb, w] = [up.k / 128, inPool(expert, up.n * up.k, column * up.k)];
  let total = 0;
  for (let b = 0; b < kb; b++) {
    let part = 0;
    for (let c = 128 * b; c < 128 * b + 128; c++)
      part += values[codes[(token * up.k + c) % POOL]] * values[codes[(w + c) % POOL]];
    total +=
      part *
      scales[(token * kb + b) % scales.length] *
      scales[inPool(expert, (up.n / 128) * kb, Math.floor(column / 128) * kb + b) % scales.length];
  }
  return total;
}

/** silu(gate) * up as float32 of bf16. */
const gate = (g: number, u: number): number => Math.fround(Math.fround(g / Math.fround(1 + Math.fround(Math.exp(-g)))) * u);

/** A row quantised: what its codes and scales stand for. */
function quantised(act: Float32Array): Float64Array {
  const out = new Float64Array(down.k);
  for (let b = 0; b < down.k; b += 128) {
    const scale = Math.fround(Math.max(Math.fround(1e-4), ...act.subarray(b, b + 128).map(Math.abs)) / 448);
    for (let i = b; i < b + 128; i++) {
      const v = Math.abs(Math.fround(act[i] / scale));
      const step = 2 ** (Math.max(-6, Math.floor(Math.log2(v || 1))) - 3);
      out[i] = Math.sign(act[i]) * Math.min(448, nearestEven(v / step) * step) * scale;
    }
  }
  return out;
}
const nearestEven = (v: number): number => (Math.abs(v % 1) === 0.5 ? 2 * Math.round(v / 2) : Math.round(v));

async function checkOne(
  cuda: Cuda,
  kernels: Pair,
  p: Placed,
  r: Routing,
  most: SliceSchedule["tokens"],
  same: CudaKernel,
): Promise<Row> {
  const [at, f] = [p.of(r), p.fixed];
  const rows = r.order.length;
  cuda.fill(f.acts, 0xff, rows * down.k * 4);
  cuda.fill(f.y, 0xff, r.T * down.n * 2);
  run(cuda, kernels, f, at, r.T);
  const once = cuda.download(f.y, r.T * down.n * 2);
  run(cuda, kernels, f, at, r.T);
  const acts = new Float32Array(cuda.download(f.acts, rows * down.k * 4).buffer);
  const y = new Uint16Array(cuda.download(f.y, r.T * down.n * 2).buffer);
  const repeats = Buffer.compare(once, new Uint8Array(y.buffer)) === 0;

  // Gathered rows through the product of the same sums, gated: the last bits are those of exp.
  for (const [i, pair] of r.order.entries()) {
    const token = Math.floor(pair / 9);
    cuda.upload(
      f.xs + i * up.k,
      Uint8Array.from({ length: up.k }, (_, c) => codes[(token * up.k + c) % POOL]),
    );
    cuda.upload(
      f.xs_scale + i * (up.k / 128) * 4,
      new Uint8Array(
        Float32Array.from({ length: up.k / 128 }, (_, c) => scales[(token * (up.k / 128) + c) % scales.length]).buffer,
      ),
    );
  }
  cuda.launch(same, { x: f.xs, w: f.w1, x_scale: f.xs_scale, w_scale: f.s1, offsets: at.offsets, y: f.ys }, { r: rows });
  const other = new Uint16Array(cuda.download(f.ys, rows * up.n * 2).buffer);
  let apart = 0;
  for (let i = 0; i < rows; i++)
    for (let c = 0; c < down.k; c++) {
      const want = gate(bf16Of(other[i * up.n + c]), bf16Of(other[i * up.n + down.k + c]));
      if (!(Math.abs(acts[i * down.k + c] - want) <= 1e-6 * Math.abs(want) + 1e-37)) apart++;
    }

  const [where, want]: [number[], number[]] = [[], []];
  for (let i = 0; i < rows; i++) {
    const [token, slot] = [Math.floor(r.order[i] / 9), r.order[i] % 9];
    for (const c of [0, 31, 32, up.n - 1, next() % up.n, next() % up.n]) {
      where.push(i * up.n + c);
      want.push(gateUp(r.chosen[token][slot], token, c));
    }
  }
  const first = distance(other, where, want);

  const coded = Array.from({ length: rows }, (_, i) => quantised(acts.subarray(i * down.k, (i + 1) * down.k)));
  const said = new Float32Array(cuda.download(at.weights, rows * 4).buffer);
  const residual = new Uint16Array(cuda.download(f.residual, r.T * down.n * 2).buffer);
  const [places, sums]: [number[], number[]] = [[], []];
  for (let token = 0; token < r.T; token++)
    for (const c of [0, 55, 56, 127, 128, down.n - 1, ...Array.from({ length: 24 }, () => next() % down.n)]) {
      let total = 0;
      for (const [slot, expert] of r.chosen[token].entries()) {
        const pair = token * 9 + slot;
        const [act, kb, w] = [coded[r.places[pair]], down.k / 128, inPool(expert, down.n * down.k, c * down.k)];
        let row = 0;
        for (let b = 0; b < kb; b++) {
          let part = 0;
          for (let i = 128 * b; i < 128 * b + 128; i++) part += act[i] * values[codes[(w + i) % POOL]];
          row += part * scales[inPool(expert, (down.n / 128) * kb, Math.floor(c / 128) * kb + b) % scales.length];
        }
        total += said[pair] * row;
      }
      places.push(token * down.n + c);
      sums.push(bf16Of(residual[token * down.n + c]) + total);
    }
  const second = distance(y, places, sums);
  for (const a of Object.values(at)) cuda.free(a);
  return {
    T: r.T,
    most,
    experts: new Set(r.chosen.flat()).size,
    gathered: first.relative,
    gated_apart: apart,
    down: second.relative,
    unwritten: first.unwritten + second.unwritten,
    repeats,
    ok: first.relative < 4e-3 && second.relative < 6e-3 && apart === 0 && first.unwritten + second.unwritten === 0 && repeats,
  };
}

export async function check(cuda: Cuda): Promise<Row[]> {
  const kernels = await pairs(cuda, [1, 4, 8]);
  const text = groupedGemm(up, candidates[0], h200);
  const same = (await compileAll(cuda, [text])).get(text.name)!;
  const p = place(cuda, 8);
  const alike = (T: number): Routing => routing(Array.from({ length: T }, () => [0, 1, 2, 5, 20, 21, 22, 39, SHARED]));
  const rows: Row[] = [];
  for (const [most, list] of [
    [1, [random(1), random(1)]],
    [4, [random(1), random(2), random(3), random(4), alike(4)]],
    [8, [random(5), random(8), alike(8)]],
  ] as const)
    for (const r of list) rows.push(await checkOne(cuda, kernels.get(most)!, p, r, most, same));
  return rows;
}

export async function measure(cuda: Cuda): Promise<Row[]> {
  const kernels = await pairs(cuda, [1, 4, 8]);
  const p = place(cuda, 16);
  const rows: Row[] = [];
  const choose = (p: GroupedProblem, r: number): GemmSchedule => {
    const s = scheduleFor(groupedSchedules, p, r, h200);
    if ("reason" in s) throw new RangeError(s.reason);
    return s;
  };
  const old = [1, 2, 4, 8, 16].map(
    (T) => [groupedGemm(up, choose(up, 9 * T), h200), groupedGemm(down, choose(down, 9 * T), h200)] as const,
  );
  const gemms = await compileAll(cuda, old.flat());
  for (const [i, T] of [1, 2, 4, 8].entries()) {
    const routings = Array.from({ length: 4 }, () => random(T));
    const placed = routings.map((r) => p.of(r));
    const most = ([1, 4, 8] as const).find((t) => T <= t)!;
    const timed = (launch: (at: Record<string, number>) => void): number => time(cuda, placed, launch);
    const of = (which: string): number => timed((at) => run(cuda, kernels.get(most)!, p.fixed, at, T, which));
    const { fixed: f } = p;
    const before = timed((at) => {
      cuda.launch(
        gemms.get(old[i][0].name)!,
        { x: f.xs, w: f.w1, x_scale: f.xs_scale, w_scale: f.s1, offsets: at.offsets, y: f.between },
        { r: 9 * T },
      );
      cuda.launch(
        gemms.get(old[i][1].name)!,
        { x: f.quantised, w: f.w2, x_scale: f.quantised_scale, w_scale: f.s2, offsets: at.offsets, y: f.ys },
        { r: 9 * T },
      );
    });
    const active = routings.reduce((n, r) => n + new Set(r.chosen.flat()).size, 0) / routings.length;
    const floor = (active * (up.n * up.k + down.n * down.k)) / (h200.bandwidth / 1e6);
    const both = of("both");
    rows.push({
      T,
      active,
      both_us: both,
      floor_us: floor,
      of_bandwidth: floor / both,
      up_us: of("up"),
      down_us: of("down"),
      two_products_us: before,
    });
    for (const at of placed) for (const a of Object.values(at)) cuda.free(a);
  }
  return rows;
}

/** Microseconds of one pass, a graph of passes over rotating routings. */
function time(cuda: Cuda, placed: readonly Record<string, number>[], launch: (at: Record<string, number>) => void): number {
  launch(placed[0]);
  cuda.synchronize();
  const graph = cuda.capture(() => {
    for (let i = 0; i < 2 * placed.length; i++) launch(placed[i % placed.length]);
  });
  graph.time(1);
  const us = median(graph.time(7)) / (2 * placed.length);
  graph.destroy();
  return us;
}
