// Every fixture exported, run by onnxruntime through the cache inputs, and looked at by onnx.checker: an opinion that is not ours on
// the graph after any pass.
import { spawnSync } from "node:child_process";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { openOnnx } from "../../compiler/export/onnxruntime.ts";
import { lacks } from "../conditions.ts";
import { fixtures, readTensors } from "../interpreted.ts";
import { exported, stages } from "./exported.ts";

const LIMIT = 5e-4;

const farthest = (a: Float64Array, b: ArrayLike<number>): number =>
  a.reduce((worst, v, i) => Math.max(worst, Number.isNaN(b[i]) ? Infinity : Math.abs(v - b[i])), 0);

const argmax = (row: Float32Array): number => row.reduce((best, v, i) => (v > row[best] ? i : best), 0);

describe.skipIf(lacks("onnxruntime-node"))("in onnxruntime", () => {
  const cases = fixtures.flatMap((f) => Object.keys(stages).map((stage) => [path.basename(f), stage, f] as const));
  test.each(cases)("%s after %s: logits, a prompt in two parts, greedy ids", async (_, stage, fixture) => {
    const expected = readTensors(path.join(fixture, "expected.safetensors"));
    const { data: want, shape } = expected.get("logits")!;
    const vocab = shape[1];
    const ids = [...expected.get("input_ids")!.data];
    const { file } = await exported(fixture, stages[stage], { name: stage });
    const model = await openOnnx(file);
    try {
      expect(farthest(want, await model.rows(ids, true))).toBeLessThan(LIMIT);
      await model.rows(ids.slice(0, 10), true);
      let rows = await model.rows(ids.slice(10));
      expect(farthest(want.subarray(10 * vocab), rows)).toBeLessThan(LIMIT);
      const greedy: number[] = [];
      for (const _step of expected.get("greedy_ids")!.data) {
        greedy.push(argmax(rows.subarray(-vocab)));
        rows = await model.rows([greedy.at(-1)!]);
      }
      expect(greedy).toEqual([...expected.get("greedy_ids")!.data]);
    } finally {
      await model.close();
    }
  });

  const fp8 = fixtures.find((f) => f.endsWith("fp8"))!;
  test.each([
    ["expanded", "logits_fp8"],
    ["absorbed", "logits_fp8_absorbed"],
  ])("quantised inputs of FP8 linears, %s attention", async (attention, name) => {
    const expected = readTensors(path.join(fp8, "expected.safetensors"));
    const { file } = await exported(
      fp8,
      { actQuant: "dynamic", passOptions: { "absorb-mla.attention": attention } },
      { name: attention },
    );
    const model = await openOnnx(file);
    const got = await model.rows([...expected.get("input_ids")!.data]);
    await model.close();
    const apart = [...expected.get(name)!.data].map((v, i) => Math.abs(v - got[i])).toSorted((a, b) => a - b);
    // One flipped code moves some answers; most are as they were.
    expect(apart[apart.length >> 1]).toBeLessThan(0.01);
  });
});

test.skipIf(lacks("onnx of Python"))("onnx.checker takes every file, types inferred", async () => {
  const files: string[] = [];
  for (const fixture of fixtures)
    for (const [stage, options] of Object.entries(stages)) files.push((await exported(fixture, options, { name: stage })).file);
  const bf16 = fixtures.find((f) => f.endsWith("yarn"))!;
  files.push((await exported(bf16, {}, { name: "bf16", portable: false })).file);
  const script = "import onnx, sys\nfor f in sys.argv[1:]: onnx.checker.check_model(f, full_check=True)";
  const { status, stderr } = spawnSync(process.env.DSC_PYTHON ?? "python3", ["-c", script, ...files], { encoding: "utf8" });
  expect(status, stderr).toBe(0);
});
