// Placing weights: pieces and layers, FP8 with scales, exact widening, and a diagnostic for everything a checkpoint can lack.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { Manifest, WeightPlan } from "../../ir/artifact.ts";
import type { CpuDevice } from "../../runtime/devices/cpu.ts";
import { memoryNeed, type Model } from "../../runtime/model.ts";
import { saveTensors } from "../../runtime/safetensors-write.ts";
import { fill, describe as recipe } from "../../runtime/synthetic.ts";
import { manifest as toy, openToy } from "./toy.ts";

const folder = mkdtempSync(join(tmpdir(), "dsc-weights-"));
afterAll(() => rmSync(folder, { recursive: true }));

function withWeights(weights: Record<string, WeightPlan>, options: Manifest["options"] = {}): Manifest {
  return { ...toy, options, weights, load: [], functions: toy.functions };
}
const from = (tensor: string, dtype: WeightPlan["dtype"], shape: number[], at: (number | "*")[] = []): WeightPlan => ({
  dtype,
  shape,
  layers: null,
  source: { kind: "checkpoint", pieces: [{ at, tensor }] },
});
let count = 0;
async function checkpoint(tensors: Parameters<typeof saveTensors>[1]): Promise<string> {
  const path = join(folder, `${count++}.safetensors`);
  await saveTensors(path, tensors);
  return path;
}
const bytesOf = (m: Model<CpuDevice>, symbol: string, part: "data" | "scales", n: number, layer?: number): number[] => [
  ...m.device.bytes(m.weights.address(symbol, part, layer), n),
];
const open = (weights: Record<string, WeightPlan>, where: string, options?: Manifest["options"]): Promise<Model<CpuDevice>> =>
  openToy(withWeights(weights, options), where, { threads: 2 });

test("experts packed beside each other, per layer, with their own scale blocks", async () => {
  const [n, k] = [130, 129];
  const blocks = [2, 2];
  const codes = (salt: number): Uint8Array => Uint8Array.from({ length: n * k }, (_, i) => (i * 31 + salt) & 0x7e);
  const scales = (salt: number): Float32Array => Float32Array.from({ length: 4 }, (_, i) => i + salt + 0.5);
  const tensors = [3, 4].flatMap((layer) =>
    [0, 1].flatMap((e) =>
      ["gate", "up"].flatMap((which, g) => {
        const name = `model.layers.${layer}.mlp.experts.${e}.${which}_proj.weight`;
        const salt = layer * 100 + e * 10 + g;
        return [
          { name, shape: [n, k], dtype: "F8_E4M3", data: codes(salt) },
          // e8m0 scales are widened: code c is 2^(c - 127).
          layer === 3
            ? { name: `${name}_scale_inv`, shape: blocks, dtype: "F32", data: scales(salt) }
            : { name: `${name}_scale_inv`, shape: blocks, dtype: "F8_E8M0", data: Uint8Array.of(127, 120 + e, 130 + g, 0) },
        ];
      }),
    ),
  );
  const piece = (which: string, g: number) => ({
    at: ["*" as const, g],
    tensor: `model.layers.{layer}.mlp.experts.{0}.${which}_proj.weight`,
    scales: `model.layers.{layer}.mlp.experts.{0}.${which}_proj.weight_scale_inv`,
  });
  const plan: WeightPlan = {
    dtype: "e4m3/128x128",
    shape: [2, 2, n, k],
    layers: [3, 4],
    source: { kind: "checkpoint", pieces: [piece("gate", 0), piece("up", 1)] },
  };
  const m = await open({ experts: plan }, await checkpoint(tensors));
  for (const layer of [3, 4]) {
    expect(m.weights.address("experts", "data", layer) % 64).toBe(0);
    const all = m.device.bytes(m.weights.address("experts", "data", layer), 4 * n * k);
    const s = m.device.f32(m.weights.address("experts", "scales", layer), 16);
    for (let e = 0; e < 2; e++)
      for (let g = 0; g < 2; g++) {
        const at = 2 * e + g;
        expect([...all.subarray(at * n * k, (at + 1) * n * k)]).toEqual([...codes(layer * 100 + e * 10 + g)]);
        const want = layer === 3 ? scales(300 + e * 10 + g) : Float32Array.of(1, 2 ** (e - 7), 2 ** (3 + g), 2 ** -127);
        expect([...s.subarray(at * 4, at * 4 + 4)]).toEqual([...want]);
      }
  }
  await m.close();
});

test("bf16 and f16 widen to f32 exactly; bf16 stays as it is", async () => {
  const n = 1001;
  const bits = Uint16Array.from({ length: n }, (_, i) => Math.min((i * 37) & 0x7fff, 0x7f7f));
  const where = await checkpoint([
    { name: "a.bias", shape: [n], dtype: "BF16", data: bits },
    { name: "h.bias", shape: [4], dtype: "F16", data: Uint16Array.of(0x3c00, 0xc001, 0x0001, 0x7bff) },
  ]);
  const m = await open(
    { wide: from("a.bias", "f32", [n]), same: from("a.bias", "bf16", [n]), half: from("h.bias", "f32", [4]) },
    where,
  );
  expect([...new Uint32Array(m.device.segments.memory(0).buffer, m.weights.address("wide", "data", undefined), n)]).toEqual(
    [...bits].map((b) => b << 16),
  );
  expect(bytesOf(m, "same", "data", 2 * n)).toEqual([...new Uint8Array(bits.buffer)]);
  expect([...m.device.f32(m.weights.address("half", "data", undefined), 4)]).toEqual([1, -(2 + 2 ** -9), 2 ** -24, 65504]);
  await m.close();
});

test("synthetic weights: bf16, widened norms, f32 router bias, FP8 with both kinds of scales", async () => {
  const linear = "model.layers.0.mlp.gate_proj.weight";
  const bias = "model.layers.3.mlp.gate.e_score_correction_bias";
  const plans = {
    w: from(linear, "bf16", [70, 260]),
    norm: from("model.norm.weight", "f32", [300]),
    bias: from(bias, "f32", [256]),
    q: from(linear, "e4m3/128x128", [70, 260]),
  };
  for (const scale_fmt of ["none", "ue8m0"]) {
    const m = await open(plans, "synthetic:5", { scale_fmt });
    const expected = (name: string, shape: number[], form: Parameters<typeof recipe>[3], n: number, width: number): number[] => {
      const b = new ArrayBuffer(n * width);
      fill(b, 0, recipe(5, name, shape, form), 0, n);
      return [...new Uint8Array(b)];
    };
    expect(bytesOf(m, "w", "data", 70 * 260 * 2)).toEqual(expected(linear, [70, 260], "bf16", 70 * 260, 2));
    expect(bytesOf(m, "norm", "data", 1200)).toEqual(expected("model.norm.weight", [300], "bf16-in-f32", 300, 4));
    expect(bytesOf(m, "bias", "data", 1024)).toEqual(expected(bias, [256], "f32", 256, 4));
    expect(bytesOf(m, "q", "data", 70 * 260)).toEqual(expected(linear, [70, 260], "e4m3", 70 * 260, 1));
    expect(bytesOf(m, "q", "scales", 12)).toEqual(
      expected(linear, [70, 260], scale_fmt === "ue8m0" ? "scale-ue8m0" : "scale", 3, 4),
    );
    await m.close();
  }
});

test("rows and columns that no tensor has are zeros, from a checkpoint and from a seed", async () => {
  const [n, k, wide, high] = [300, 37, 64, 320];
  const bits = Uint16Array.from({ length: n * k }, (_, i) => Math.min((i * 37) & 0x7fff, 0x7f7f));
  const name = "model.layers.0.mlp.down_proj.weight";
  const plan = (dtype: "bf16" | "f32", shape: number[], more: object): WeightPlan => ({
    dtype,
    shape,
    layers: null,
    source: { kind: "checkpoint", pieces: [{ at: [], tensor: name, ...more }] },
  });
  const plans = {
    columns: plan("bf16", [n, wide], { columns: [0, k] }),
    widened: plan("f32", [n, wide], { columns: [0, k] }),
    rows: plan("bf16", [high, k], { rows: [0, n] }),
  };
  const where = await checkpoint([{ name, shape: [n, k], dtype: "BF16", data: bits }]);
  for (const source of [where, "synthetic:5"]) {
    const m = await open(plans, source);
    let own = bits;
    if (source !== where) fill((own = new Uint16Array(n * k)).buffer, 0, recipe(5, name, [n, k], "bf16"), 0, n * k);
    const among = Array.from({ length: n * wide }, (_, i) => (i % wide < k ? own[Math.floor(i / wide) * k + (i % wide)] : 0));
    const raw = (symbol: string, length: number): ArrayBuffer => Uint8Array.from(bytesOf(m, symbol, "data", length)).buffer;
    const words = (symbol: string, length: number): number[] => [...new Uint16Array(raw(symbol, 2 * length))];
    expect(words("columns", n * wide)).toEqual(among);
    expect([...new Uint32Array(raw("widened", 4 * n * wide))]).toEqual(among.map((b) => (b << 16) >>> 0));
    expect(words("rows", high * k)).toEqual([...own, ...Array.from({ length: (high - n) * k }, () => 0)]);
    await m.close();
  }
});

test("parts of a tensor, by rows and by columns, from a checkpoint and from a seed", async () => {
  const [n, k, parts] = [6, 5, 3];
  const names = {
    rows: "model.layers.0.mlp.shared_experts.up_proj.weight",
    columns: "model.layers.0.mlp.shared_experts.down_proj.weight",
  };
  const plan = (of: "rows" | "columns", dtype: "bf16" | "f32"): WeightPlan => ({
    dtype,
    shape: [parts, n, k],
    layers: null,
    source: {
      kind: "checkpoint",
      pieces: Array.from({ length: parts }, (_, index) => ({
        at: [index],
        tensor: names[of],
        part: { of, index, count: parts },
      })),
    },
  });
  const bits = Uint16Array.from({ length: n * k * parts }, (_, i) => 0x3c00 + i);
  const where = await checkpoint([
    { name: names.rows, shape: [n * parts, k], dtype: "BF16", data: bits },
    { name: names.columns, shape: [n, k * parts], dtype: "BF16", data: bits },
  ]);
  const plans = { rows: plan("rows", "bf16"), columns: plan("columns", "bf16"), widened: plan("columns", "f32") };
  for (const source of [where, "synthetic:5"]) {
    const m = await open(plans, source);
    const own = (of: "rows" | "columns"): Uint16Array => {
      if (source === where) return bits;
      const out = new Uint16Array(n * k * parts);
      fill(out.buffer, 0, recipe(5, names[of], of === "rows" ? [n * parts, k] : [n, k * parts], "bf16"), 0, out.length);
      return out;
    };
    const cut = Array.from(
      bits,
      (_, i) => own("columns")[(Math.floor(i / k) % n) * k * parts + Math.floor(i / (n * k)) * k + (i % k)],
    );
    const words = (symbol: string): number[] => [
      ...new Uint16Array(Uint8Array.from(bytesOf(m, symbol, "data", 2 * bits.length)).buffer),
    ];
    expect(words("rows")).toEqual([...own("rows")]);
    expect(words("columns")).toEqual(cut);
    const wide = new Uint32Array(Uint8Array.from(bytesOf(m, "widened", "data", 4 * bits.length)).buffer);
    expect([...wide]).toEqual(cut.map((b) => (b << 16) >>> 0));
    await m.close();
  }
});

test("a value that is no number is found in rows that lie apart in memory", async () => {
  const data = new Uint16Array(3 * 5);
  data[2 * 5 + 1] = 0x7fc0;
  const where = await checkpoint([{ name: "a.weight", shape: [3, 5], dtype: "BF16", data }]);
  const apart: WeightPlan = {
    dtype: "bf16",
    shape: [3, 8],
    layers: null,
    source: { kind: "checkpoint", pieces: [{ at: [], tensor: "a.weight", columns: [0, 5] }] },
  };
  await expect(open({ apart }, where)).rejects.toThrow(/DSC5015\]: a.weight[^]*element 11 /);
  await expect(open({ apart: { ...apart, dtype: "f32" } }, where)).rejects.toThrow(/DSC5015\]: a.weight/);
});

const f32 = (name: string, shape: number[]) => ({
  name,
  shape,
  dtype: "F32",
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
});

test.each<[string, Record<string, WeightPlan>, Parameters<typeof saveTensors>[1], RegExp]>([
  [
    "a missing tensor, with the nearest name",
    { a: from("model.norm.weight", "f32", [4]) },
    [f32("model.norms.weight", [4])],
    /DSC5020.*nearest: model.norms.weight/s,
  ],
  ["a wrong shape", { a: from("x.bias", "f32", [4, 2]) }, [f32("x.bias", [2, 4])], /DSC5021.*\[2, 4\].*\[4, 2\]/s],
  ["rounding f32 to bf16", { a: from("x.bias", "bf16", [4]) }, [f32("x.bias", [4])], /DSC5022.*torch_dtype/s],
  [
    "FP8 of another format, though its bytes and scales are as many",
    { a: from("x.weight", "e4m3/128x128", [4, 4]) },
    [{ name: "x.weight", shape: [4, 4], dtype: "F8_E5M2", data: new Uint8Array(16) }, f32("x.weight_scale_inv", [1, 1])],
    /DSC5022.*F8_E5M2/s,
  ],
  [
    "FP8 wanted, bf16 found",
    { a: from("x.bias", "e4m3/128x128", [4, 4]) },
    [{ name: "x.bias", shape: [4, 4], dtype: "BF16", data: new Uint16Array(16) }],
    /DSC5022.*quantization_config/s,
  ],
  [
    "bf16 wanted, FP8 found",
    { a: from("x.bias", "bf16", [4, 4]) },
    [{ name: "x.bias", shape: [4, 4], dtype: "F8_E4M3", data: new Uint8Array(16) }],
    /DSC5022.*no _scale_inv/s,
  ],
  [
    "FP8 without scales",
    { a: from("x.bias", "e4m3/128x128", [4, 4]) },
    [{ name: "x.bias", shape: [4, 4], dtype: "F8_E4M3", data: new Uint8Array(16) }],
    /DSC5023/,
  ],
  [
    "scales of a wrong shape",
    { a: from("x.bias", "e4m3/128x128", [4, 4]) },
    [{ name: "x.bias", shape: [4, 4], dtype: "F8_E4M3", data: new Uint8Array(16) }, f32("x.bias_scale_inv", [2, 1])],
    /DSC5021.*\[1, 1\]/s,
  ],
])("%s is refused", async (_, plans, tensors, message) => {
  await expect(open(plans, await checkpoint(tensors))).rejects.toThrow(message);
});

test("a bad --weights, a name without a rule, and too little memory are refused before loading", async () => {
  await expect(open({}, "synthetic:x")).rejects.toThrow(/DSC5025/);
  await expect(open({}, "synthetic:4294967296")).rejects.toThrow(/DSC5025/);
  await expect(open({ a: from("mystery", "f32", [4]) }, "synthetic:0")).rejects.toThrow(/DSC5024/);
  const big = { a: from("lm_head.weight", "bf16", [129280, 71680]) };
  expect(memoryNeed(withWeights(big)).resident).toBeGreaterThan(17 * 2 ** 30);
  await expect(open(big, "synthetic:0")).rejects.toThrow(/DSC5030.*17\.26 GiB.*available/s);
});
