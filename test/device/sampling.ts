// The kernel that draws ids: those of the sampler on this machine, bit for bit, at R1's vocabulary and a small one, in batches up to
// 64 and beyond; then its time.
import { cachedCompile } from "../../runtime/devices/cuda/cubins.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { sampleKernel } from "../../codegen/cuda/system/sample.ts";
import { CHOICE_BYTES, Sampler, type Sampling } from "../../runtime/sample.ts";
import { sampleRows } from "../kernels/sample-rows.ts";
import type { Row } from "./device.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const compile = cachedCompile(h200.arch);
async function load(cuda: Cuda, vocab: number): Promise<CudaKernel> {
  const text = sampleKernel(vocab, h200);
  return cuda.loadCubin(await compile(text.name, text.source), text);
}

function placed(cuda: Cuda, buffers: Readonly<Record<string, Uint8Array>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(buffers).map(([name, data]) => {
      const at = cuda.alloc(data.length);
      cuda.upload(at, data);
      return [name, at];
    }),
  );
}

/** A small one, the printed model's, both sides of where a row becomes a cluster's, R1's, and the largest of the family. */
export const vocabularies = [67, 1292, 8192, 8193, 129280, 163840];

export async function check(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  for (const vocab of vocabularies) {
    const kernel = await load(cuda, vocab);
    const { buffers, want } = sampleRows(vocab);
    const at = placed(cuda, buffers);
    // Twice: the second time the fed ids are held already.
    for (const m of [1, 3, 16, 64, want.length, want.length]) {
      cuda.fill(at.y, 0xff, 4 * want.length);
      cuda.launch(kernel, at, { m });
      const got = new Int32Array(cuda.download(at.y, 4 * want.length).buffer);
      const wrong = want.slice(0, m).flatMap((id, i) => (got[i] === id ? [] : [i]));
      const beyond = got.subarray(m).some((v) => v !== -1);
      rows.push({ vocab, m, wrong: wrong.length, first_wrong: wrong[0] ?? -1, ok: wrong.length === 0 && !beyond });
    }
    for (const a of Object.values(at)) cuda.free(a);
  }
  return rows;
}

const ways: Record<string, Sampling> = {
  temperature: { temperature: 0.8 },
  "top-p": { temperature: 0.8, topP: 0.95 },
  "top-k": { temperature: 0.8, topK: 50 },
  all: { temperature: 0.8, topK: 50, topP: 0.95, repeatPenalty: 1.1 },
};
const logitsOf: Record<string, (i: number) => number> = {
  // A sum of four uniforms, wide enough that some hundreds of ids matter; and every id as likely as any.
  "of a model": (i) =>
    [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f].reduce((sum, k) => sum + (Math.imul(i + 1, k) >>> 0) / 2 ** 32, -2) * 6,
  flat: (i) => (Math.imul(i + 1, 0x9e3779b1) >>> 0) / 2 ** 32 / 100,
};
const LAUNCHES = 20;

export async function measure(cuda: Cuda): Promise<Row[]> {
  const rows: Row[] = [];
  const most = 64;
  for (const vocab of [129280, 1292]) {
    const kernel = await load(cuda, vocab);
    for (const [logits, of] of Object.entries(logitsOf)) {
      const values = new Float32Array(most * vocab);
      for (let i = 0; i < values.length; i++) values[i] = of(i);
      for (const [way, options] of Object.entries(ways)) {
        const choices = new DataView(new ArrayBuffer(most * CHOICE_BYTES));
        for (let b = 0; b < most; b++) new Sampler(options).write(choices, b * CHOICE_BYTES, b);
        const [ids, starts, lengths] = [
          new Int32Array(most),
          Int32Array.from({ length: most + 1 }, (_, b) => b),
          new Int32Array(most).fill(100),
        ];
        const bytes = (a: ArrayBufferView): Uint8Array => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);
        const at = placed(cuda, {
          logits: bytes(values),
          choices: bytes(choices),
          ids: bytes(ids),
          starts: bytes(starts),
          lengths: bytes(lengths),
          seen: new Uint8Array(4 * most * Math.ceil(vocab / 32)),
          y: new Uint8Array(4 * most),
        });
        for (const m of [1, 16, 64]) {
          cuda.launch(kernel, at, { m });
          const graph = cuda.capture(() => {
            for (let i = 0; i < LAUNCHES; i++) cuda.launch(kernel, at, { m });
          });
          const us = graph
            .time(12)
            .map((t) => t / LAUNCHES)
            .toSorted((a, b) => a - b);
          graph.destroy();
          rows.push({
            kernel: "dsc_sample",
            vocab,
            logits,
            options: way,
            m,
            us: us[us.length >> 1],
            floor_us: (4 * vocab * m) / (h200.bandwidth / 1e6),
          });
        }
        for (const a of Object.values(at)) cuda.free(a);
      }
    }
  }
  return rows;
}
