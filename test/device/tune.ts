// dsc tune on the card: two layers of R1, measured as a person would, then compiled by what was measured. Every choice must be the fastest
// of its rows here, and the ledger must say so. --only tune, --limit 900; rows: DSC_TUNE_ROWS (default 1 64 1024).
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TunedRow } from "../../codegen/cuda/tuned.ts";
import type { Row } from "./device.ts";

// Built into .dsc/device, beside nothing: the command line is the package's.
const cli = path.resolve("dist/compiler/cli.js");
const ROWS = (process.env.DSC_TUNE_ROWS ?? "1 64 1024").split(" ");
const SRC = process.env.DSC_TUNE_SRC ?? "examples/deepseek-r1";

export function check(): Promise<Row[]> {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-tune-"));
  const dsc = (...words: string[]): string =>
    execFileSync(process.execPath, [cli, ...words], {
      encoding: "utf8",
      maxBuffer: 1 << 28,
      env: { ...process.env, DSC_CACHE: folder },
    });
  try {
    const tuned = JSON.parse(dsc("tune", SRC, "--json", "--rows", ...ROWS)) as TunedRow[];
    const out = path.join(folder, "out");
    dsc("compile", SRC, "--target", "cuda", "-o", out);
    const served = dsc("why", out, "kernels");
    const lines = served.split("\n").filter((l) => l.includes("chosen ") && l.includes("measured here"));
    const sites = new Map<string, TunedRow[]>();
    for (const r of tuned) {
      const key = `${r.family} ${JSON.stringify(r.problem)} at ${r.rows}`;
      sites.set(key, [...(sites.get(key) ?? []), r]);
    }
    const rows = [...sites].map(([where, list]): Row => {
      const best = list.reduce((least, r) => (r.us < least.us ? r : least));
      return { where, tried: list.length, us: best.us, schedule: JSON.stringify(best.schedule), ok: Number.isFinite(best.us) };
    });
    return Promise.resolve([
      ...rows,
      {
        what: "chosen by what was measured here",
        launches: lines.length,
        times: tuned.length,
        ok: lines.length > 0,
        summary: true,
      },
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
