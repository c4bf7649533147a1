// Row kernels: norms, quantisation, elementwise arithmetic, gating. Quantisation is exact in every code and scale; a fused
// kernel is held to the exact composition of its parts, and the parts to their ops.
import { gatingOf, type GatingProblem } from "../../../codegen/gating.ts";
import { activationNames, type Gating } from "../../../ir/activation.ts";
import { e4m3Values } from "../../../ir/numeric.ts";
import { close, draw, exact, randomOf } from "../numbers.ts";
import { runnerOf } from "../run-wasm.ts";
import { blocksOf, refer, ROWS, tensor, WIDTHS, type Cases } from "./cases.ts";

/** Rounding of a chain of a few f32 operations. */
const CHAIN = 2e-6;
const gains = ["f32", "bf16"] as const;
const scales = ["f32", "ue8m0"] as const;
const gatings: readonly Gating[] = activationNames.flatMap((act) => [0, 2.5].map((limit) => ({ act, limit })));
/** The exponent of GELU is a cubic: its rounding is that many times the result's. */
const within = ({ act }: Gating): number => (act === "silu" ? CHAIN : 10 * CHAIN);
const problemOf = (by: Gating): GatingProblem => gatingOf({ ...by });

/** Rows whose sizes span what activations can be: zeros, below the floor of amax, huge; ties of the code grid; a negative zero. */
function spread(random: () => number, m: number, d: number): Float64Array {
  const x = draw(random, m * d);
  for (let i = 0; i < m; i++) {
    const kind = i % 6;
    const size = kind === 1 ? 0 : kind === 2 ? 1e-6 : kind === 3 ? 1e30 : 10 ** (random() * 6 - 3);
    for (let j = 0; j < d; j++) x[i * d + j] = Math.fround(x[i * d + j] * size);
    // amax 448 makes the scale 1, so that values half way between codes stay there.
    if (kind === 4)
      for (let j = 0; j < d; j++)
        x[i * d + j] = j % 128 === 0 ? 448 : (e4m3Values[(j * 5) % 126] + e4m3Values[((j * 5) % 126) + 1]) / (j % 2 ? 2 : -2);
    if (kind === 5) x[i * d] = 448 * 2 ** (i - 8);
  }
  return x;
}

const rowsCases = (f: (m: number, d: number, random: () => number, i: number) => void, widths = WIDTHS): void => {
  const random = randomOf(1);
  for (const [i, d] of widths.entries()) for (const m of i % 2 ? ROWS : [1, 3, 6, 13]) f(m, d, random, i);
};

export const rowFamilies: Cases = {
  rms_norm: {
    "every width, strides and gain types"(run) {
      for (const gain of gains)
        rowsCases((m, d, random, i) => {
          const x = draw(random, m * d, "f32", 10 ** (random() * 6 - 3));
          const g = draw(random, d, gain, 2);
          const eps = i % 2 ? 1e-6 : 1e-3;
          const { y } = run({ d, xStride: d + (i % 3), yStride: d + (i % 2) * 5, eps, gain }, { x, gain: g }, { m });
          close(y, refer("rms_norm", { x: tensor([m, d], x), gain: tensor([d], g) }, { eps }).out.data, { m, d, gain }, CHAIN);
        });
    },
  },

  rms_norm_plain: {
    "every width and strides"(run) {
      rowsCases((m, d, random, i) => {
        const x = draw(random, m * d, "f32", 10 ** (random() * 6 - 3));
        const eps = i % 2 ? 1e-6 : 1e-3;
        const { y } = run({ d, xStride: d + (i % 3), yStride: d + (i % 2) * 5, eps }, { x }, { m });
        close(y, refer("rms_norm", { x: tensor([m, d], x) }, { eps }).out.data, { m, d }, CHAIN);
      });
    },
  },

  constant: {
    "every length, exactly"(run) {
      for (const n of [0, 1, 7, 512, 513])
        for (const type of gains) {
          const { y } = run({ value: -1.5, ...(type === "bf16" ? { y: type } : {}) }, {}, { n });
          exact(y, refer("constant", {}, { dims: [n], value: -1.5 }).out.data, { n, type });
        }
    },
  },

  outer: {
    "columns, rows and parts of a weight times a number each, exactly"(run) {
      const random = randomOf(3);
      for (const [i, k] of WIDTHS.entries())
        for (const type of gains) {
          const n = 1 + (i % 4);
          const [a, b, c] = [draw(random, 2 * n * k, type), draw(random, k), draw(random, 2 * n)];
          const whole = { shape: [2, n, k], a: [n * k, k, 1], y: [n * k, k, 1], aType: type, bType: "f32", dims: [] };
          const columns = run({ ...whole, b: [0, 0, 1] }, { a, b }, {});
          const { data: byColumn } = refer("einsum", { a: tensor([2, n, k], a), b: tensor([k], b) }, { spec: "abc,c->abc" }).out;
          exact(columns.y, byColumn.map(Math.fround), { n, k, type });
          const rows = run({ ...whole, b: [n, 1, 0] }, { a, b: c }, {});
          const { data: byRow } = refer("einsum", { a: tensor([2, n, k], a), b: tensor([2, n], c) }, { spec: "abc,ab->abc" }).out;
          exact(rows.y, byRow.map(Math.fround), { n, k, type });
        }
    },
  },

  norm_quant: {
    "codes and scales are those of the normalised row, exactly"(run) {
      const norm = runnerOf("rms_norm");
      for (const [s, scale] of scales.entries())
        rowsCases((m, d, random, i) => {
          const gain = gains[(i + s) % 2];
          const p = { d, xStride: d + (i % 3), yStride: d, eps: 1e-6, gain };
          const values = { x: spread(random, m, d), gain: draw(random, d, gain, 2) };
          const { codes, scales: got } = run({ ...p, ue8m0: scale === "ue8m0" }, values, { m });
          const want = refer("quantize", { x: tensor([m, d], norm(p, values, { m }).y) }, { scale }).out;
          exact(codes, want.data, { m, d, scale });
          exact(got, want.scales!, { m, d, scale });
        });
    },
  },

  quantize: {
    "codes and scales are exact, ragged last blocks too"(run) {
      for (const scale of scales)
        rowsCases((m, d, random, i) => {
          const x = spread(random, m, d);
          const { codes, scales: got } = run({ d, xStride: d + (i % 3), ue8m0: scale === "ue8m0" }, { x }, { m });
          const want = refer("quantize", { x: tensor([m, d], x) }, { scale }).out;
          exact(codes, want.data, { m, d, scale });
          exact(got, want.scales!, { m, d, scale });
        });
    },
  },

  flat: {
    "sums, products and multiples are exact"(run) {
      const random = randomOf(2);
      for (const n of [0, 1, 3, 4, 511, 512, 513, 1030]) {
        const [a, b] = [draw(random, n), draw(random, n)];
        exact(
          run({ op: "add" }, { a, b }, { n }).y,
          a.map((v, i) => Math.fround(v + b[i])),
          n,
        );
        exact(
          run({ op: "mul" }, { a, b }, { n }).y,
          a.map((v, i) => Math.fround(v * b[i])),
          n,
        );
        exact(
          run({ op: "scale", by: 2.5 }, { a }, { n }).y,
          a.map((v) => Math.fround(v * 2.5)),
          n,
        );
      }
    },
  },

  gated: {
    "every activation, also far out, clamped or not"(run) {
      const random = randomOf(3);
      for (const by of gatings)
        for (const n of [1, 2, 513])
          for (const size of [1, 30, 200]) {
            const [gate, up] = [draw(random, n, "f32", size), draw(random, n, "f32", size)];
            const want = refer("gated", { gate: tensor([n], gate), up: tensor([n], up) }, { ...by }).out.data;
            // Where exp overflows the value is 0.
            close(
              run(problemOf(by), { gate, up }, { n }).y,
              want,
              { n, size, ...by },
              within(by),
              want.map((v) => Math.abs(v) + 1e-28),
            );
          }
    },
    "NaN stays NaN where it is clamped"(run) {
      const y = run({ limit: 2 }, { gate: [NaN, 1], up: [1, NaN] }, { n: 2 }).y;
      exact(y, [NaN, NaN], "y");
    },
  },

  argmax: {
    "the first maximum, wherever it stands; ties; the first NaN or infinity, said by -1 - column"(run) {
      rowsCases(
        (m, d, random, i) => {
          const x = draw(random, m * d, "f32", 5);
          for (let r = 0; r < m; r++) {
            if (r % 4 === 1) x[r * d + d - 1] = x[r * d + Math.floor(d / 2)] = 9;
            if (r % 4 === 2) x[r * d + Math.floor(d / 3)] = i % 2 ? NaN : -Infinity;
            if (r % 4 === 2) x[r * d + d - 1] = Infinity;
            if (r % 4 === 3) x.fill(-Infinity, r * d, (r + 1) * d);
            if (r % 8 === 0) x[r * d + Math.floor(d / 2)] = 3.4028234663852886e38;
          }
          const { y } = run({ d, xStride: d + (i % 3) }, { x }, { m });
          exact(y, refer("argmax", { x: tensor([m, d], x) }, {}).out.data, { m, d });
        },
        [...WIDTHS, 512, 1025],
      );
    },
  },

  add_bias: {
    "every width, exactly"(run) {
      for (const type of gains)
        rowsCases((m, d, random, i) => {
          const [x, bias] = [draw(random, m * d), draw(random, d, type)];
          const { y } = run({ d, xStride: d + (i % 3), yStride: d + (i % 2) * 5, bias: type }, { x, bias }, { m });
          const want = refer("add_bias", { x: tensor([m, d], x), bias: tensor([d], bias) }).out.data;
          exact(y, want.map(Math.fround), { m, d, type });
        });
    },
  },

  gated_pair: {
    "gate and up of every width, by every activation"(run) {
      for (const by of gatings)
        rowsCases((m, n, random, i) => {
          const x = draw(random, m * 2 * n, "f32", 8);
          const { y } = run({ n, xStride: 2 * n + (i % 3), yStride: n + (i % 2) * 5, ...problemOf(by) }, { x }, { m });
          close(y, refer("gated_pair", { x: tensor([m, 2, n], x) }, { ...by }).out.data, { m, n, ...by }, within(by));
        });
    },
  },

  gated_quant: {
    "codes and scales are those of gated_pair, exactly"(run) {
      const gate = runnerOf("gated_pair");
      for (const by of gatings)
        for (const scale of scales)
          rowsCases((m, n, random, i) => {
            const [x, xStride] = [draw(random, m * 2 * n, "f32", 8), 2 * n + (i % 3)];
            const { codes, scales: got } = run({ n, xStride, ue8m0: scale === "ue8m0", ...problemOf(by) }, { x }, { m });
            const row = gate({ n, xStride, yStride: n, ...problemOf(by) }, { x }, { m }).y;
            const want = refer("quantize", { x: tensor([m, n], row) }, { scale }).out;
            exact(codes, want.data, { m, n, scale, ...by });
            exact(got, want.scales!, { m, n, scale, ...by });
            if (got.length !== m * blocksOf(n)) throw new RangeError("scales per row");
          });
    },
  },
};
