// norm_quant on the card, from one tile program printed twice: as CUDA C++ compiled by NVRTC, and as Triton compiled ahead of time
// to a cubin. Codes and scales must be exactly those of the CPU target's WebAssembly. Times with cold inputs beside the floor.
import { families } from "../../codegen/kernels/index.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { printCuda } from "../../codegen/cuda/printed/print.ts";
import { printTriton } from "../../codegen/triton/print.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { bf16 } from "../../ir/numeric.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { runOnCpu } from "../kernels/on-cpu.ts";
import { randoms } from "../kernels/problems.ts";
import type { Row } from "./device.ts";
import { compileTriton, SCRATCH } from "./triton-aot.ts";

const WIDTHS = [7168, 1536];
const ROWS = [1, 7, 64, 1024];
/** Read-only bandwidth this card has reached. */
const GB_PER_S = h200.bandwidth / 1e9;
/** More than L2 holds. */
const COLD = 160 * 2 ** 20;
/** Launches of one graph at most. */
const LAUNCHES = 2048;

const tile = (d: number, ue8m0: boolean): Kernel =>
  families.norm_quant.kernel({ d, xStride: d, yStride: 0, eps: 1e-6, gain: "bf16", ue8m0 });

interface Candidate {
  by: string;
  kernel: CudaKernel;
  extra: Readonly<Record<string, number>>;
}

/** Both printings, in the variants asked for. */
function build(cuda: Cuda, kernel: Kernel, threads: readonly (number | undefined)[], warps: readonly number[]): Candidate[] {
  const cudaTexts = threads.map((t) => printCuda(kernel, h200, { threads: t }));
  const tritonText = printTriton(kernel);
  const cubins = compileTriton(warps.map((n) => ({ ...tritonText, options: { ...tritonText.options, num_warps: n } })));
  return [
    ...cudaTexts.map((t) => ({ by: `cuda, ${t.launch.block} threads`, kernel: cuda.compile(t), extra: {} })),
    ...cubins.map((c, i) => ({
      by: `triton ${c.triton}, ${warps[i]} warps`,
      kernel: cuda.loadCubin(c.cubin, c.text),
      extra: SCRATCH,
    })),
  ];
}

const bytes = (a: Float32Array | Uint16Array | Uint8Array): Uint8Array => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

/** Rows of many magnitudes, one of zeros and one whose largest value is far from the rest; gains in [-2, 2]. */
function inputs(m: number, d: number): { x: Float32Array; gain: Uint16Array } {
  const random = randoms(1 + m * 8192 + d);
  const x = new Float32Array(m * d);
  for (let i = 0; i < m; i++) {
    const size = 2 ** Math.round(random() * 20);
    for (let c = 0; c < d; c++) x[i * d + c] = i === 3 ? 0 : random() * random() * size;
    if (i === 5) x[i * d + 200] = 3e15;
  }
  const word = new Uint32Array(1);
  const real = new Float32Array(word.buffer);
  const gain = Uint16Array.from({ length: d }, () => {
    real[0] = bf16(2 * random());
    return word[0] >>> 16;
  });
  return { x, gain };
}

function different(a: Uint8Array | Uint32Array, b: Uint8Array | Uint32Array): number {
  let n = 0;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) n++;
  return n;
}

/** Codes and scales of every candidate against WebAssembly: counts of equal and different ones. */
export async function check(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  const most = Math.max(...ROWS);
  for (const d of WIDTHS)
    for (const ue8m0 of [false, true]) {
      const kernel = tile(d, ue8m0);
      const blocks = Math.ceil(d / 128);
      const candidates = build(cuda, kernel, [undefined, 128, 512], [1, 4]);
      const at = {
        x: cuda.alloc(most * d * 4),
        gain: cuda.alloc(d * 2),
        codes: cuda.alloc(most * d),
        scales: cuda.alloc(most * blocks * 4),
      };
      for (const m of ROWS) {
        const { x, gain } = inputs(m, d);
        const [codes, scales] = [new Uint8Array(m * d), new Float32Array(m * blocks)];
        runOnCpu(kernel, { x, gain, codes, scales }, { m });
        cuda.upload(at.x, bytes(x));
        cuda.upload(at.gain, bytes(gain));
        for (const { by, kernel: run, extra } of candidates) {
          // 0xff is no code that quantising gives, and a scale of NaN.
          cuda.fill(at.codes, 0xff, m * d);
          cuda.fill(at.scales, 0xff, m * blocks * 4);
          cuda.launch(run, at, { m, ...extra });
          const wrong = different(cuda.download(at.codes, m * d), codes);
          const wrongScales = different(
            new Uint32Array(cuda.download(at.scales, m * blocks * 4).buffer),
            new Uint32Array(scales.buffer),
          );
          const ok = wrong === 0 && wrongScales === 0;
          rows.push({
            by,
            d,
            m,
            ue8m0,
            codes_equal: m * d - wrong,
            codes_different: wrong,
            scales_equal: m * blocks - wrongScales,
            scales_different: wrongScales,
            ok,
          });
        }
      }
      for (const a of Object.values(at)) cuda.free(a);
    }
  return rows;
}

const median = (v: number[]): number => v.sort((a, b) => a - b)[v.length >> 1];

/** Microseconds of a launch: a graph of launches walks through more input than L2 holds, where that many launches are allowed. */
export async function measure(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  const pool = {
    x: cuda.alloc(COLD),
    codes: cuda.alloc(COLD / 4),
    scales: cuda.alloc(COLD / 4),
    gain: cuda.alloc(2 * Math.max(...WIDTHS)),
  };
  const random = randoms(7);
  const part = Float32Array.from({ length: 2 ** 20 }, () => random());
  for (let done = 0; done < COLD; done += part.byteLength) cuda.upload(pool.x + done, bytes(part));
  cuda.upload(pool.gain, bytes(inputs(1, Math.max(...WIDTHS)).gain));
  for (const d of WIDTHS) {
    const blocks = Math.ceil(d / 128);
    // Numbers of warps that divide a row's blocks evenly; the printer's own choice is 14 of 56 and 12 of 12.
    const even = [4, 6, 8, 12, 14, 28].filter((n) => blocks % n === 0);
    const candidates = build(
      cuda,
      tile(d, false),
      even.map((n) => 32 * n),
      [1, 4],
    );
    for (const m of ROWS) {
      // Starts stay aligned to 16 bytes.
      const step = Math.ceil((m * d * 4) / 64) * 64;
      const launches = Math.min(LAUNCHES, Math.floor(COLD / step));
      const moved = m * d * 5 + m * blocks * 4 + d * 2;
      for (const { by, kernel, extra } of candidates) {
        const go = (i: number): void =>
          cuda.launch(
            kernel,
            { x: pool.x + i * step, gain: pool.gain, codes: pool.codes + (i * step) / 4, scales: pool.scales + (i * step) / 4 },
            { m, ...extra },
          );
        go(0);
        const graph = cuda.capture(() => {
          for (let i = 0; i < launches; i++) go(i);
        });
        graph.time(2);
        const us = median(graph.time(9)) / launches;
        graph.destroy();
        rows.push({
          by,
          d,
          m,
          us,
          floor_us: moved / GB_PER_S / 1000,
          gb_per_s: moved / us / 1000,
          inputs: launches * step > 64e6 ? "cold" : "in L2",
        });
      }
    }
  }
  for (const a of Object.values(pool)) cuda.free(a);
  return rows;
}
