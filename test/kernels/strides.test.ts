// Matrix products over random shapes, layouts, gaps and run-time sizes: a counterexample shrinks to the least shape that fails.
import fc from "fast-check";
import { expect, test } from "vitest";
import { magnitudes, refer, tensor } from "./families/cases.ts";
import { close, draw, randomOf } from "./numbers.ts";
import { runnerOf } from "./run-wasm.ts";

const RUNS = { numRuns: 60, seed: 20 };
/** Sizes around 4, 8, 32 and 128. */
const size = (max: number) =>
  fc.oneof(fc.constantFrom(...[1, 3, 4, 8, 31, 32, 33, 127, 128, 129, 160].filter((n) => n <= max)), fc.integer({ min: 1, max }));

interface Layout {
  /** Axes from outermost to innermost. */
  order: number[];
  /** Unused elements after each axis but the innermost, and between neighbours. */
  gap: number;
  step: number;
  /** The first axis has stride 0: one matrix for the whole batch. */
  shared: boolean;
}

const layout = (mayShare: boolean) =>
  fc.record<Layout>({
    order: fc.shuffledSubarray([0, 1, 2], { minLength: 3, maxLength: 3 }),
    gap: fc.integer({ min: 0, max: 5 }),
    step: fc.constantFrom(1, 1, 1, 2),
    shared: mayShare ? fc.boolean() : fc.constant(false),
  });

function strides(l: Layout, extents: readonly number[]): number[] {
  const out = [0, 0, 0];
  let n = l.step;
  for (const axis of l.order.toReversed()) {
    if (l.shared && axis === 0) continue;
    out[axis] = n;
    n = n * extents[axis] + l.gap;
  }
  return out;
}

test("a strided batched product agrees with einsum", () => {
  const run = runnerOf("bmm");
  let runs = 0;
  fc.assert(
    fc.property(
      fc.record({
        extents: fc.tuple(fc.integer({ min: 1, max: 3 }), size(70), size(70), size(200)),
        layouts: fc.tuple(layout(true), layout(true), layout(false)),
        types: fc.tuple(fc.constantFrom("f32", "bf16"), fc.constantFrom("f32", "bf16")),
        dynamic: fc.array(fc.boolean(), { minLength: 13, maxLength: 13 }),
      }),
      ({ extents: [z, m, n, k], layouts, types, dynamic }) => {
        const sizes: Record<string, number> = {};
        let next = 0;
        // Any size or stride may be a number, or a name that is passed when the kernel runs.
        const maybe = (name: string, v: number): number | string => {
          if (!dynamic[next++] || v === 0) return v;
          sizes[name] = v;
          return name;
        };
        const axes = [
          [z, m, k],
          [z, n, k],
          [z, m, n],
        ] as const;
        const problem = { batch: maybe("batch", z), m: maybe("m", m), n: maybe("n", n), k: maybe("k", k) };
        const [a, b, y] = axes.map((extents, i) =>
          strides(layouts[i], extents).map((s, axis) => (s === 1 ? 1 : maybe(`${"aby"[i]}${axis}`, s))),
        );
        const random = randomOf(m * 1000 + n);
        const [xs, ws] = [
          draw(random, (a[0] === 0 ? 1 : z) * m * k, types[0]),
          draw(random, (b[0] === 0 ? 1 : z) * n * k, types[1]),
        ];
        const got = run(
          { ...problem, a, b, y, aType: types[0], bType: types[1], dims: Object.keys(sizes) },
          { a: xs, b: ws },
          sizes,
        );
        const whole = (data: Float64Array, axes: readonly number[]) =>
          tensor(
            [...axes],
            Array.from({ length: axes[0] * axes[1] * axes[2] }, (_, i) => data[i % data.length]),
          );
        const ins = { a: whole(xs, axes[0]), b: whole(ws, axes[1]) };
        const spec = { spec: "zmk,znk->zmn" };
        const magnitude = refer("einsum", { a: magnitudes(ins.a), b: magnitudes(ins.b) }, spec).out.data;
        close(got.y, refer("einsum", ins, spec).out.data, problem, 1e-5, magnitude);
        runs++;
      },
    ),
    RUNS,
  );
  expect(runs).toBe(RUNS.numRuns);
});

test("linear agrees with its op", () => {
  const run = runnerOf("linear");
  let runs = 0;
  fc.assert(
    fc.property(
      size(70),
      size(140),
      size(300),
      fc.nat(9),
      fc.nat(9),
      fc.constantFrom("f32" as const, "bf16" as const),
      (m, n, k, gapX, gapY, w) => {
        const random = randomOf(m * 1000 + n);
        const ins = { x: tensor([m, k], draw(random, m * k)), w: tensor([n, k], draw(random, n * k, w)) };
        const { y } = run({ n, k, xStride: k + gapX, yStride: n + gapY, w }, { x: ins.x.data, w: ins.w.data }, { m });
        const magnitude = refer("linear", { x: magnitudes(ins.x), w: magnitudes(ins.w) }).out.data;
        close(y, refer("linear", ins).out.data, { m, n, k }, 1e-5, magnitude);
        runs++;
      },
    ),
    RUNS,
  );
  expect(runs).toBe(RUNS.numRuns);
});
