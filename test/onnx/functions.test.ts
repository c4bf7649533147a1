// Every function of ai.dsc, and every gate, in onnxruntime beside the reference of its op: random values, odd and ragged sizes.
import { describe, expect, test } from "vitest";
import { Functions, type LibraryName } from "../../codegen/onnx/functions.ts";
import { gates } from "../../codegen/onnx/gated.ts";
import type { Lowering } from "../../codegen/onnx/lowering.ts";
import { DOMAIN, elem, encoded, IR_VERSION, OPSET, valueInfo, type Elem } from "../../codegen/onnx/proto.ts";
import { Scope } from "../../codegen/onnx/scope.ts";
import { activationNames } from "../../ir/activation.ts";
import { Graph } from "../../ir/graph.ts";
import { combine, gated, gatedPair, groupedLinear, param, sortExperts, tensor } from "../../ir/index.ts";
import { e4m3 } from "../../ir/numeric.ts";
import { dequantized, quantizeRows } from "../../ir/ops/quant.ts";
import { tensorOf, type Tensor } from "../../ir/interpret.ts";
import { lacks } from "../conditions.ts";

interface Fed {
  elem: Elem;
  dims: readonly number[];
  data: ArrayLike<number>;
}

interface Session {
  run(feeds: object): Promise<Record<string, { data: ArrayLike<number | bigint>; dims: readonly number[] }>>;
}
interface Ort {
  Tensor: new (type: string, data: Float32Array | BigInt64Array, dims: readonly number[]) => object;
  InferenceSession: { create(bytes: Uint8Array): Promise<Session> };
}

/** Runs nodes that `write` makes of the names of what is fed; codes go in and come out as f32. */
async function ran(
  feeds: Record<string, Fed>,
  write: (s: Scope, f: Functions, names: string[]) => readonly string[],
): Promise<number[][]> {
  const [s, functions] = [new Scope(), new Functions()];
  const names = Object.entries(feeds).map(([name, { elem: to }]) =>
    s.cast(s.reserve(name), to === elem.INT64 ? to : elem.FLOAT, to),
  );
  const output = write(s, functions, names).map((name, i) => s.node("Cast", [name], { to: elem.FLOAT }, [`out${i}`])[0]);
  const bytes = await encoded({
    irVersion: IR_VERSION,
    opsetImport: [
      { domain: "", version: OPSET },
      { domain: DOMAIN, version: 1 },
    ],
    producerName: "dsc",
    producerVersion: "0",
    graph: {
      name: "one",
      node: s.nodes,
      initializer: s.constants,
      input: Object.entries(feeds).map(([name, f]) => valueInfo(name, f.elem === elem.INT64 ? elem.INT64 : elem.FLOAT, f.dims)),
      output: output.map((name) => valueInfo(name, elem.FLOAT)),
    },
    functions: functions.all,
  });
  const ort = (await import("onnxruntime-node" as string)) as Ort;
  const session = await ort.InferenceSession.create(bytes);
  const given = Object.entries(feeds).map(([name, f]) => {
    const data = f.elem === elem.INT64 ? BigInt64Array.from(Array.from(f.data, BigInt)) : Float32Array.from(f.data);
    return [name, new ort.Tensor(f.elem === elem.INT64 ? "int64" : "float32", data, f.dims)];
  });
  const out = await session.run(Object.fromEntries(given));
  return output.map((name) => Array.from(out[name].data, Number));
}

let seed = 7;
const random = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1;
const draw = (n: number, by = 1): number[] => Array.from({ length: n }, () => Math.fround(random() * by));
const count = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
const f32 = (dims: readonly number[], data = draw(count(dims))): Fed => ({ elem: elem.FLOAT, dims, data });
const i64 = (dims: readonly number[], data: number[]): Fed => ({ elem: elem.INT64, dims, data });
/** Codes and scales of blocks or rows. */
const scaled = (dims: number[], block: "1x128" | "128x128"): { t: Tensor; codes: Fed; scales: Fed } => {
  const parts = dims.map((d, i) =>
    i === dims.length - 1 || (block === "128x128" && i === dims.length - 2) ? Math.ceil(d / 128) : d,
  );
  const [data, scales] = [draw(count(dims), 448).map(e4m3), draw(count(parts)).map((v) => Math.abs(v) + 0.01)];
  return {
    t: { shape: dims, dtype: `e4m3/${block}`, data: Float64Array.from(data), scales: Float64Array.from(scales) },
    codes: { elem: elem.FLOAT8E4M3FN, dims, data },
    scales: f32(parts, scales),
  };
};
const close = (got: readonly number[], want: ArrayLike<number>, by = 1e-5): void => {
  expect(got.length).toBe(want.length);
  const largest = Math.max(1e-30, ...Array.from(want, Math.abs));
  expect(Math.max(0, ...got.map((v, i) => Math.abs(v - want[i])))).toBeLessThanOrEqual(by * largest);
};
const product = (x: ArrayLike<number>, w: ArrayLike<number>, k: number): number[] => {
  const [rows, n] = [x.length / k, w.length / k];
  return Array.from({ length: rows * n }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < k; j++) sum += x[Math.floor(i / n) * k + j] * w[(i % n) * k + j];
    return sum;
  });
};

/** A call of a function of the library over everything that is fed. */
const call =
  (name: LibraryName, results: number) =>
  (s: Scope, f: Functions, names: string[]): readonly string[] =>
    s.call(
      f.use(name),
      names,
      Array.from({ length: results }, (_, i) => `r${i}`),
    );

describe.skipIf(lacks("onnxruntime-node"))("in onnxruntime", () => {
  test.each([[[3, 128]], [[130, 257]], [[2, 5, 129]], [[2, 129, 1]]])("DequantizeBlocks of %j", async (dims) => {
    const { t, codes, scales } = scaled(dims, "128x128");
    close((await ran({ codes, scales }, call("DequantizeBlocks", 1)))[0], dequantized(t), 1e-7);
  });

  test.each([[[3, 128]], [[1, 257]], [[2, 3, 130]]])("DequantizeRows of %j", async (dims) => {
    const { t, codes, scales } = scaled(dims, "1x128");
    close((await ran({ codes, scales }, call("DequantizeRows", 1)))[0], dequantized(t), 1e-7);
  });

  test.each([
    ["QuantizeRows", 1, 7, false],
    ["QuantizeRows", 5, 300, false],
    ["QuantizeRowsPow2", 4, 128, true],
    ["QuantizeRowsPow2", 9, 131, true],
  ] as const)("%s of %i rows of %i: every code and scale", async (name, rows, k, pow2) => {
    const x = draw(rows * k, 3);
    // Rows of zeros, of a power of two (whose scale is one exactly), just above it, and of large values.
    for (const [row, v] of [0, 448 * 2 ** -9, Math.fround(448 * 2 ** -9 * 1.0000002), 3e4].entries())
      if (row < rows - 1) x.fill(v, row * k, (row + 1) * k);
    const want = quantizeRows(tensorOf([rows, k], x), pow2);
    const [codes, scales] = await ran({ x: f32([rows, k], x) }, call(name, 2));
    expect(scales).toEqual([...want.scales!]);
    expect(codes.map(Math.abs)).toEqual([...want.data].map(Math.abs));
  });

  test.each([
    [
      [4, 130],
      [3, 130],
    ],
    [
      [2, 257],
      [2, 129, 257],
    ],
    [
      [1, 2, 128],
      [5, 128],
    ],
  ])("BlockLinear of %j by %j", async (xs, ws) => {
    const x = f32(xs);
    const { t, codes, scales } = scaled(ws, "128x128");
    const [got] = await ran({ x, codes, scales }, call("BlockLinear", 1));
    close(got, product(x.data, dequantized(t), xs.at(-1)!));
  });

  const groups: [string, number[]][] = [
    ["some experts without rows", [0, 2, 2, 7]],
    ["one expert has all", [0, 0, 0, 7]],
  ];
  test.each(groups)("GroupedLinear and GroupedBlockLinear, %s", async (_, offsets) => {
    const x = f32([7, 129]);
    const { t, codes, scales } = scaled([3, 2, 5, 129], "128x128");
    const reference = (w: Tensor): ArrayLike<number> =>
      groupedLinear.op.reference!(
        [tensorOf([7, 129], x.data), w, tensorOf([4], offsets, "i32")],
        { dtype: "f32" },
        undefined as never,
      )[0].data;
    // Matrices of a stack are handed on as f16: Gather takes no FP8.
    const halves = { ...codes, elem: elem.FLOAT16 };
    const [got] = await ran({ x, halves, scales, offsets: i64([4], offsets) }, call("GroupedBlockLinear", 1));
    close(got, reference(t));
    const w = f32([3, 2, 5, 129]);
    const [plain] = await ran({ x, w, offsets: i64([4], offsets) }, call("GroupedLinear", 1));
    close(plain, reference(tensorOf([3, 2, 5, 129], w.data)));
  });

  test("SortExperts is stable, and Combine brings rows back", async () => {
    const indices = [2, 0, 2, 1, 0, 2, 3, 2];
    const [order, offsets, places] = sortExperts.op.reference!(
      [tensorOf([4, 2], indices, "i32")],
      { experts: 5 },
      undefined as never,
    );
    const sorted = await ran({ indices: i64([4, 2], indices), experts: i64([], [5]) }, call("SortExperts", 3));
    expect(sorted).toEqual([order, offsets, places].map((t) => [...t.data]));
    const [ys, weights] = [f32([8, 3]), f32([4, 2])];
    const want = combine.op.reference!(
      [tensorOf([8, 3], ys.data), places, tensorOf([4, 2], weights.data)],
      {},
      undefined as never,
    )[0].data;
    close((await ran({ ys, places: i64([8], [...places.data]), weights }, call("Combine", 1)))[0], want, 1e-6);
  });

  test.each(activationNames.flatMap((act) => [0, 0.75].map((limit) => [act, limit] as const)))(
    "gate %s, limit %f",
    async (act, limit) => {
      const graph = new Graph();
      const pair = param(graph, "x", tensor([3, 2, 17], "f32"));
      const half = (name: string): ReturnType<typeof param> => param(graph, name, tensor([3, 17], "f32"));
      const nodes = [gatedPair({ x: pair, act, limit }).node, gated({ gate: half("g"), up: half("u"), act, limit }).node];
      const x = f32([3, 2, 17], draw(102, 20));
      const [got] = await ran({ x }, (s, functions, [name]) => {
        const at = { s, functions, portable: true } as unknown as Lowering;
        return gates.gated_pair(at, nodes[0], [{ name, elem: elem.FLOAT }]).map((v) => v.name);
      });
      const want = gatedPair.op.reference!([tensorOf([3, 2, 17], x.data)], { act, limit }, undefined as never)[0].data;
      close(got, want, 5e-6);
      const parts = [0, 1].map((i) =>
        f32(
          [3, 17],
          [0, 1, 2].flatMap((r) => Array.from(x.data).slice((2 * r + i) * 17, (2 * r + i + 1) * 17)),
        ),
      );
      const [apart] = await ran({ g: parts[0], u: parts[1] }, (s, functions, names) => {
        const at = { s, functions, portable: true } as unknown as Lowering;
        return gates
          .gated(
            at,
            nodes[1],
            names.map((name) => ({ name, elem: elem.FLOAT })),
          )
          .map((v) => v.name);
      });
      close(apart, want, 5e-6);
    },
  );
});
