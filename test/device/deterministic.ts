// --deterministic on the card: a sequence alone, among three and among 64 has the same bits, in the printed model and in a dense and a
// mixture layer of R1 at full width; then what it costs.
import path from "node:path";
import type { Model } from "../../runtime/model.ts";
import type { Row } from "./device.ts";
import { decodeMs, median, open, printed, root } from "./models.ts";

const r1 = path.join(root, "examples/deepseek-r1/config.json");
const models = {
  printed: [printed, {}],
  "R1, 1 + 1 layers": [r1, { layers: 2, set: ["num_nextn_predict_layers=0", "first_k_dense_replace=1"] }],
} as const;

const prompt = (b: number): number[] =>
  Array.from({ length: 20 + ((b * 37) % 90) }, (_, i) => (i * 7919 + b * 104729 + 13) % 1000);

/** Bits of the logits of one sequence, in place `at` of a batch, after its prompt and after each of some steps. */
async function play(model: Model, batch: number, at: number): Promise<Uint32Array> {
  const session = model.session({ maxTokens: 256, sequences: batch });
  const prompts = Array.from({ length: batch }, (_, b) => prompt(b === at ? 7 : b + 10));
  let result = await session.prefill(prompts);
  const out = [...new Uint32Array(result.logits(at).slice().buffer)];
  for (let i = 0; i < 5; i++) {
    result = await session.decode(prompts.map((_, b) => (b * 3 + i * 11) % 1000).with(at, 5 + i));
    for (const bits of new Uint32Array(result.logits(at).slice().buffer)) out.push(bits);
  }
  session.close();
  return Uint32Array.from(out);
}

export async function check(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [name, [config, options]] of Object.entries(models)) {
    const { model } = await open(config, "synthetic:0", {
      ...options,
      set: [...("set" in options ? options.set : [])],
      deterministic: true,
    });
    const alone = await play(model, 1, 0);
    for (const [batch, at] of [
      [1, 0],
      [2, 1],
      [3, 1],
      [17, 16],
      [64, 40],
    ]) {
      const other = await play(model, batch, at);
      const apart = other.reduce((n, bits, i) => n + (bits === alone[i] ? 0 : 1), 0);
      rows.push({ model: name, batch, at, logits: alone.length, bits_apart: apart, ok: apart === 0 });
    }
    await model.close();
  }
  return rows;
}

export async function measure(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const deterministic of [false, true]) {
    const { model } = await open(printed, "synthetic:0", { deterministic });
    for (const batch of [1, 16, 64]) {
      const session = model.session({ maxTokens: 1280, sequences: batch });
      await decodeMs(session, 512, 4, batch);
      rows.push({ model: "printed", deterministic, batch, context: 512, graph_us: median(model.device.replayTimes(30)) });
      session.close();
    }
    await model.close();
  }
  return rows;
}
