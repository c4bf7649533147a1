// The printed model of 698,789,888 parameters on synthetic weights, against what transformers computed in float32.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { peakOf } from "../bench/peak.ts";
import { readTensors } from "../interpreted.ts";
import { lacks } from "../conditions.ts";

const root = path.resolve(import.meta.dirname, "../..");
const file = JSON.parse(readFileSync(path.join(root, "test/oracle/reduced_seed.json"), "utf8")) as {
  input_ids: number[];
  modes: { f32: { greedy_ids: number[]; last_logits: number[] } };
};
const oracle = { input_ids: file.input_ids, ...file.modes.f32 };

test.skipIf(lacks("3 GB"))("16 greedy ids, the last logits of 64, and the memory it takes", async () => {
  const work = mkdtempSync(path.join(tmpdir(), "dsc-printed-"));
  const [ids, save] = [path.join(work, "ids.json"), path.join(work, "out.safetensors")];
  writeFileSync(ids, JSON.stringify(oracle.input_ids));
  const words = [
    "run",
    path.join(root, "examples/printed-model"),
    "--weights",
    "synthetic:0",
    "--ids",
    ids,
    "--max-new",
    "16",
    "--json",
    "--save",
    save,
  ];
  const { stdout, bytes } = await peakOf(root, words, { XDG_CACHE_HOME: work });
  expect((JSON.parse(stdout) as { ids: number[] }).ids).toEqual(oracle.greedy_ids);
  const logits = readTensors(save).get("logits")!;
  const last = logits.data.slice(-logits.shape[1]);
  expect(Math.max(...last.map((v, i) => Math.abs(v - oracle.last_logits[i])))).toBeLessThan(2e-3);
  // 1.40 GB of weights; with WebAssembly, Node and the compiler around them.
  expect(bytes).toBeLessThan(2.3e9);
  rmSync(work, { recursive: true });
});
