// What a fixture answers to one prompt, on any device.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { writeArtifact } from "../../compiler/artifact/write.ts";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import type { Mesh } from "../../ir/mesh.ts";
import { load } from "../../runtime/index.ts";
import type { Model } from "../../runtime/model.ts";

const fixture = (name: string): string => path.resolve(import.meta.dirname, "../fixtures", name);
const prompt = [3, 5, 7, 9, 11, 2];

export interface Answers {
  ids: number[];
  logits: Float32Array[];
}

/** Logits after a prompt and after each of four steps, and the ids chosen. */
export async function answersOf(model: Model): Promise<Answers> {
  using session = model.session();
  const [ids, logits]: [number[], Float32Array[]] = [[], []];
  let result = await session.prefill([prompt]);
  for (let i = 0; i < 5; i++) {
    logits.push(result.logits(0).slice());
    ids.push(result.next(0));
    if (i < 4) result = await session.decode([ids[i]]);
  }
  return { ids, logits };
}

/** Of a fixture on the CPU. */
export async function answers(name: string, mesh?: Mesh): Promise<Answers> {
  const out = mkdtempSync(path.join(tmpdir(), "dsc-ranks-"));
  try {
    writeArtifact(compile(fixture(name), { ...defaults, stored: await storedIn(fixture(name)), ...(mesh ? { mesh } : {}) }), out);
    await using model = await load(out, { weights: fixture(name), threads: 2 });
    return await answersOf(model);
  } finally {
    rmSync(out, { recursive: true });
  }
}
