// FP8 products of one to four rows with a norm or a residual sum inside, on the card: the bytes of their parts one after another, and how
// long either takes with cold weights. Products alone are block-gemm's.
import { scheduleFor } from "../../codegen/cuda/select.ts";
import { normRows } from "../../codegen/cuda/sm90/rows/norm-rows.ts";
import { gemv } from "../../codegen/cuda/sm90/gemm/fp8-gemv.ts";
import { gemvSchedulesOf, type GemvRowsProblem } from "../../codegen/cuda/sm90/gemm/fp8-gemv-schedule.ts";
import { bf16 } from "../../ir/numeric.ts";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { put as putRows } from "./bf16-data.ts";
import { place, release, type Problem } from "./block-gemm.ts";
import { compileAll } from "./compile-all.ts";
import type { Row } from "./device.ts";
import { median } from "./gemm-data.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

/** n, k, part of R1, and between rows of x where these are part of wider ones. */
const SHAPES: readonly (readonly [number, number, string, number?])[] = [
  [2112, 7168, "q_a + kv_a"],
  [24576, 1536, "q_b", 2112],
  [36864, 7168, "dense gate and up"],
  [7168, 16384, "o_proj"],
  [7168, 18432, "dense down"],
  [1000, 1280, "odd sizes", 1288],
];

const textOf = (p: GemvRowsProblem): KernelText => {
  const s = scheduleFor(gemvSchedulesOf(p.maxRows), p, p.maxRows, h200);
  if ("reason" in s) throw new RangeError(s.reason);
  return gemv(p, s, h200);
};

/** What one shape runs for so many rows: the product alone, with a norm before it, with a residual after it, and the norm alone. */
function textsOf(
  [n, k, , stride]: (typeof SHAPES)[number],
  maxRows: 1 | 2 | 4,
): { alone: KernelText; normed: KernelText | null; added: KernelText; norm: KernelText } {
  const xStride = stride ?? k;
  // Longer rows than a hidden state's are codes of attention or of a gate, which nobody norms.
  const normed = k <= 7168 ? textOf({ n, k, maxRows, norm: { eps: 1e-6, gain: "bf16", xStride, ue8m0: false } }) : null;
  return {
    alone: textOf({ n, k, maxRows }),
    normed,
    added: textOf({ n, k, maxRows, residual: true }),
    norm: normRows({
      of: "norm_quant",
      d: k,
      aStride: xStride,
      bStride: 0,
      yStride: k,
      eps: 1e-6,
      gain: "bf16",
      act: "bf16",
      ue8m0: false,
    }),
  };
}

interface Run {
  p: Problem;
  rows: Record<string, number>;
  kernels: { alone: CudaKernel; normed: CudaKernel | null; added: CudaKernel; norm: CudaKernel };
  close(): void;
}

async function open(cuda: Cuda, shape: (typeof SHAPES)[number], maxRows: 1 | 2 | 4, copies: number): Promise<Run> {
  const [n, k, , stride] = shape;
  const texts = textsOf(shape, maxRows);
  const kernels = await compileAll(
    cuda,
    Object.values(texts).filter((t) => t !== null),
  );
  const of = (t: KernelText): CudaKernel => kernels.get(t.name)!;
  const p = place(cuda, n, k, 4, copies);
  const rows = {
    row: putRows(cuda, "bf16", 4 * (stride ?? k)),
    gain: putRows(cuda, "bf16", k),
    residual: putRows(cuda, "bf16", 4 * n),
    codes: cuda.alloc(4 * k),
    scales: cuda.alloc(k),
  };
  return {
    p,
    rows,
    kernels: { alone: of(texts.alone), normed: texts.normed && of(texts.normed), added: of(texts.added), norm: of(texts.norm) },
    close() {
      for (const at of Object.values(rows)) cuda.free(at);
      release(cuda, p);
    },
  };
}

const floats = (bytes: Uint8Array): Float32Array =>
  new Float32Array(Uint32Array.from(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2), (w) => w << 16).buffer);

/** Every byte: a norm inside against the norm alone and the product alone; a residual inside against the sum of both, rounded. */
export async function check(cuda: Cuda): Promise<Row[]> {
  const out: Row[] = [];
  for (const shape of SHAPES)
    for (const maxRows of [1, 2, 4] as const) {
      const [n, k, part] = shape;
      const { p, rows, kernels, close } = await open(cuda, shape, maxRows, 1);
      const { w, w_scale, x, x_scale, y } = p.buffers[0];
      for (const m of maxRows === 4 ? [3, 4] : [maxRows]) {
        const result = (f: CudaKernel, more: Record<string, number>): Uint8Array => {
          cuda.fill(y, 0xff, m * n * 2);
          cuda.launch(f, { w, w_scale, y, ...more }, { m });
          return cuda.download(y, m * n * 2);
        };
        if (kernels.normed) {
          cuda.launch(kernels.norm, { x: rows.row, gain: rows.gain, codes: rows.codes, scales: rows.scales }, { m });
          const want = result(kernels.alone, { x: rows.codes, x_scale: rows.scales });
          const wrong = result(kernels.normed, { x: rows.row, gain: rows.gain }).reduce(
            (c, v, i) => c + Number(v !== want[i]),
            0,
          );
          out.push({ part, n, k, m, inside: "norm", wrong, ok: wrong === 0 });
        }
        const [alone, before] = [floats(result(kernels.alone, { x, x_scale })), floats(cuda.download(rows.residual, m * n * 2))];
        const wrong = floats(result(kernels.added, { x, x_scale, residual: rows.residual })).reduce(
          (c, v, i) => c + Number(v !== bf16(Math.fround(before[i] + alone[i]))),
          0,
        );
        out.push({ part, n, k, m, inside: "residual", wrong, ok: wrong === 0 });
      }
      close();
    }
  return out;
}

/** Microseconds of one row through a product with its norm inside, and of the two one after the other. */
export async function measure(cuda: Cuda): Promise<Row[]> {
  const out: Row[] = [];
  for (const shape of SHAPES.slice(0, 5)) {
    const [n, k, part] = shape;
    const { p, rows, kernels, close } = await open(cuda, shape, 1, Math.ceil(130e6 / (n * k)) + 1);
    const time = (each: (weights: Record<string, number>) => void): number => {
      const launches = Math.max(p.buffers.length, 6);
      const graph = cuda.capture(() => {
        for (let i = 0; i < launches; i++) each(p.buffers[i % p.buffers.length]);
      });
      graph.time(2);
      const us = median(graph.time(9)) / launches;
      graph.destroy();
      return us;
    };
    const m = { m: 1 };
    const alone = time((b) => cuda.launch(kernels.alone, b, m));
    const added = time((b) => cuda.launch(kernels.added, { ...b, residual: rows.residual }, m));
    const { normed } = kernels;
    const apart =
      normed &&
      time((b) => {
        cuda.launch(kernels.norm, { x: rows.row, gain: rows.gain, codes: rows.codes, scales: rows.scales }, m);
        cuda.launch(kernels.alone, { ...b, x: rows.codes, x_scale: rows.scales }, m);
      });
    out.push({
      part,
      n,
      k,
      alone_us: alone,
      residual_inside_us: added,
      floor_us: (n * k) / (h200.bandwidth / 1e6),
      ...(normed && apart
        ? { norm_inside_us: time((b) => cuda.launch(normed, { ...b, x: rows.row, gain: rows.gain }, m)), norm_before_us: apart }
        : {}),
    });
    close();
  }
  return out;
}
