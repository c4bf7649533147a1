// The native FP8 products against float64, without a GPU: the kernels' own text, run by g++ under a small machine of fibres
// (compiler/edit/host). Small matrices, ragged in n, k and m; outputs, shared memory and workspaces start as NaN.
import { describe, expect, test } from "vitest";
import { bf16Gemm } from "../../codegen/cuda/sm90/gemm/bf16-persistent.ts";
import { blockGemm } from "../../codegen/cuda/sm90/gemm/fp8-gemm.ts";
import { groupedGemm } from "../../codegen/cuda/sm90/gemm/grouped-gemm.ts";
import { bf16Name, type Bf16Schedule, type Bf16SumProblem } from "../../codegen/cuda/sm90/gemm/bf16-schedule.ts";
import type {
  GemmSchedule,
  SmallMSchedule,
  SplitKSchedule,
  PersistentSchedule,
} from "../../codegen/cuda/sm90/gemm/fp8-schedule.ts";
import { scheduleName } from "../../codegen/cuda/sm90/gemm/fp8-schedule.ts";
import { randomOf } from "./numbers.ts";
import { nativeOnHost } from "./native-on-host.ts";
import { lacks } from "../conditions.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

/** bf16 rounding of the result. */
const WITHIN = 4e-3;

const valueOf = (c: number): number =>
  (c & 0x80 ? -1 : 1) * ((c >> 3) & 15 ? (1 + (c & 7) / 8) * 2 ** (((c >> 3) & 15) - 7) : ((c & 7) / 8) * 2 ** -6);
const values = Float64Array.from({ length: 256 }, (_, c) => valueOf(c));

interface Data {
  x: Uint8Array;
  w: Uint8Array;
  xScale: Float32Array;
  wScale: Float32Array;
}

/** Codes and scales of m rows and of the matrices of `experts`. */
function data(m: number, n: number, k: number, experts = 1): Data {
  const random = randomOf(7);
  const blocks = Math.ceil(k / 128);
  // Small enough that no sum of a step leaves f32's comfort; never NaN.
  const codes = (count: number): Uint8Array =>
    Uint8Array.from({ length: count }, () => Math.floor(random() * 0x60) | (random() < 0.5 ? 0x80 : 0));
  const scales = (count: number): Float32Array => Float32Array.from({ length: count }, () => (0.5 + random()) / 64);
  return {
    x: codes(m * k),
    w: codes(experts * n * k),
    xScale: scales(m * blocks),
    wScale: scales(experts * Math.ceil(n / 128) * blocks),
  };
}

/** Relative error of y against float64, rows by the expert they belong to; NaN where a word is missing. */
function error(y: Uint8Array<ArrayBuffer>, d: Data, n: number, k: number, expertOf: readonly number[]): number {
  const words = new Uint16Array(y.buffer);
  const [x, w] = [d.x, d.w].map((codes) => Float64Array.from(codes, (c) => values[c]));
  const got = new Float32Array(Uint32Array.from(words, (v) => v << 16).buffer);
  const blocks = Math.ceil(k / 128);
  const perExpert = Math.ceil(n / 128) * blocks;
  let [wrong, norm] = [0, 0];
  for (const [row, e] of expertOf.entries())
    for (let c = 0; c < n; c++) {
      let sum = 0;
      for (let p = 0; p < blocks; p++) {
        let part = 0;
        for (let i = p * 128; i < Math.min(k, p * 128 + 128); i++) part += x[row * k + i] * w[(e * n + c) * k + i];
        sum += part * d.xScale[row * blocks + p] * d.wScale[e * perExpert + Math.floor(c / 128) * blocks + p];
      }
      [wrong, norm] = [wrong + (got[row * n + c] - sum) ** 2, norm + sum ** 2];
    }
  return Math.sqrt(wrong / norm);
}

const bytes = (a: ArrayBufferView): Uint8Array => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

function dense(schedule: GemmSchedule, n: number, k: number, ms: readonly number[]): number[] {
  const native = nativeOnHost(blockGemm({ n, k }, schedule, h200));
  try {
    return ms.map((m) => {
      const d = data(m, n, k);
      const y = native.run(
        { x: d.x, w: d.w, x_scale: bytes(d.xScale), w_scale: bytes(d.wScale), y: new Uint8Array(2 * m * n).fill(0xff) },
        { m },
        { SMs: 4 },
      );
      return error(
        y,
        d,
        n,
        k,
        Array.from({ length: m }, () => 0),
      );
    });
  } finally {
    native.close();
  }
}

const smallM = (
  columns: number,
  kGroups: SmallMSchedule["kGroups"],
  tokens: SmallMSchedule["tokens"],
  stages: number,
  xStages: number,
): SmallMSchedule => ({ form: "small-m", columns, kGroups, tokens, stages, xStages, blocksPerSm: 1 });
const splitK = (
  rows: SplitKSchedule["rows"],
  kGroups: SplitKSchedule["kGroups"],
  tokens: SplitKSchedule["tokens"],
  split: SplitKSchedule["split"],
  stages: number,
  xStages: number,
): SplitKSchedule => ({ form: "split-k", rows, kGroups, tokens, split, stages, xStages, blocksPerSm: 1 });
const persistent = (
  multicast: PersistentSchedule["multicast"],
  tail: PersistentSchedule["tail"] = "whole",
): PersistentSchedule => ({ form: "persistent", stages: 4, group: 2, multicast, tail });

const cases: readonly [GemmSchedule, number, number, readonly number[]][] = [
  [smallM(32, 2, 64, 2, 3), 136, 1008, [1, 70]],
  [smallM(24, 1, 64, 3, 2), 264, 640, [64, 65]],
  [smallM(56, 2, 128, 2, 2), 168, 512, [130]],
  [smallM(16, 4, 64, 2, 2), 40, 1280, [33]],
  [splitK(64, 2, 8, 1, 3, 2), 136, 1008, [1, 9]],
  [splitK(64, 1, 16, 2, 2, 2), 72, 656, [17]],
  [splitK(128, 2, 32, 3, 2, 2), 264, 1152, [33]],
  [persistent("none"), 264, 400, [1, 130]],
  [persistent("x"), 264, 1280, [130]],
  [persistent("none"), 264, 1280, [200]],
  [persistent("none", "stream-k"), 264, 2560, [70, 200]],
  [persistent("none", "stream-k"), 640, 1280, [100]],
  [{ ...persistent("none"), rows: 192 }, 264, 400, [1, 130, 200]],
  [{ ...persistent("none", "stream-k"), rows: 192 }, 264, 2560, [70, 200]],
];

describe.skipIf(lacks("g++ 12"))("block_gemm", () => {
  test.each(cases.map(([s, n, k, ms]) => [scheduleName(s), n, k, ms, s] as const))("%s, %i x %i, rows %j", (_, n, k, ms, s) => {
    for (const e of dense(s, n, k, ms)) expect(e).toBeLessThan(WITHIN);
  });
});

/** Rows of each expert: none, one, more than a tile. */
const runs = [0, 1, 20, 0, 3, 0, 140, 2];

describe.skipIf(lacks("g++ 12"))("grouped_gemm", () => {
  test.each(
    [
      splitK(64, 2, 8, 1, 3, 2),
      splitK(64, 2, 16, 2, 2, 2),
      persistent("none"),
      persistent("x"),
      { ...persistent("none"), rows: 192 as const },
    ].map((s) => [scheduleName(s), s] as const),
  )("%s, rows in runs", (_, s) => {
    const [n, k] = [256, 400];
    const offsets = runs.reduce((at, r) => [...at, at[at.length - 1] + r], [0]);
    const r = offsets[runs.length];
    const d = data(r, n, k, runs.length);
    const native = nativeOnHost(groupedGemm({ experts: runs.length, n, k }, s, h200));
    try {
      const y = native.run(
        {
          x: d.x,
          w: d.w,
          x_scale: bytes(d.xScale),
          w_scale: bytes(d.wScale),
          offsets: bytes(Int32Array.from(offsets)),
          y: new Uint8Array(2 * r * n).fill(0xff),
        },
        { r },
        { SMs: 4 },
      );
      expect(
        error(
          y,
          d,
          n,
          k,
          runs.flatMap((count, e) => Array.from({ length: count }, () => e)),
        ),
      ).toBeLessThan(WITHIN);
    } finally {
      native.close();
    }
  });
});

const smallMBf16 = (
  columns: number,
  kGroups: 1 | 2 | 4,
  tokens: 64 | 128,
  split: 1 | 2 | 4,
  stages: number,
  xStages: number,
): Bf16Schedule => ({ form: "small-m", columns, kGroups, tokens, split, stages, xStages, blocksPerSm: 1 });

/** Schedule, columns of y and of x, further columns between rows of both, rows. */
const linears: readonly [Bf16Schedule, number, number, number, "bf16" | "f32", readonly number[], "added"?][] = [
  [smallMBf16(32, 2, 64, 1, 2, 3), 136, 504, 8, "bf16", [1, 70], "added"],
  [smallMBf16(16, 4, 64, 4, 2, 2), 40, 1024, 0, "bf16", [33], "added"],
  [smallMBf16(32, 2, 64, 1, 2, 3), 136, 504, 8, "bf16", [1, 70]],
  [smallMBf16(24, 1, 128, 2, 3, 2), 133, 640, 0, "f32", [130]],
  [smallMBf16(16, 4, 64, 4, 2, 2), 40, 1024, 0, "bf16", [33]],
  [smallMBf16(56, 2, 64, 2, 2, 2), 61, 512, 3, "bf16", [64]],
];

describe.skipIf(lacks("g++ 12"))("bf16_gemm", () => {
  test.each(linears.map(([s, n, k, pad, y, ms, added]) => [bf16Name(s), n, k, y, ms, added ?? "plain", pad, s] as const))(
    "%s, %i x %i to %s, rows %j, %s",
    (_, n, k, y, ms, added, pad, s) => {
      const sum = added === "added" ? { residualStride: n + 16 } : {};
      const p: Bf16SumProblem = { n, k, xStride: k + ((pad + 7) & ~7), yStride: n + pad, x: "bf16", y, ...sum };
      const native = nativeOnHost(bf16Gemm(p, s, h200));
      const random = randomOf(5);
      const halves = (count: number): Uint16Array =>
        new Uint16Array(new Uint32Array(Float32Array.from({ length: count }, () => random() - 0.5).buffer).map((w) => w >>> 16));
      const numbers = (h: Uint16Array): Float32Array => new Float32Array(Uint32Array.from(h, (v) => v << 16).buffer);
      try {
        for (const m of ms) {
          const [x, w] = [halves(m * p.xStride), halves(n * k)];
          const residual = p.residualStride === undefined ? null : halves(m * p.residualStride);
          const out = native.run(
            {
              x: bytes(x),
              w: bytes(w),
              ...(residual ? { residual: bytes(residual) } : {}),
              y: new Uint8Array((y === "f32" ? 4 : 2) * m * p.yStride).fill(0xff),
            },
            { m },
            { SMs: 4 },
          );
          const got = y === "f32" ? new Float32Array(out.buffer) : numbers(new Uint16Array(out.buffer));
          const [rows, weights] = [numbers(x), numbers(w)];
          const addend = residual && numbers(residual);
          let [wrong, norm] = [0, 0];
          for (let r = 0; r < m; r++)
            for (let c = 0; c < n; c++) {
              let sum = addend?.[r * p.residualStride! + c] ?? 0;
              for (let i = 0; i < k; i++) sum += rows[r * p.xStride + i] * weights[c * k + i];
              [wrong, norm] = [wrong + (got[r * p.yStride + c] - sum) ** 2, norm + sum ** 2];
            }
          expect(Math.sqrt(wrong / norm)).toBeLessThan(y === "f32" ? 1e-5 : WITHIN);
        }
      } finally {
        native.close();
      }
    },
  );
});
