// Every fixture through `dsc run`, as a person types it, against what transformers computed: default passes, none, and both
// forms of attention.
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, test } from "vitest";
import { fixtures, readTensors, type Raw } from "../interpreted.ts";

const exec = promisify(execFile);
const cli = path.resolve(import.meta.dirname, "../../dist/compiler/cli.js");
const work = mkdtempSync(path.join(tmpdir(), "dsc-fixtures-"));
afterAll(() => rmSync(work, { recursive: true }));

const modes: Record<string, string[]> = {
  default: [],
  "--passes none": ["--passes", "none"],
  "--attention expanded": ["--attention", "expanded"],
  "--attention absorbed": ["--attention", "absorbed"],
};

async function run(fixture: string, expected: Raw, flags: string[], label: string): Promise<{ ids: number[]; got: Raw }> {
  const name = path.basename(fixture);
  const ids = path.join(work, `${name}.json`);
  writeFileSync(ids, JSON.stringify([...expected.get("input_ids")!.data]));
  const save = path.join(work, `${name}-${label.replace(/\W/g, "")}.safetensors`);
  const { stdout } = await exec(
    process.execPath,
    [cli, "run", fixture, "--ids", ids, "--max-new", "16", "--json", "--save", save, "--threads", "1", ...flags],
    {
      env: { ...process.env, XDG_CACHE_HOME: path.join(work, label.replace(/\W/g, "")) },
    },
  );
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
  test.concurrent.each(Object.entries(modes))("%s", async (label, flags) => {
    const { ids, got } = await run(fixture, expected, [...flags, ...exact], label);
    compare(expected, got, "logits");
    expect(ids).toEqual(greedy);
  });

  if (config.quantization_config)
    // Medians only, and no ids: one code at a rounding boundary moves single logits (fp8-flip.test.ts accounts for each). The others
    // are as near as f32 is, 1.2e-7; WebAssembly has the same bits everywhere.
    test.concurrent.each([
      ["--attention expanded", "logits_fp8"],
      ["--attention absorbed", "logits_fp8_absorbed"],
    ])(`${name} with quantised activations, %s`, async (label, logits) => {
      const { got } = await run(fixture, expected, modes[label], `fp8${label}`);
      expect(median(expected.get(logits)!.data, got.get("logits")!.data)).toBeLessThan(1e-6);
    });
});
