// generation_config.json and options of generate, in every combination of sound and unsound values: an answer within what was asked
// for, or a diagnostic that names the setting.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Diagnostic } from "../../ir/diagnostic.ts";
import type { CpuDevice } from "../../runtime/devices/cpu.ts";
import { generate, loadGeneration, type GenerateOptions, type Model } from "../../runtime/index.ts";
import { manifest, openToy } from "../runtime/toy.ts";
import { mutate } from "./mutate-text.ts";
import { Random } from "./random.ts";

const KEYS = [
  "do_sample",
  "temperature",
  "top_k",
  "top_p",
  "repetition_penalty",
  "eos_token_id",
  "max_new_tokens",
  "max_length",
  "num_beams",
  "min_p",
  "suppress_tokens",
  "bos_token_id",
  "stop_strings",
  "__proto__",
];
const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  1,
  -1,
  2,
  50,
  0.6,
  1.5,
  1e-320,
  1e308,
  "1",
  "",
  [],
  [1],
  [1, 2],
  [1, null],
  {},
  { a: 1 },
  3,
  10,
  2 ** 60,
];

function fileOf(seed: number): string {
  const r = new Random(seed);
  const text = JSON.stringify(
    Object.fromEntries(Array.from({ length: r.below(4) }, () => [r.one(KEYS), r.one(VALUES)])),
    null,
    r.below(3),
  );
  return r.chance(0.2) ? mutate(text, r) : text;
}

function optionsFor(seed: number): Record<string, unknown> {
  const r = new Random(seed + 77_777);
  const all: Record<string, unknown> = { maxNew: r.chance(0.9) ? 1 + r.below(5) : r.one(VALUES) };
  for (const name of ["temperature", "topK", "topP", "repeatPenalty", "seed", "stop", "draft", "ahead"])
    if (r.chance(0.12)) all[name] = r.one(VALUES);
  return all;
}

export const showOptions = (seed: number): string => `${fileOf(seed)}\n${JSON.stringify(optionsFor(seed))}`;

export class GenerationOptions {
  private readonly model: Model<CpuDevice>;
  private readonly folder = mkdtempSync(path.join(tmpdir(), "dsc-fuzz-generation-"));

  private constructor(model: Model<CpuDevice>) {
    this.model = model;
  }

  static async make(): Promise<GenerationOptions> {
    return new GenerationOptions(await openToy(manifest, "synthetic:1", { threads: 1 }));
  }

  async run(seed: number): Promise<readonly Diagnostic[]> {
    writeFileSync(path.join(this.folder, "generation_config.json"), fileOf(seed));
    const found = await loadGeneration(this.folder);
    const options = { ...found?.sampling, stop: found?.eos ?? [], ...optionsFor(seed) } as unknown as GenerateOptions;
    let ids = 0;
    for await (const step of generate(this.model, [[1, 2, 3]], options)) ids += step.ids[0].length;
    if (ids < 1 || ids > options.maxNew) throw new Error(`${ids} ids of ${String(options.maxNew)}`);
    return found?.warnings ?? [];
  }

  async close(): Promise<void> {
    rmSync(this.folder, { recursive: true });
    await this.model.close();
  }
}
