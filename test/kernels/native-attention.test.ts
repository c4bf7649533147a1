// The native attention kernels against their ops' references, without a GPU: the kernels' own text, run by g++ under a small
// machine of fibres. What was never written is NaN: rows past the end of a page, shared memory, the output.
import { afterAll, describe, expect, test } from "vitest";
import { mlaDecodeFixed } from "../../codegen/cuda/sm90/attention/mla-decode-cluster.ts";
import { mlaDecode } from "../../codegen/cuda/sm90/attention/mla-decode.ts";
import { fixedSchedule } from "../../codegen/cuda/sm90/attention/schedule.ts";
import { mlaPrefill } from "../../codegen/cuda/sm90/attention/mla-prefill.ts";
import { bf16 } from "../../ir/numeric.ts";
import { refer, rowsOf, tensor, type Sequences } from "./families/cases.ts";
import { cached, cacheOf } from "./families/paged.ts";
import { draw, randomOf } from "./numbers.ts";
import { nativeOnHost, type Native } from "./native-on-host.ts";
import { lacks } from "../conditions.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

/** bf16 rounding of weights and result; the card's own limit. */
const WITHIN = 4e-3;
const SCALE = 0.1352;

const bits = (values: ArrayLike<number>): Uint8Array => {
  const f = Float32Array.from(values);
  return new Uint8Array(Uint16Array.from(new Uint32Array(f.buffer), (w) => w >>> 16).buffer);
};
const ints = (values: readonly number[]): Uint8Array => new Uint8Array(Int32Array.from(values).buffer);
const unwritten = (elements: number): Uint8Array => new Uint8Array(2 * elements).fill(0xff);

/** Relative error of bf16 bits; NaN where anything is missing. */
function relative(got: Uint8Array<ArrayBuffer>, want: ArrayLike<number>): number {
  const words = new Uint16Array(got.buffer);
  const value = new Float32Array(Uint32Array.from(words, (w) => w << 16).buffer);
  let [error, norm] = [0, 0];
  for (let i = 0; i < value.length; i++) [error, norm] = [error + (value[i] - want[i]) ** 2, norm + want[i] ** 2];
  return Math.sqrt(error / norm);
}

const built: Native[] = [];
const build = (...of: Parameters<typeof nativeOnHost>): Native => {
  built.push(nativeOnHost(...of));
  return built[built.length - 1];
};
afterAll(() => {
  for (const n of built) n.close();
});

/** Rows of each sequence, cached rows, and multiprocessors to share the work. */
const batches: readonly [string, Sequences, number][] = [
  ["one row", { starts: [0, 1], lengths: [1] }, 4],
  ["one sequence over all clusters, the last stage not full", { starts: [0, 1], lengths: [700] }, 8],
  ["a ragged batch whose tokens begin and end inside runs", { starts: [0, 1, 2, 3, 4], lengths: [1, 100, 300, 64] }, 8],
  ["two rows of each sequence, side by side", { starts: [0, 2, 4, 6], lengths: [2, 65, 130] }, 4],
  ["more rows of a sequence than two", { starts: [0, 3, 4], lengths: [70, 129] }, 4],
  // Parts of a token are added eight at a time, and the largest score of later ones makes what came before smaller.
  ["one sequence in more than sixteen parts", { starts: [0, 1], lengths: [1270] }, 20],
];

const [r, d, pageRows] = [512, 64, 64];
/** A rotary query lies behind 128 other lanes of its head, as the projection leaves it. */
const decodeOf = (heads: number) =>
  ({ heads, r, d, pageRows, ql: [heads * r, r], qp: [heads * 192, 192], scale: SCALE }) as const;

/** What a kernel of absorbed attention gives for a batch, and what it should give. */
function attended(
  native: Native,
  heads: number,
  batch: Sequences,
  SMs: number,
): { y: Uint8Array<ArrayBuffer>; want: ArrayLike<number>; alone: (row: number) => Uint8Array<ArrayBuffer> } {
  const random = randomOf(21);
  const T = batch.starts.at(-1)!;
  const { rows, cache, pages } = cached(random, batch, pageRows, r + d, "all");
  const latents = rows.map((row) => row.map(bf16));
  const [ql, qp] = [draw(random, T * heads * r, "bf16", 2), draw(random, T * heads * d, "bf16")];
  const wide = new Float64Array(T * heads * 192);
  for (let i = 0; i < T * heads; i++) wide.set(qp.subarray(i * d, (i + 1) * d), i * 192);
  const { positions, sequence } = rowsOf(batch);
  const buffers = {
    ql: bits(ql),
    qp: bits(wide),
    cache: bits(cache.map((v) => (Number.isNaN(v) ? v : bf16(v)))),
    positions: ints(positions),
    sequence: ints(sequence),
    pages: ints(pages.pages),
    y: unwritten(T * heads * r),
  };
  const y = native.run(buffers, { T, P: pages.P }, { SMs });
  const want = refer(
    "mla_attend",
    { ql: tensor([T, heads, r], ql), qp: tensor([T, heads, d], qp), cache: cacheOf(latents) },
    { scale: SCALE },
    batch,
  ).out.data;
  /** The row alone: a batch of one token over the same pages. */
  const alone = (row: number): Uint8Array<ArrayBuffer> => {
    const of = (b: Uint8Array, bytes: number): Uint8Array => b.slice(row * bytes, (row + 1) * bytes);
    const one = {
      ...buffers,
      ql: of(buffers.ql, 2 * heads * r),
      qp: of(buffers.qp, 2 * heads * 192),
      positions: of(buffers.positions, 4),
      sequence: of(buffers.sequence, 4),
      y: unwritten(heads * r),
    };
    // That a second launch finds the workspace as the first did is seen of the batch.
    return native.run(one, { T: 1, P: pages.P }, { SMs, launches: 1 });
  };
  return { y, want, alone };
}

describe.skipIf(lacks("g++ 12")).each([128, 64, 20])("mla_decode, %i heads", (heads) => {
  const problem = decodeOf(heads);
  let kernel: Native | undefined;

  const error = (native: Native, batch: Sequences, SMs: number): number => {
    const { y, want } = attended(native, heads, batch, SMs);
    return relative(y, want);
  };

  test.each(batches)("%s", (_, batch, SMs) => {
    expect(error((kernel ??= build(mlaDecode(problem, h200))), batch, SMs)).toBeLessThan(WITHIN);
  });

  if (heads === 64)
    test("rows beyond those that are balanced one by one", () => {
      const text = mlaDecode(problem, h200);
      const source = text.source.replace("MOST = 1024", "MOST = 4");
      expect(source).not.toBe(text.source);
      expect(error(build({ ...text, source }), { starts: [0, 1, 2, 4, 7], lengths: [1, 70, 66, 129] }, 4)).toBeLessThan(WITHIN);
    });

  if (heads === 64)
    test("the check sees rows past the end of a sequence", () => {
      const text = mlaDecode(problem, h200);
      const careless = text.source.replace(/st_shared_v4_u32\(tile[^;]*;/, ";");
      expect(careless).not.toBe(text.source);
      expect(error(build({ ...text, source: careless }), batches[1][1], 8)).toBeNaN();
    });
});

describe.skipIf(lacks("g++ 12")).each([
  [16, 32, 8, "together"],
  [32, 32, 8, "together"],
  [24, 20, 8, "together"],
  [16, 16, 16, "together"],
  [16, 20, 16, "together"],
  [32, 20, 16, "together"],
  [16, 16, 2, "apart"],
  [24, 20, 4, "apart"],
  [32, 32, 8, "apart"],
] as const)("mla_decode in fixed splits, %i heads a cluster, of %i, %i blocks, %s", (group, heads, splits, turns) => {
  let kernel: Native | undefined;

  test.each<[string, Sequences]>([
    ...batches.map(([what, batch]): [string, Sequences] => [what, batch]),
    ["more stages than blocks", { starts: [0, 1, 3], lengths: [1100, 66] }],
  ])("%s", (_, batch) => {
    kernel ??= build(mlaDecodeFixed(decodeOf(heads), fixedSchedule(group, splits, turns), h200));
    const { y, want, alone } = attended(kernel, heads, batch, 1);
    expect(relative(y, want)).toBeLessThan(WITHIN);
    const [rows, bytes] = [batch.starts.at(-1)!, 2 * heads * r];
    for (let row = 0; row < rows; row++)
      expect(alone(row), `bits of row ${row}`).toEqual(y.slice(row * bytes, (row + 1) * bytes));
  });
});

describe.skipIf(lacks("g++ 12")).each([
  [128, 128],
  [192, 256],
])("keys of %i + 64 lanes, values of %i: mla_prefill", (n, v) => {
  const [heads, d] = [2, 64];
  // Queries, their rotated lanes, keys and values lie among each other, as projections leave them; no two strides are the same.
  const problem = {
    heads,
    n,
    d,
    v,
    q: [heads * (n + 72) + 8, n + 72],
    qp: [heads * 72, 72],
    k: [heads * (n + 136), n + 136],
    kp: 576,
    vStrides: [heads * (v + 8) + 8, v + 8],
    y: [heads * v, v],
    scale: SCALE,
  } as const;
  /** Rows of `width` lanes under these strides; NaN lies between them. */
  const apart = (values: Float64Array, rows: number, width: number, [row, step]: readonly [number, number]): Uint8Array => {
    const out = new Float64Array(rows * row).fill(NaN);
    for (let i = 0; i < values.length; i++)
      out[Math.floor(i / width / heads) * row + (Math.floor(i / width) % heads) * step + (i % width)] = values[i];
    return bits(out);
  };
  let kernel: Native | undefined;

  test.each([
    [1, 1],
    [5, 65],
    [130, 200],
    [129, 300],
  ])("%i rows, %i keys", (t, s) => {
    kernel ??= build(mlaPrefill(problem, h200));
    const random = randomOf(22);
    const [q, qp, k, kp, values] = [t * heads * n, t * heads * d, s * heads * n, s * d, s * heads * v].map((count, i) =>
      draw(random, count, "bf16", i === 0 ? 2 : 1),
    );
    const buffers = {
      q: apart(q, t, n, problem.q),
      qp: apart(qp, t, d, problem.qp),
      keys: apart(k, s, n, problem.k),
      values: apart(values, s, v, problem.vStrides),
      y: unwritten(t * heads * v),
      kp: bits(
        Float64Array.from({ length: s * problem.kp }, (_, i) =>
          i % problem.kp < d ? kp[Math.floor(i / problem.kp) * d + (i % problem.kp)] : NaN,
        ),
      ),
    };
    const y = kernel.run(buffers, { t, s }, { SMs: 1, launches: 1 });
    const ins = {
      q: tensor([t, heads, n], q),
      qp: tensor([t, heads, d], qp),
      k: tensor([s, heads, n], k),
      kp: tensor([s, d], kp),
      v: tensor([s, heads, v], values),
    };
    expect(relative(y, refer("attend", ins, { scale: SCALE }).out.data)).toBeLessThan(WITHIN);
  });
});
