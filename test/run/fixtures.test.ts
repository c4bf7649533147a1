// Every fixture through `dsc run`, as a person types it, against what transformers computed: default passes, none, and both
// forms of attention.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { lacks } from "../conditions.ts";
import { at, dsc } from "../commands/dsc.ts";
import { fixtures, readTensors, type Raw } from "../interpreted.ts";

// Libraries of this file run little: time goes to the compiler.
process.env.CFLAGS = "-O0";

const modes: Record<string, string[]> = {
  default: [],
  "--passes none": ["--passes", "none"],
  "--attention expanded": ["--attention", "expanded"],
  "--attention absorbed": ["--attention", "absorbed"],
};

async function run(fixture: string, expected: Raw, flags: string[], label: string): Promise<{ ids: number[]; got: Raw }> {
  const name = path.basename(fixture);
  const ids = at(`${name}.json`);
  writeFileSync(ids, JSON.stringify([...expected.get("input_ids")!.data]));
  const save = at(`${name}-${label.replace(/\W/g, "")}.safetensors`);
  const words = ["--ids", ids, "--max-new", "16", "--save", save, "--threads", "1", ...flags];
  const { code, stdout, stderr } = await dsc("run", fixture, "--json", ...words);
  expect(code, stderr).toBe(0);
  return { ids: (JSON.parse(stdout) as { ids: number[] }).ids, got: readTensors(save) };
}

const farthest = (a: Float64Array, b: Float64Array): number =>
  a.reduce((worst, v, i) => Math.max(worst, Math.abs(v - b[i]) || (Number.isNaN(v) ? Infinity : 0)), 0);
const median = (a: Float64Array, b: Float64Array): number =>
  [...a].map((v, i) => Math.abs(v - b[i])).sort((x, y) => x - y)[a.length >> 1];

function compare(expected: Raw, got: Raw, logits: string): void {
  for (const [name, want] of expected) {
    const mine = got.get(name === logits ? "logits" : name);
    const close = /^(hidden\.|final_norm$|greedy_logits$|route\.\d+\.weights$|mtp\.logits$)/.test(name) || name === logits;
    if (!close && !name.endsWith(".indices")) continue;
    expect(mine, name).toBeDefined();
    expect(mine!.shape, name).toEqual(want.shape);
    expect(farthest(want.data, mine!.data), name).toBeLessThan(name.endsWith(".indices") ? 0.5 : 2e-4);
  }
}

describe.each(fixtures.map((f) => [path.basename(f), f] as const))("%s", (name, fixture) => {
  const expected = readTensors(path.join(fixture, "expected.safetensors"));
  const config = JSON.parse(readFileSync(path.join(fixture, "config.json"), "utf8")) as { quantization_config?: object };
  const greedy = [...expected.get("greedy_ids")!.data];

  // Exact weights answer what transformers answered on dequantised ones; quantised activations have their own answers below.
  const exact = config.quantization_config ? ["--act-quant", "none"] : [];
  test.each(Object.entries(modes))("%s", async (label, flags) => {
    const { ids, got } = await run(fixture, expected, [...flags, ...exact], label);
    compare(expected, got, "logits");
    expect(ids).toEqual(greedy);
  });

  // As C: plans differ between modes, kernels little, so one mode is enough; the library is compiled quickly, for it runs little.
  test.skipIf(lacks("C compiler"))("--target c", async () => {
    const { ids, got } = await run(fixture, expected, ["--target", "c", ...exact], "c");
    compare(expected, got, "logits");
    expect(ids).toEqual(greedy);
  });

  test.skipIf(lacks("TVM compiler"))("--target tvm", async () => {
    const { ids, got } = await run(fixture, expected, ["--target", "tvm", ...exact], "tvm");
    compare(expected, got, "logits");
    expect(ids).toEqual(greedy);
  });

  if (config.quantization_config)
    // Medians only, and no ids: one code at a rounding boundary moves single logits (fp8-flip.test.ts accounts for each). The others
    // are as near as f32 is, 1.2e-7; WebAssembly has the same bits everywhere.
    test.each([
      ["--attention expanded", "logits_fp8"],
      ["--attention absorbed", "logits_fp8_absorbed"],
    ])(`${name} with quantised activations, %s`, async (label, logits) => {
      const { got } = await run(fixture, expected, modes[label], `fp8${label}`);
      expect(median(expected.get(logits)!.data, got.get("logits")!.data)).toBeLessThan(1e-6);
    });
});
