// Every pass is validated: every fixture is interpreted before and after each, in float64, against transformers' answers.
import path from "node:path";
import { describe, expect, test } from "vitest";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { modelModule } from "../../compiler/frontend/model.ts";
import { parseModule, printModule } from "../../ir/index.ts";
import { runPipeline, standard } from "../../passes/index.ts";
import { fixtures, prefill, readTensors, worst } from "../interpreted.ts";

describe.each(fixtures)("%s", (folder) => {
  const { spec } = loadSpec(folder);
  const raw = readTensors(path.join(folder, "model.safetensors"));
  const expected = readTensors(path.join(folder, "expected.safetensors"));
  const ids = [...expected.get("input_ids")!.data];
  const module = modelModule(spec, { activations: "f32", actQuant: "dynamic", taps: true });

  test.each(["expanded", "absorbed"])("every pass keeps the function, attention %s", (attention) => {
    const { snapshots } = runPipeline(module, standard, { attention });
    let seen: string | undefined;
    for (const s of snapshots) {
      const text = printModule(s.module);
      expect(printModule(parseModule(text)), `after ${s.pass}`).toBe(text);
      if (text === seen) continue;
      seen = text;
      const absorbed = attention === "absorbed" && s.pass !== "frontend";
      const want = spec.fp8 ? (absorbed ? "logits_fp8_absorbed" : "logits_fp8") : "logits_f64";
      const got = prefill(s.module, raw, ids);
      expect(worst(got.logits.data, expected.get(want)!.data), `after ${s.pass}`).toBeLessThan(spec.fp8 ? 1e-5 : 1e-9);
    }
  });
});
