// dsc tune on the card, as a person would: DeepSeek-V2-Lite and an FP8 model whose products are in no table, measured for so many seconds at
// most, kept in one cache, then compiled by it. Every choice must be the fastest of its rows here, the times must lie beside the compiled
// kernels, and the ledger must say of each time whether it was measured here, measured by us, or estimated. npm run device -- --only
// tune --limit 200; DSC_TUNE_ROWS (default 1,64,1024), DSC_TUNE_SECONDS a model (default 50), DSC_TUNE_SRC another model.
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TunedRow } from "../../codegen/cuda/tuned.ts";
import type { Row } from "./device.ts";
import { family, offTable, shortened, written } from "./family-configs.ts";

const cli = path.resolve(import.meta.dirname, "../../compiler/cli.js");
const ROWS = process.env.DSC_TUNE_ROWS ?? "1,64,1024";
const SECONDS = process.env.DSC_TUNE_SECONDS ?? "50";

/** The models, the first layers of each: they have all their products. */
function sources(folder: string): Record<string, string> {
  if (process.env.DSC_TUNE_SRC) return { [process.env.DSC_TUNE_SRC]: process.env.DSC_TUNE_SRC };
  const lite = written(folder, "v2-lite", shortened(family["DeepSeek-V2-Lite"](), 2));
  return { "DeepSeek-V2-Lite": lite, "FP8, in no table": written(folder, "off-table", offTable()) };
}

/** What `dsc why OUT kernels` says chose a kernel, counted. */
const said = ["measured here", "measured by us", "estimated"] as const;

/** Of one problem at one number of rows: what the ledger says was chosen, and the fastest that was measured. */
function checkOne(key: string, list: readonly TunedRow[]): Row {
  const best = list.reduce((least, r) => (r.us < least.us ? r : least));
  return {
    where: key,
    tried: list.length,
    us: best.us,
    slowest_us: Math.max(...list.map((r) => r.us)),
    schedule: JSON.stringify(best.schedule),
    ok: list.every((r) => Number.isFinite(r.us) && r.us > 0),
  };
}

export function check(): Promise<Row[]> {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-tune-"));
  const cache = path.join(folder, "cache");
  const dsc = (...words: string[]): string =>
    execFileSync(process.execPath, [cli, ...words], {
      encoding: "utf8",
      maxBuffer: 1 << 28,
      env: { ...process.env, DSC_CACHE: cache },
    });
  try {
    const rows: Row[] = [];
    for (const [model, src] of Object.entries(sources(folder))) {
      const from = performance.now();
      const tuned = JSON.parse(dsc("tune", src, "--json", "--seconds", SECONDS, "--rows", ROWS)) as TunedRow[];
      const seconds = (performance.now() - from) / 1000;
      const out = path.join(folder, "out");
      dsc("compile", src, "--target", "cuda", "-o", out);
      const chosen = dsc("why", out, "kernels")
        .split("\n")
        .filter((l) => l.trimStart().startsWith("chosen "));
      const count = (word: string): number => chosen.filter((l) => l.includes(word)).length;
      const problems = new Map<string, TunedRow[]>();
      for (const r of tuned) {
        const key = `${model}: ${r.family} ${JSON.stringify(r.problem)} at ${r.rows}`;
        problems.set(key, [...(problems.get(key) ?? []), r]);
      }
      rows.push(...[...problems].map(([key, list]) => checkOne(key, list)));
      // What is chosen by a time that was measured here is the fastest of that problem here.
      const here = chosen.flatMap((l) => (/measured here at ([\d.]+) us/.exec(l) ?? []).slice(1).map(Number));
      const least = [...problems.values()].map((list) => Math.min(...list.map((r) => r.us)));
      const slower = here.filter((us) => !least.some((l) => Math.abs(l - us) < 0.06));
      const files = ["tuning", "cubins"].map(
        (f) => existsSync(path.join(cache, f)) && readdirSync(path.join(cache, f)).length > 0,
      );
      rows.push({
        summary: model,
        seconds,
        problems: new Set(tuned.map((r) => JSON.stringify(r.problem))).size,
        times: tuned.length,
        ...Object.fromEntries(said.map((word) => [word.replaceAll(" ", "_"), count(word)])),
        slower_than_measured: slower.length,
        beside_kernels: files.every(Boolean),
        ok: count("measured here") > 0 && slower.length === 0 && files.every(Boolean),
      });
    }
    return Promise.resolve(rows);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
