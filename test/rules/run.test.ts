// The new ends of a layer through compiled kernels: leaving out one pass gives the same logits, bit for bit where the pass
// only fuses. FP8 with a query rank of whole blocks, so that joined scale rows are read from a checkpoint's two tensors.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { writeArtifact } from "../../compiler/artifact/write.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { standard } from "../../passes/index.ts";
import { load } from "../../runtime/index.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-passes-"));
afterAll(() => rmSync(work, { recursive: true }));
const fixture = (name: string): string => path.resolve(import.meta.dirname, "../fixtures", name);

async function logits(src: string, set: string[], passes: string): Promise<{ rows: Float32Array[]; fired: Set<string> }> {
  const compiled = compile(src, { ...defaults, set, passes });
  const out = mkdtempSync(path.join(work, "a-"));
  writeArtifact(compiled, out);
  const model = await load(out, { weights: "synthetic:3", threads: 1 });
  const session = model.session({ maxTokens: 16 });
  const rows: Float32Array[] = [];
  const first = await session.prefill([
    [5, 7, 11, 2],
    [3, 1],
  ]);
  rows.push(first.logits(0).slice(), first.logits(1).slice());
  const next = await session.decode([9, 4]);
  rows.push(next.logits(0).slice(), next.logits(1).slice());
  session.close();
  await model.close();
  return { rows, fired: new Set(compiled.outcome.ledger.entries.filter((e) => e.outcome === "fired").map((e) => e.pass)) };
}

const without = (pass: string): string =>
  standard
    .map((p) => p.name)
    .filter((n) => n !== pass)
    .join(",");

describe.each([
  ["a07-v3-fp8", ["q_lora_rank=128"], ["join-latents", "combine-add", "add-norm", "shared-expert"]],
  ["a01-v3-yarn", [], ["shared-expert"]],
  ["a04-v2-group", [], ["join-latents", "combine-add", "add-norm"]],
  ["a09-v3-odd", [], ["combine-add", "add-norm"]],
])("%s", (name, set, passes) => {
  test.each(passes)("with and without %s", async (pass) => {
    const all = await logits(fixture(name), set, "all");
    expect(all.fired).toContain(pass);
    const fewer = await logits(fixture(name), set, without(pass));
    expect(fewer.fired).not.toContain(pass);
    for (const [i, row] of all.rows.entries()) {
      expect(row.some((v) => v !== 0)).toBe(true);
      expect(row).toEqual(fewer.rows[i]);
    }
  });
});
