// cuBLASLt's block-scaled product, timed through torch beside ours: the same shapes, card and minutes. Where Python has no torch, or
// torch no GPU, there is nothing to compare with.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

// A bundle has no Python: the checkout does, which DSC_ROOT names.
const SCRIPT = path.resolve(
  process.env.DSC_ROOT ?? path.resolve(import.meta.dirname, "../../.."),
  "test/device/block_gemm_torch.py",
);
const PATIENCE_MS = 25_000;

/** Microseconds by "n k m", of R1's matrices or of others; empty where they cannot be had. */
export function cublaslt(of?: {
  shapes: readonly (readonly [number, number])[];
  rows: readonly number[];
}): ReadonlyMap<string, number> {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-torch-"));
  try {
    const out = path.join(folder, "out.json");
    spawnSync(process.env.DSC_PYTHON ?? "python3", [SCRIPT, out, ...(of ? [JSON.stringify(of)] : [])], {
      stdio: "ignore",
      timeout: PATIENCE_MS,
    });
    const { rows } = JSON.parse(readFileSync(out, "utf8")) as { rows: { n: number; k: number; m: number; us?: number }[] };
    return new Map(rows.flatMap((r) => (r.us === undefined ? [] : [[`${r.n} ${r.k} ${r.m}`, r.us] as const])));
  } catch {
    return new Map();
  } finally {
    rmSync(folder, { recursive: true });
  }
}
