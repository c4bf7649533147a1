// The kernels between the products, as they stand in R1 and the printed model: natives against the tile programs that say the same,
// bit for bit, then times of what the target chooses beside the floor, for decode's few rows and prefill's many.
import { natives } from "../../codegen/cuda/sm90/natives.ts";
import { normRows, normRowsNative, normRowsProblem, type NormFamily } from "../../codegen/cuda/sm90/rows/norm-rows.ts";
import { printCuda } from "../../codegen/cuda/printed/print.ts";
import { families, type FamilyName } from "../../codegen/kernels/index.ts";
import type { KernelText, Problem } from "../../ir/kernel/catalogue.ts";
import type { Index, Kernel } from "../../ir/kernel/stmt.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { buffersOf } from "../kernels/problems.ts";
import { BANDWIDTH, median, put } from "./bf16-data.ts";
import type { Row } from "./device.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { r1Routing } from "../kernels/r1-routing.ts";

interface Case {
  family: FamilyName;
  problem: Problem;
  /** Dims at m rows. */
  dims: (m: number) => Record<string, number>;
  extents?: (m: number) => Record<string, number>;
  ints?: (m: number) => Record<string, (i: number) => number>;
}

const rows = (m: number): Record<string, number> => ({ m });
const norm = (family: FamilyName, d: number, more: object = {}): Case => ({
  family,
  dims: rows,
  problem: {
    d,
    ...(family.startsWith("add") ? { aStride: d, bStride: d } : { xStride: d, yStride: d }),
    eps: 1e-6,
    gain: "bf16",
    act: "bf16",
    ue8m0: false,
    ...more,
  } as Problem,
});
const paged = () => ({
  positions: (i: number) => i % 64,
  sequence: (i: number) => i % 64,
  pages: (i: number) => i,
  starts: (i: number) => i,
});
const pages = { pages_count: 64, B: 64 };

/** Pair i goes to an expert by a hash, so that groups are ragged. */
const expertOf = (i: number): number => (Math.imul(i + 1, 0x9e3779b1) >>> 24) % 256;
const permuted =
  (m: number) =>
  (i: number): number =>
    (i * 7) % (8 * m);

const CASES: readonly Case[] = [
  norm("rms_norm", 7168),
  norm("rms_norm", 1536, { xStride: 2112 }),
  norm("norm_quant", 7168),
  norm("norm_quant", 1536, { xStride: 2112 }),
  norm("add_norm", 7168),
  norm("add_norm_quant", 7168),
  norm("add_norm_both", 7168),
  { family: "quantize", problem: { d: 16384, xStride: 16384, ue8m0: false, act: "bf16" }, dims: rows },
  { family: "gated_pair", problem: { n: 1856, xStride: 3712, yStride: 1856, act: "bf16" }, dims: rows },
  { family: "gated_quant", problem: { n: 18432, xStride: 36864, ue8m0: false, act: "bf16" }, dims: rows },
  { family: "gated_quant", problem: { n: 2048, xStride: 4096, ue8m0: false, act: "bf16" }, dims: (m) => ({ m: 8 * m }) },
  { family: "flat", problem: { op: "add", act: "bf16" }, dims: (m) => ({ n: 7168 * m }) },
  {
    family: "rope",
    problem: { heads: 128, d: 64, xStrides: [24576, 192], interleaved: true, maxPositions: 4096, act: "bf16" },
    dims: (m) => ({ T: m }),
    ints: paged,
  },
  {
    family: "rope_append",
    problem: {
      r: 512,
      d: 64,
      pageRows: 64,
      cStride: 2112,
      krStride: 2112,
      gain: "bf16",
      eps: 1e-6,
      interleaved: true,
      maxPositions: 4096,
      act: "bf16",
    },
    dims: (m) => ({ T: m, P: 1 }),
    extents: () => pages,
    ints: paged,
  },
  {
    family: "embed",
    problem: { vocab: 16384, d: 7168, table: "bf16", y: "bf16" },
    dims: (m) => ({ T: m }),
    ints: () => ({ ids: (i) => (i * 977) % 16384 }),
  },
  { family: "last_rows", problem: { d: 7168, xStride: 7168, act: "bf16" }, dims: (m) => ({ T: m, B: m }), ints: paged },
  {
    family: "route",
    problem: { ...r1Routing, shared: 1 },
    dims: (m) => ({ T: m }),
  },
  { family: "sort_experts", problem: { experts: 257, k: 9 }, dims: (m) => ({ r: 9 * m }), ints: () => ({ indices: expertOf }) },
  {
    family: "gather_rows",
    problem: { d: 7168, per: 8, x: "e4m3", xStride: 7168 },
    dims: (m) => ({ T: m, r: 8 * m }),
    ints: (m) => ({ order: permuted(m) }),
  },
  {
    family: "combine_add",
    problem: { d: 7168, k: 8, xStride: 7168, shared: true, act: "bf16" },
    dims: (m) => ({ T: m, r: 8 * m }),
    ints: (m) => ({ places: permuted(m) }),
  },
  { family: "argmax", problem: { d: 129280, xStride: 129280 }, dims: rows },
];

/** The native that takes the place of a tile program, if one does. */
function nativeOf(c: Case): KernelText | null {
  if (normRowsNative.serves.includes(c.family)) {
    const p = normRowsProblem(c.family as NormFamily, c.problem as Parameters<typeof normRowsProblem>[1]);
    return "reason" in normRowsNative.schedules.candidates(p, h200) ? null : normRows(p);
  }
  const native = natives.find((n) => n.serves.includes(c.family) && ["route", "sort_experts", "argmax"].includes(c.family));
  return native?.emit(c.problem, undefined, h200) ?? null;
}

const bytesOf = { f32: 4, bf16: 2, e4m3: 1, i32: 4 } as const;
const value = (i: Index, dims: Record<string, number>): number => {
  if (typeof i === "number") return i;
  if (typeof i === "string") return dims[i];
  const [a, b] = [value(i.a, dims), value(i.b, dims)];
  return { add: a + b, sub: a - b, mul: a * b, div: Math.floor(a / b), mod: a % b, min: Math.min(a, b), max: Math.max(a, b) }[
    i.op
  ];
};

/** Bytes a kernel must move: what of a table or a cache is touched, the rest whole. */
function moved(c: Case, kernel: Kernel, m: number): number {
  const dims = { ...c.dims(m), ...c.extents?.(m) };
  return kernel.params.reduce((sum, p) => {
    const whole = p.shape.reduce<number>((n, e) => n * value(e, dims), 1) * bytesOf[p.dtype];
    const part =
      p.name === "table"
        ? m * (p.shape[1] as number) * bytesOf[p.dtype]
        : p.name === "cache"
          ? m * 576 * bytesOf[p.dtype]
          : whole;
    return sum + Math.min(whole, part);
  }, 0);
}

const compiled = new Map<string, CudaKernel>();
const load = (cuda: Cuda, text: KernelText): CudaKernel =>
  compiled.get(text.source) ?? compiled.set(text.source, cuda.compile(text)).get(text.source)!;
const view = (a: { buffer: ArrayBufferLike; byteOffset: number; byteLength: number }): Uint8Array =>
  new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

export async function check(cuda: Cuda): Promise<Row[]> {
  const out: Row[] = [];
  for (const c of CASES) {
    const native = nativeOf(c);
    if (!native) continue;
    const kernel = families[c.family].kernel(c.problem);
    for (const m of [1, 5, 64]) {
      const dims = { ...c.dims(m), ...c.extents?.(m) };
      const host = buffersOf(kernel, dims, c.ints?.(m), 7 + m);
      const results = [printCuda(kernel, h200), native, native].map((text) => {
        const at = Object.fromEntries(
          Object.entries(host).map(([name, data]) => {
            const a = cuda.alloc(data.byteLength);
            cuda.upload(a, view(data));
            return [name, a];
          }),
        );
        cuda.launch(load(cuda, text), at, dims);
        const got = Object.fromEntries(
          kernel.params.filter((p) => p.access !== "in").map((p) => [p.name, cuda.download(at[p.name], host[p.name].byteLength)]),
        );
        for (const a of Object.values(at)) cuda.free(a);
        return got;
      });
      let different = 0;
      for (const [name, want] of Object.entries(results[0])) {
        if (c.family === "route" && name === "weights") {
          // The sum that normalises has no promised order.
          const [a, b] = [want, results[1][name]].map((r) => new Float32Array(r.buffer));
          for (let i = 0; i < 8 * m; i++) different += Number(!(Math.abs(a[i] - b[i]) <= 2e-6 * Math.abs(a[i])));
        } else
          for (let i = 0; i < want.length; i++)
            if (want[i] !== results[1][name][i] || want[i] !== results[2][name][i]) different++;
      }
      out.push({ kernel: native.name, m, different, ok: different === 0 });
    }
  }
  return out;
}

/** A buffer on the card: random numbers, finite codes, or integers by a rule. */
function filled(
  cuda: Cuda,
  dtype: "f32" | "bf16" | "e4m3" | "i32",
  count: number,
  rule: (i: number) => number = () => 0,
): number {
  if (dtype === "f32" || dtype === "bf16") return put(cuda, dtype, count);
  const at = cuda.alloc(count * bytesOf[dtype]);
  if (dtype === "e4m3") cuda.fill(at, 0x3a, count);
  else cuda.upload(at, view(Int32Array.from({ length: count }, (_, i) => rule(i))));
  return at;
}

export async function measure(cuda: Cuda): Promise<Row[]> {
  const out: Row[] = [];
  for (const c of CASES) {
    const kernel = families[c.family].kernel(c.problem);
    const native = nativeOf(c);
    for (const m of [1, 16, 64, 4096]) {
      if (c.family === "argmax" && m > 64) continue;
      const dims = { ...c.dims(m), ...c.extents?.(m) };
      const counts = kernel.params.map(
        (p) => 8 + p.shape.reduce<number>((n, e, axis) => n + (value(e, dims) - 1) * value(p.strides[axis], dims), 1),
      );
      const big = kernel.params.reduce((n, p, i) => n + counts[i] * bytesOf[p.dtype], 0);
      const copies = big > 150e6 ? 1 : Math.min(4, Math.ceil(120e6 / big));
      const sets = Array.from({ length: copies }, () =>
        Object.fromEntries(kernel.params.map((p, i) => [p.name, filled(cuda, p.dtype, counts[i], c.ints?.(m)[p.name])])),
      );
      const timed = (text: KernelText): number => {
        const k = load(cuda, text);
        for (const s of sets) cuda.launch(k, s, dims);
        cuda.synchronize();
        const launches = m > 64 ? 8 : 40;
        const graph = cuda.capture(() => {
          for (let i = 0; i < launches; i++) cuda.launch(k, sets[i % sets.length], dims);
        });
        graph.time(2);
        const us = median(graph.time(9)) / launches;
        graph.destroy();
        return us;
      };
      const printed = c.family === "sort_experts" && m > 64 && native ? NaN : timed(printCuda(kernel, h200));
      const us = native ? timed(native) : printed;
      const floor = moved(c, kernel, m) / BANDWIDTH;
      out.push({
        kernel: kernel.name,
        by: native ? "native" : "printed",
        m,
        us,
        floor_us: floor,
        over_launch: us - 0.75,
        ...(native ? { printed_us: printed } : {}),
      });
      for (const s of sets) for (const a of Object.values(s)) cuda.free(a);
    }
  }
  return out;
}
