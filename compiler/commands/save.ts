// `run --save`: what a call gave, as the tensors of the fixtures, for comparing with other implementations.
import { statSync, statfsSync } from "node:fs";
import path from "node:path";
import type { Manifest } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { argmax, saveTensors, writerOf, type Model, type Result } from "../../runtime/index.ts";
import { checkFolder } from "../artifact/make-folder.ts";
import { cannotWrite, notOurs } from "../diagnostics.ts";
import { kindAt } from "../artifact/ours.ts";
import { size } from "../report/summary.ts";

/** What a saved file's header says of who wrote it. */
const writer = "dsc run --save";

/**
 * Says before the work what would be known after it: the place is free or holds what an earlier --save wrote, its folder can be
 * written, and `bytes`, the least the file will have, fit the disk.
 */
export async function checkWritable(file: string, bytes: number): Promise<void> {
  try {
    const kind = kindAt(file);
    if (kind === "folder") throw new Error("it is a folder");
    if (kind === "other") throw new Error("it is a link or a device, not a file");
    if (kind === "file" && (await writerOf(file)) !== writer)
      throw new DiagnosticError(notOurs(file, "it is there already, and no earlier --save wrote it"));
    checkFolder(file);
    const disk = statfsSync(path.dirname(path.resolve(file)));
    const free = disk.bavail * disk.bsize + (kind === "file" ? statSync(file).size : 0);
    if (bytes > free) throw new Error(`it takes at least ${size(bytes)}, and ${size(free)} are free there`);
  } catch (e) {
    throw e instanceof DiagnosticError ? e : new DiagnosticError(cannotWrite({ where: file, problem: (e as Error).message }));
  }
}

/** Bytes that the file of a prompt has at least: logits and hidden states of its rows, and the logits of one step. */
export const leastBytes = ({ model }: Manifest, rows: number): number =>
  4 * ((rows + 1) * model.vocab + rows * model.hidden * (model.layers + 1));

export type Saved = Record<string, { shape: number[]; data: Float32Array | Int32Array }>;

export const copyTaps = (r: Result): Saved =>
  Object.fromEntries(Object.entries(r.taps).map(([k, t]) => [k, { shape: [...t.shape], data: t.data.slice() }]));

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
  const tensors = Object.entries(out).map(([name, { shape, data }]) =>
    data instanceof Float32Array
      ? { name, shape, dtype: "F32", data }
      : { name, shape, dtype: "I64", data: BigInt64Array.from(data, BigInt) },
  );
  try {
    await saveTensors(file, tensors, writer);
  } catch (e) {
    throw new DiagnosticError(cannotWrite({ where: file, problem: (e as Error).message }));
  }
}
