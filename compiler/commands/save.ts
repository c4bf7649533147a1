// `run --save`: what a call gave, as the tensors of the fixtures, for comparing with other implementations.
import { existsSync, statSync } from "node:fs";
import path from "node:path";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { argmax, saveTensors, type Model, type Result } from "../../runtime/index.ts";
import { makeFolder } from "../artifact.ts";
import { cannotWrite } from "../diagnostics.ts";

/** Says so before the work, not after it. */
export function checkWritable(file: string): void {
  try {
    if (existsSync(file) && statSync(file).isDirectory()) throw new Error("it is a folder");
    makeFolder(path.dirname(path.resolve(file)));
  } catch (e) {
    throw new DiagnosticError(cannotWrite(file, (e as Error).message));
  }
}

export type Saved = Record<string, { shape: number[]; data: Float32Array | Int32Array }>;

export const copyTaps = (r: Result): Saved => Object.fromEntries(Object.entries(r.taps).map(([k, t]) => [k, { shape: [...t.shape], data: t.data.slice() }]));

/** logits, hidden.0 .. hidden.L, final_norm, route.N.*, greedy_logits, and mtp.logits where the extra layer exists. */
export async function save(file: string, model: Model, prompt: number[], taps: Saved, steps: Float32Array[]): Promise<void> {
  const { final, ...rest } = taps;
  const out: Saved = { ...rest, ...(final ? { final_norm: final } : {}) };
  const vocab = model.manifest.model.vocab;
  const greedy = new Float32Array(steps.length * vocab);
  steps.forEach((s, i) => greedy.set(s, i * vocab));
  out.greedy_logits = { shape: [steps.length, vocab], data: greedy };
  if (model.manifest.entries.draft !== undefined && final) {
    const session = model.session({ maxTokens: prompt.length });
    const drafted = await session.draft([[...prompt.slice(1), argmax(steps[0])]], final.data as Float32Array);
    out["mtp.logits"] = { shape: drafted.taps.logits.shape, data: drafted.taps.logits.data.slice() };
    session.close();
  }
  // Expert indices are i64 in the files others write, so here too.
  await saveTensors(
    file,
    Object.entries(out).map(([name, { shape, data }]) =>
      data instanceof Float32Array ? { name, shape, dtype: "F32", data } : { name, shape, dtype: "I64", data: BigInt64Array.from(data, BigInt) },
    ),
  );
}
