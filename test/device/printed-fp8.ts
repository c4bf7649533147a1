// The printed model as an FP8 checkpoint, end to end: how far its logits lie from the reference's, and beside it how far the reference
// in f32 lies from itself in f64. e4m3 codes flip where a value lies near a boundary, and a flip moves every later value, so single
// logits say little; the median may be 0.10. The reference's own distance is 0.05 (docs/numerics.md). Needs a Python with torch
// (DSC_PYTHON) for the reference; without one the recorded logits of the last position are what there is.
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import type { Row } from "./device.ts";
import { median, open, printed, root } from "./models.ts";

const record = path.join(root, "test/oracle/reduced_seed.json");
const LIMIT = 0.1;

type Mode = "fp8" | "fp8ue8m0";
interface Oracle {
  input_ids: number[];
  modes: Record<Mode, { last_logits: number[]; greedy_ids: number[] }>;
}
/** Logits after the prompt, then after every id. */
type Answers = ArrayLike<number>[];

const quantised = (mode: Mode): string =>
  `quantization_config=${JSON.stringify({ quant_method: "fp8", fmt: "e4m3", activation_scheme: "dynamic", weight_block_size: [128, 128], ...(mode === "fp8ue8m0" ? { scale_fmt: "ue8m0" } : {}) })}`;

/** The reference on this card, or why there is none. */
async function reference(): Promise<{ modes: Record<Mode, Record<"f64" | "f32", Answers>> } | string> {
  const work = mkdtempSync(path.join(tmpdir(), "dsc-fp8-"));
  try {
    const out = path.join(work, "answers.json");
    await promisify(execFile)(process.env.DSC_PYTHON ?? "python3", [
      path.join(root, "test/device/printed_fp8_reference.py"),
      record,
      out,
    ]);
    return JSON.parse(readFileSync(out, "utf8")) as { modes: Record<Mode, Record<"f64" | "f32", Answers>> };
  } catch (e) {
    return (e as Error).message.trim().split("\n").at(-1)!;
  } finally {
    rmSync(work, { recursive: true });
  }
}

/** Median and largest distance over all logits of some answers. */
function distance(a: Answers, b: Answers): { median: number; largest: number } {
  const apart = a.flatMap((row, i) => Array.from(row, (v, j) => Math.abs(v - b[i][j])));
  return { median: median(apart), largest: apart.reduce((most, v) => Math.max(most, v), 0) };
}

const firstMost = (row: ArrayLike<number>): number => Array.from(row).reduce((best, v, i, all) => (v > all[best] ? i : best), 0);

async function answers(
  mode: Mode,
  activations: "bf16" | "f32",
  natives: "all" | "none",
  { input_ids, modes }: Oracle,
): Promise<Answers> {
  // The reference expands its latents in every step.
  const { model } = await open(printed, "synthetic:0", { activations, natives, attention: "expanded", set: [quantised(mode)] });
  const session = model.session({ maxTokens: 128, sequences: 1 });
  const out = [(await session.prefill([input_ids])).logits(0).slice()];
  for (const id of modes[mode].greedy_ids.slice(0, -1)) out.push((await session.decode([id])).logits(0).slice());
  session.close();
  await model.close();
  return out;
}

export async function check(): Promise<Row[]> {
  const oracle = JSON.parse(readFileSync(record, "utf8")) as Oracle;
  const given = await reference();
  const rows: Row[] = [];
  for (const mode of ["fp8", "fp8ue8m0"] as const) {
    const recorded = [oracle.modes[mode].last_logits];
    const best = oracle.modes[mode].greedy_ids;
    const live = typeof given === "string" ? undefined : given.modes[mode];
    if (live) {
      const [own, other] = [distance(live.f32, live.f64), distance(recorded, live.f64)];
      rows.push({
        model: "printed",
        mode,
        what: "reference in f32 beside f64",
        median: own.median,
        largest: own.largest,
        recorded_median: other.median,
        ids_equal: live.f32.filter((r, i) => firstMost(r) === firstMost(live.f64[i])).length,
      });
    } else rows.push({ model: "printed", mode, what: "no reference on this machine", why: given as string });
    for (const [activations, natives] of [
      ["bf16", "all"],
      ["bf16", "none"],
      ["f32", "all"],
    ] as const) {
      const got = await answers(mode, activations, natives, oracle);
      const last = distance(recorded, got);
      const all = live ? distance(live.f64, got) : last;
      rows.push({
        model: "printed",
        mode,
        what: "dsc beside the reference",
        activations,
        natives,
        median: all.median,
        largest: all.largest,
        last_median: last.median,
        last_largest: last.largest,
        ids_equal: got.filter((r, i) => firstMost(r) === best[i]).length,
        of: best.length,
        asked: LIMIT,
        ok: all.median <= LIMIT && last.median <= LIMIT,
      });
    }
  }
  return rows;
}
