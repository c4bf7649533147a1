// Models compiled and opened in this process, for tests of the runtime on whole models.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll } from "vitest";
import { writeArtifact } from "../../compiler/artifact/write.ts";
import { compile, defaults, type CompileOptions } from "../../compiler/compile.ts";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import { load, type Model } from "../../runtime/index.ts";

export const tiny = path.resolve(import.meta.dirname, "../../examples/tiny-r1");
export const fixture = (name: string): string => path.resolve(import.meta.dirname, "../fixtures", name);

const work = mkdtempSync(path.join(tmpdir(), "dsc-models-"));
const open: Model[] = [];
let made = 0;
afterAll(async () => {
  for (const m of open) await m.close();
  rmSync(work, { recursive: true });
});

/** Compiles a model folder and loads it with its checkpoint; closed when the file's tests are over. */
export async function openModel(folder: string, options: Partial<CompileOptions> = {}, threads = 2): Promise<Model> {
  const to = path.join(work, String(made++));
  writeArtifact(compile(folder, { ...defaults, stored: await storedIn(folder), ...options }), to);
  const model = await load(to, { weights: folder, threads });
  open.push(model);
  return model;
}
