// DeepSeek-V2-Lite's whole checkpoint, 31 GB in files of 4, from the page cache into the card: torch writes it there (checkpoint_torch.py), and
// it is loaded three times. The files' values are those that synthetic weights made on the card have, so a prompt's logits must be
// the same bits. npm run device -- --only family-load --limit 200; DSC_SCRATCH names a folder with room (default /tmp where
// it has it, else /dev/shm), DSC_LAYERS other numbers of layers.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { storedTensors } from "../../compiler/frontend/weights.ts";
import type { Row } from "./device.ts";
import { family, shortened, written } from "./family-configs.ts";
import { heldIn } from "./family-cubins.ts";
import { open, root } from "./models.ts";

const NAME = "DeepSeek-V2-Lite";
const SEED = 0;
const PROMPT = Array.from({ length: 64 }, (_, i) => (i * 7919 + 13) % 100000);
const BYTES = { BF16: 2, F32: 4, F8_E4M3: 1 } as const;

function roomFor(bytes: number): string {
  const free = (folder: string): number => {
    try {
      const s = statfsSync(folder);
      return s.bavail * s.bsize;
    } catch {
      return 0;
    }
  };
  const found = [process.env.DSC_SCRATCH, tmpdir(), "/dev/shm"].find((f) => f !== undefined && free(f) > bytes * 1.05);
  if (!found) throw new Error(`no folder has ${(bytes / 1e9).toFixed(1)} GB free`);
  return found;
}

export async function measure(): Promise<Row[]> {
  const layers = Number(process.env.DSC_LAYERS ?? family[NAME]().num_hidden_layers);
  const config = shortened(family[NAME](), layers);
  const configs = mkdtempSync(path.join(tmpdir(), "dsc-load-"));
  const file = written(configs, "config", config);
  const tensors = storedTensors(loadSpec(file, []).spec);
  const bytes = tensors.reduce((n, t) => n + t.shape.reduce((a, b) => a * b, 1) * BYTES[t.dtype], 0);
  const folder = mkdtempSync(path.join(roomFor(bytes), "dsc-checkpoint-"));
  const held = process.env.DSC_CUBINS ? { kernels: heldIn(process.env.DSC_CUBINS) } : {};
  try {
    writeFileSync(path.join(configs, "job.json"), JSON.stringify({ folder, config, tensors, seed: SEED }));
    const from = performance.now();
    const python = process.env.DSC_PYTHON ?? "python3";
    const made = spawnSync(python, [path.join(root, "test/device/checkpoint_torch.py"), path.join(configs, "job.json")], {
      encoding: "utf8",
    });
    if (made.status !== 0) return [{ model: NAME, ok: false, error: made.stderr.slice(-600) }];
    const rows: Row[] = [{ model: NAME, what: "written by torch", folder, gb: bytes / 1e9, ms: performance.now() - from }];
    let first: Float32Array | undefined;
    for (const weights of [folder, folder, folder, `synthetic:${SEED}`]) {
      // Threads that read are ready, as they are where the driver starts meanwhile.
      const pauseMs = weights === folder ? 150 : 0;
      const { model, loadMs } = await open(weights === folder ? folder : file, weights, { ...held, pauseMs });
      const session = model.session({ maxTokens: 128 });
      const logits = (await session.prefill([PROMPT])).logits(0).slice();
      session.close();
      await model.close();
      const apart = first ? logits.reduce((n, v, i) => n + (Object.is(v, first![i]) ? 0 : 1), 0) : 0;
      first ??= logits;
      rows.push(
        weights === folder
          ? { model: NAME, what: "load", ms: loadMs, gb_per_s: bytes / loadMs / 1e6, asked_gb_per_s: 20, apart, ok: apart === 0 }
          : { model: NAME, what: "made on the card", ms: loadMs, apart, ok: apart === 0 },
      );
    }
    return rows;
  } finally {
    for (const f of [folder, configs]) rmSync(f, { recursive: true, force: true });
  }
}
