// The FP8 fixture through the kernels themselves: the embedding's rows quantised, single FP8 linears from their recorded inputs,
// one weight dequantised. Answers come from PyTorch. Codes, scales and the weight are exact in every bit.
import path from "node:path";
import { expect, test } from "vitest";
import { fixtures, readTensors } from "../interpreted.ts";
import { exact } from "./numbers.ts";
import { runnerOf } from "./run-wasm.ts";

const folder = fixtures.find((f) => f.endsWith("a07-v3-fp8"))!;
const [weights, expected] = ["model", "expected"].map((n) => readTensors(path.join(folder, `${n}.safetensors`)));
const quantize = runnerOf("quantize");

test("the activation quantisation of the embedding is exact", () => {
  const ids = expected.get("input_ids")!.data;
  const table = weights.get("model.embed_tokens.weight")!;
  const [vocab, d] = table.shape;
  const { y } = runnerOf("embed")({ vocab, d, table: "bf16" }, { ids, table: table.data }, { T: ids.length });
  exact(y, expected.get("hidden.0")!.data, "embedding");
  const { codes, scales } = quantize({ d, xStride: d, ue8m0: false }, { x: y }, { m: ids.length });
  exact(codes, expected.get("act_quant.embed.q")!.data, "codes");
  exact(scales, expected.get("act_quant.embed.s")!.data, "scales");
});

const linears = [...expected.keys()].filter((n) => /^op\..*\.x$/.test(n)).map((n) => n.slice(3, -2));

test("the fixture records linears with ragged rows and ragged columns", () => expect(linears.length).toBeGreaterThan(4));

test.each(linears)("%s", (name) => {
  const [x, want, w, scale] = [
    expected.get(`op.${name}.x`)!,
    expected.get(`op.${name}.y`)!,
    weights.get(`${name}.weight`)!,
    weights.get(`${name}.weight_scale_inv`)!,
  ];
  const [m, k] = x.shape;
  const n = w.shape[0];
  const { codes, scales } = quantize({ d: k, xStride: k, ue8m0: false }, { x: x.data }, { m });
  const { y } = runnerOf("block_linear")(
    { parts: 1, n, k, x: "e4m3", xStride: k },
    { x: codes, x_scale: scales, w: w.data, w_scale: scale.data },
    { m },
  );
  // Relative to the row's largest result: single results may cancel to nothing.
  for (let i = 0; i < m; i++) {
    const row = want.data.subarray(i * n, (i + 1) * n);
    const most = row.reduce((a, v) => Math.max(a, Math.abs(v)), 0);
    for (let j = 0; j < n; j++) expect(Math.abs(y[i * n + j] - row[j]), `[${i}, ${j}]`).toBeLessThanOrEqual(1e-5 * most);
  }
});

test("a dequantised weight is exact", () => {
  const name = "model.layers.0.self_attn.kv_b_proj";
  const w = weights.get(`${name}.weight`)!;
  const [n, k] = w.shape;
  const { y } = runnerOf("dequantize_blocks")(
    { batch: 1, n, k },
    { x: w.data, x_scale: weights.get(`${name}.weight_scale_inv`)!.data },
    {},
  );
  exact(y, expected.get("dequant.layer0.kv_b_proj")!.data, name);
});
