// From a checkpoint in memory to the first token: reads into the card, and the whole program as a person types it, with the kernels
// in the artifact. Synthetic weights through the files must give the logits that synthetic weights made on the card give.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import type { Row } from "./device.ts";
import { median, open, printed } from "./models.ts";

const cli = path.resolve(import.meta.dirname, "../../compiler/cli.js");
const prompt = Array.from({ length: 64 }, (_, i) => (i * 7919 + 13) % 1000);

function dsc(...words: string[]): { ms: number; out: string } {
  const from = performance.now();
  const r = spawnSync(process.execPath, [cli, ...words], { encoding: "utf8" });
  if (r.status !== 0) throw new Error(`dsc ${words.join(" ")}: ${r.stderr}`);
  return { ms: performance.now() - from, out: r.stdout };
}

export async function measure(): Promise<Row[]> {
  // DSC_LOAD names a folder that has been made before, by the two commands below.
  const work = process.env.DSC_LOAD ?? mkdtempSync("/dev/shm/dsc-load-");
  try {
    const [weights, artifact] = [path.join(work, "weights"), path.join(work, "artifact")];
    const rows: Row[] = [];
    if (!existsSync(weights)) dsc("weights", printed, "--synthetic", "0", "-o", weights);
    if (!existsSync(artifact)) dsc("compile", printed, "--target", "cuda", "--cubin", "-o", artifact);
    const times: number[] = [];
    let bytes = 0;
    let logits: Float32Array[] = [];
    for (const from of [weights, "synthetic:0", weights, weights]) {
      // Threads that read are ready, as they are where the driver starts meanwhile.
      const { model, loadMs } = await open(printed, from, { pauseMs: from === weights ? 150 : 0 });
      const session = model.session({ maxTokens: 128 });
      logits = [...logits, (await session.prefill([prompt])).logits(0).slice()];
      session.close();
      bytes = 1.398e9;
      if (from === weights) times.push(loadMs);
      await model.close();
    }
    const same = logits.every((l) => l.every((v, i) => v === logits[0][i]));
    rows.push({
      model: "printed",
      what: "load from a checkpoint in memory",
      ms: Math.min(...times),
      gb_per_s: bytes / Math.min(...times) / 1e6,
      asked_gb_per_s: 20,
      same_logits_as_made_on_the_card: same,
      ok: same,
    });
    const runs = Array.from({ length: 3 }, () =>
      dsc("run", artifact, "--weights", weights, "--ids", prompt.join(","), "--max-new", "1", "--json"),
    );
    rows.push({
      model: "printed",
      what: "artifact with cubins and checkpoint to first token, the whole program",
      ms: median(runs.map((r) => r.ms)),
      asked_ms: 2000,
      best: Math.min(...runs.map((r) => r.ms)),
    });
    const more = dsc("run", artifact, "--weights", weights, "--ids", prompt.join(","), "--max-new", "200", "--json");
    rows.push({
      model: "printed",
      what: "dsc run, 200 tokens",
      decode_ms_per_token: (JSON.parse(more.out) as { decode_ms_per_token: number }).decode_ms_per_token,
    });
    return rows;
  } finally {
    rmSync(work, { recursive: true });
  }
}
