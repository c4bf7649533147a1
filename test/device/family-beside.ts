// Times of transformers beside those of family-speed.ts: a process of its own (family_transformers.py), once our model has given the card back.
// DSC_TORCH_COMPILE names batches to compile for (1), a minute each; DSC_TRANSFORMERS_SECONDS (120) ends it early; DSC_PYTHON has torch and
// transformers, or the row says what it lacks.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Row } from "./device.ts";
import { family } from "./family-configs.ts";
import { root } from "./models.ts";

/** Times of transformers on the same card, each beside ours: theirs over ours. */
export function beside(o: {
  name: string;
  ours: readonly Row[];
  folder: string;
  context: number;
  batches: number[];
  prompts: number[];
}): Row[] {
  const { name, ours, folder, context, batches, prompts } = o;
  const python = process.env.DSC_PYTHON ?? "python3";
  const lacks = spawnSync(python, ["-c", "import torch, transformers"], { encoding: "utf8", timeout: 120_000 });
  if (lacks.status !== 0) {
    const why = lacks.error?.message ?? lacks.stderr.trim().split("\n").at(-1);
    return [{ model: name, what: "transformers", skipped: `not measured: ${why}` }];
  }
  const [job, out] = [path.join(folder, "transformers.json"), path.join(folder, "times.json")];
  const compiled = (process.env.DSC_TORCH_COMPILE ?? "1").split(",").filter(Boolean).map(Number);
  const of = { name, config: family[name](), context, batches, prompts, compile: compiled };
  writeFileSync(job, JSON.stringify({ ...of, seconds: Number(process.env.DSC_TRANSFORMERS_SECONDS ?? 120) }));
  rmSync(out, { force: true });
  const run = spawnSync(python, [path.join(root, "test/device/family_transformers.py"), job, out], {
    encoding: "utf8",
    timeout: 300_000,
  });
  if (!existsSync(out)) return [{ model: name, what: "transformers", ok: false, error: (run.stderr ?? "").slice(-600) }];
  return (JSON.parse(readFileSync(out, "utf8")) as Row[]).map(({ ms, ...theirs }) => {
    const here = ours.find((r) => (theirs.batch ? r.batch === theirs.batch : r.tokens === theirs.tokens) && r.over_floor);
    const us = here && Number(here.graph_us ?? Number(here.prompt_ms) * 1000);
    return { ...theirs, ...(ms ? { their_ms: ms } : {}), ...(ms && us ? { times: (Number(ms) * 1000) / us } : {}) };
  });
}
