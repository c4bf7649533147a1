// Residual sums with the norm after them: held to the exact composition of add, rms_norm and quantize, strides and all.
import { draw, exact, randomOf } from "../numbers.ts";
import { runnerOf, type Run } from "../run-wasm.ts";
import { refer, ROWS, tensor, WIDTHS, type Cases } from "./cases.ts";

interface Parts {
  sum: Float64Array;
  y: Float64Array;
  what: Record<string, number | string>;
}

/** Runs a family over every width and compares the sum; `check` gets its other results and what the parts give. */
function composed(
  run: Run,
  quantised: boolean,
  check: (got: Record<string, Float64Array>, parts: Parts, scale: string) => void,
): void {
  const [random, norm] = [randomOf(31), runnerOf("rms_norm")];
  for (const [i, d] of WIDTHS.entries())
    for (const m of i % 2 ? ROWS : [1, 3, 6])
      for (const scale of quantised ? ["f32", "ue8m0"] : ["f32"]) {
        const gain = i % 3 ? "bf16" : "f32";
        const [a, b, g] = [draw(random, m * d, "f32", 3), draw(random, m * d), draw(random, d, gain, 2)];
        const p = {
          d,
          aStride: d + (i % 3),
          bStride: d + (i % 2) * 7,
          eps: 1e-6,
          gain,
          ...(quantised ? { ue8m0: scale === "ue8m0" } : {}),
        };
        // What the sum held before does not count.
        const got = run(p, { a, b, gain: g, sum: new Float64Array(m * d).fill(NaN) }, { m }) as Record<string, Float64Array>;
        const sum = a.map((v, j) => Math.fround(v + b[j]));
        const what = { m, d, scale };
        exact(got.sum, sum, what);
        const y = norm({ d, xStride: d, yStride: d, eps: 1e-6, gain }, { x: sum, gain: g }, { m }).y as Float64Array;
        check(got, { sum, y, what }, scale);
      }
}

function codes(got: Record<string, Float64Array>, { y, what }: Parts, scale: string): void {
  const want = refer("quantize", { x: tensor([what.m as number, what.d as number], y) }, { scale }).out;
  exact(got.codes, want.data, what);
  exact(got.scales, want.scales!, what);
}

export const residualFamilies: Cases = {
  add_norm: { "sum and norm, bit for bit": (run) => composed(run, false, (got, parts) => exact(got.y, parts.y, parts.what)) },
  add_norm_quant: { "sum, codes and scales, bit for bit": (run) => composed(run, true, codes) },
  add_norm_both: {
    "sum, norm, codes and scales, bit for bit": (run) =>
      composed(run, true, (got, parts, scale) => {
        exact(got.y, parts.y, parts.what);
        codes(got, parts, scale);
      }),
  },
};
