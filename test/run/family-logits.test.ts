// What holds members of the family to transformers on a card (test/device/family-logits.ts), on small ones that run here: the checkpoint that torch
// writes is read by both, and the CPU answers within f32's rounding. Then the judge: what it lets pass and what it does not.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { comparable } from "../device/family-configs.ts";
import { asked, jobOf, referenceOf, script } from "../device/family-logits.ts";
import { judged, type Answer, type Reference } from "../device/family-logits-judge.ts";
import { lacks } from "../conditions.ts";
import { openModel } from "./compiled.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-logits-"));
afterAll(() => rmSync(work, { recursive: true }));

const small = {
  hidden_size: 256,
  vocab_size: 300,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  kv_lora_rank: 64,
  qk_nope_head_dim: 24,
  qk_rope_head_dim: 16,
  v_head_dim: 32,
  intermediate_size: 200,
  moe_intermediate_size: 72,
  n_routed_experts: 16,
};

test.skipIf(lacks("transformers"))(
  "small members of the family: transformers and the CPU read one checkpoint and give the same logits and ids",
  async () => {
    const prompt = Array.from({ length: 9 }, (_, i) => (i * 7919 + 13) % 300);
    const jobs = Object.entries(comparable(3)).map(([name, config]) =>
      jobOf(work, name, { ...config, ...small, ...(config.q_lora_rank ? { q_lora_rank: 48 } : {}) }, prompt, 3),
    );
    writeFileSync(path.join(work, "jobs.json"), JSON.stringify(jobs));
    const said = execFileSync(process.env.DSC_PYTHON ?? "python3", [script, path.join(work, "jobs.json")], { encoding: "utf8" });
    expect(said.match(/^(done|failed).*$/gm)).toEqual(jobs.map((j) => `done ${j.name}`));
    for (const job of jobs) {
      const want = referenceOf(job.out, small.vocab_size);
      const fp8 = "quantization_config" in job.config;
      const model = await openModel(job.folder, fp8 ? { actQuant: "none" } : {});
      const row = judged(await asked(model, prompt, want.ids), want, "f32");
      expect({ model: job.name, ...row }).toMatchObject({ ok: true, rows: 21, ids_equal: 21 });
      expect(row.apart).toBeLessThan(1e-4);
    }
  },
  120_000,
);

const reference = (margin: number): Reference => ({
  vocab: 3,
  f32: Float32Array.of(0, 1, 0.97),
  bf16: Float32Array.of(0, 1, 1),
  margin: [margin],
});
const answer = (...logits: number[]): Answer[] => [
  { by: "step", row: 0, logits: Float32Array.from(logits), id: logits.indexOf(Math.max(...logits)) },
];

test("a row is held to the limit unless its route may turn, and another id needs the gap that rounding closes", () => {
  expect(judged(answer(0, 0.98, 0.99), reference(1), "bf16")).toMatchObject({ ok: true, ids_equal: 0, unexplained_ids: 0 });
  // The same in f32 is far off.
  expect(judged(answer(0, 0.98, 0.99), reference(1), "f32")).toMatchObject({ ok: false, far_otherwise: 1, unexplained_ids: 1 });
  // Far, where no route can turn and where one can.
  expect(judged(answer(0.5, 1, 0.97), reference(1), "bf16")).toMatchObject({ ok: false, far_otherwise: 1 });
  expect(judged(answer(0.5, 1, 0.97), reference(0.01), "bf16")).toMatchObject({ ok: true, far_at_risk: 1 });
  // As far as the reference's own bf16 lies.
  const rough = { ...reference(1), bf16: Float32Array.of(0.4, 1, 1) };
  expect(judged(answer(0.5, 1, 0.97), rough, "bf16")).toMatchObject({ ok: true, far_otherwise: 0 });
  // Logits that are right and an id that is not theirs.
  expect(judged([{ ...answer(0, 1, 0.97)[0], id: 0 }], reference(1), "bf16")).toMatchObject({ ok: false, unexplained_ids: 1 });
  expect(judged(answer(0, NaN, 0.97), reference(0.01), "none")).toMatchObject({ ok: false });
});
