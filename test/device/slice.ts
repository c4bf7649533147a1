// Three dense and four mixture layers of DeepSeek-R1 at full width, full vocabulary, FP8 synthetic weights made on the card: compiles,
// loads and generates, batch 1 to 64, and where the time of a step goes.
import path from "node:path";
import type { Row } from "./device.ts";
import { decodeMs, median, open, root, table } from "./models.ts";

export const r1 = path.join(root, "examples/deepseek-r1/config.json");
export const sliceOptions = { layers: 7, set: ["num_nextn_predict_layers=0"] };

/** Batch and context of each measured point; DSC_SLICE="1x64,16x1024" picks others. */
const points = (process.env.DSC_SLICE ?? "1x1024,1x8192,8x1024,64x1024").split(",").map((w) => w.split("x").map(Number));

export async function measure(): Promise<Row[]> {
  const { model, compileMs, kernelsMs, loadMs } = await open(r1, "synthetic:0", sliceOptions);
  const rows: Row[] = [{ model: "slice", what: "start", compile_ms: Math.round(compileMs), kernels_ms: Math.round(kernelsMs), weights_ms: Math.round(loadMs) }];
  for (const [batch, context] of points) {
    try {
      const session = model.session({ maxTokens: context + 64, sequences: batch });
      const from = performance.now();
      const ms = await decodeMs(session, context, 8, batch);
      const all = performance.now() - from;
      const gpu = model.device.replayTimes(10);
      session.close();
      rows.push({ model: "slice", what: "decode", context, batch, ms_per_step: median(ms), graph_us: median(gpu), prefill_and_all_ms: all, ...(batch === 1 && context === 1024 ? { floor_ms: 1.31, asked_ms: 1.77 } : {}) });
    } catch (e) {
      rows.push({ model: "slice", what: "decode", context, batch, ok: false, error: (e as Error).message });
    }
  }
  await model.close();
  rows.push(...(await table(r1, 1024, sliceOptions, 3)));
  return rows;
}
