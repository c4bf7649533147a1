// compute-sanitizer on a small run of R1 at full width (small.ts): npm run device -- --only sanitize. It takes minutes, so it runs
// only when asked for. initcheck runs on printed kernels: it does not see what the copy engine writes (cp.async.bulk.tensor), and
// takes every later read of such a buffer for a read of fresh memory.
import { spawn } from "node:child_process";
import path from "node:path";
import type { Row } from "./device.ts";

const runs: readonly { tool: string; natives: "all" | "none" }[] = [
  { tool: "memcheck", natives: "all" }, { tool: "synccheck", natives: "all" }, { tool: "initcheck", natives: "none" }, { tool: "racecheck", natives: "all" }, { tool: "racecheck", natives: "none" },
];

function run(tool: string, natives: string): Promise<Row> {
  const from = performance.now();
  // A child of the harness again: one step of one part, in one process.
  const words = ["--tool", tool, "--print-limit", "20", process.execPath, path.join(import.meta.dirname, "device.js"), "--alone", "small", "--step", "check", "--rows", "/dev/null"];
  const child = spawn("compute-sanitizer", words, { env: { ...process.env, DSC_ONCE: "1", DSC_SMALL: "3,5", DSC_NATIVES: natives }, stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  for (const s of [child.stdout, child.stderr]) s.on("data", (d: Buffer) => (text += d.toString()));
  return new Promise((resolve) => {
    const end = (extra: Row): void => resolve({ tool, natives, seconds: (performance.now() - from) / 1000, ...extra });
    child.on("error", (e) => end({ ok: false, error: e.message }));
    child.on("close", () => {
      const summary = /(?:ERROR|RACECHECK) SUMMARY: (\d+)/.exec(text);
      const where = [...new Set([...text.matchAll(/=========\s+at (\S+?)\+/g)].map((m) => m[1]))].slice(0, 8);
      end({ errors: summary ? Number(summary[1]) : -1, kernels: where.join(" "), ok: summary?.[1] === "0" });
    });
  });
}

export async function check(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const { tool, natives } of runs) rows.push(await run(tool, natives));
  return rows;
}
