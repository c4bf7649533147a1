// Random tile programs, lowered and run, against the interpreter of tile programs: lazy tiles, masks, gathers, carried state,
// stores read back. Whole numbers keep every sum exact, so results must agree in every bit (a zero's sign aside).
import fc from "fast-check";
import { expect, test } from "vitest";
import { interpretKernel, type HostBuffer } from "../../ir/kernel/interpret.ts";
import { printKernel } from "../../ir/kernel/print.ts";
import type { BufferParam, Index } from "../../ir/kernel/stmt.ts";
import { bf16, e4m3Code, e4m3Values } from "../../ir/numeric.ts";
import { randomOf } from "./numbers.ts";
import { programOf } from "./random-program.ts";
import { instantiate, launch } from "./run-wasm.ts";

const NUM_RUNS = 300;

const bitsOf = (v: number): number => new Uint32Array(Float32Array.of(bf16(v)).buffer)[0] >>> 16;
const valueOf = (bits: number): number => new Float32Array(Uint32Array.of(bits << 16).buffer)[0];

/** Addresses of a matrix's or vector's elements, in the order of its axes. */
function elements(p: BufferParam, sizes: Record<string, number>): number[] {
  const of = (i: Index): number => (typeof i === "number" ? i : typeof i === "string" ? sizes[i] : of(i.a) + of(i.b));
  let out = [0];
  for (const [axis, n] of p.shape.entries())
    out = out.flatMap((o) => Array.from({ length: of(n) }, (_, i) => o + i * of(p.strides[axis])));
  return out;
}

function host(p: BufferParam, at: number[], values: number[]): HostBuffer {
  const length = Math.max(...at) + 1;
  const data =
    p.dtype === "f32"
      ? new Float32Array(length)
      : p.dtype === "i32"
        ? new Int32Array(length)
        : p.dtype === "bf16"
          ? new Uint16Array(length)
          : new Uint8Array(length);
  const coded = (v: number): number => (p.dtype === "bf16" ? bitsOf(v) : p.dtype === "e4m3" ? e4m3Code(v) : v);
  at.forEach((o, i) => (data[o] = coded(values[i])));
  return data;
}

test("lowered programs agree with the interpreter", () => {
  let statements = 0;
  fc.assert(
    fc.property(
      fc.array(fc.nat(5040), { minLength: 20, maxLength: 140, size: "max" }),
      fc.constantFrom(1, 3, 7, 9, 16),
      fc.constantFrom(1, 5, 8, 40, 131),
      (numbers, M, N) => {
        const kernel = programOf(numbers);
        statements += kernel.body.length;
        const random = randomOf(M * 1000 + N);
        const sizes = { M, N };
        const whole = (n: number, span: number): number[] =>
          Array.from({ length: n }, () => Math.floor(random() * (2 * span + 1)) - span);
        const values: Record<string, number[]> = {};
        const buffers: Record<string, HostBuffer> = {};
        const places: Record<string, number[]> = {};
        for (const p of kernel.params) {
          const at = (places[p.name] = elements(p, sizes));
          // Row numbers may lie past the end: those are masked.
          values[p.name] = p.dtype === "i32" ? at.map(() => Math.floor(random() * (M + 2))) : whole(at.length, 4);
          buffers[p.name] = host(p, at, values[p.name]);
        }
        interpretKernel(kernel, buffers, sizes);
        const got = launch(instantiate(kernel), values, sizes);
        for (const [name, result] of Object.entries(got)) {
          const { dtype } = kernel.params.find((p) => p.name === name)!;
          const want = places[name].map((o) =>
            dtype === "bf16" ? valueOf(buffers[name][o]) : dtype === "e4m3" ? e4m3Values[buffers[name][o]] : buffers[name][o],
          );
          const wrong = want.findIndex((v, i) => v !== result[i]);
          if (wrong >= 0)
            expect.fail(`${name}[${wrong}] is ${result[wrong]}, want ${want[wrong]} with M ${M}, N ${N}\n${printKernel(kernel)}`);
        }
      },
    ),
    { numRuns: NUM_RUNS, seed: 5 },
  );
  expect(statements / NUM_RUNS).toBeGreaterThan(8);
});
