// Three dense and four mixture layers of DeepSeek-R1 at full width, full vocabulary, FP8 synthetic weights made on the card: compiles,
// loads and generates, batch 1 to 64 and contexts to 8192, and where the time of a step goes.
import path from "node:path";
import type { Model } from "../../runtime/model.ts";
import type { Session } from "../../runtime/session.ts";
import type { Row } from "./device.ts";
import { aheadMs, decodeMs, median, open, root, table } from "./models.ts";

export const r1 = path.join(root, "examples/deepseek-r1/config.json");
export const sliceOptions = { layers: 7, set: ["num_nextn_predict_layers=0"] };

const pointsOf = (words: string): number[][] => words.split(",").map((w) => w.split("x").map(Number));

/** Batch and context of each measured point; DSC_SLICE="1x64,16x1024" picks others. */
const points = pointsOf(process.env.DSC_SLICE ?? "1x1024,1x8192,8x1024,64x1024");
/** Of each checked point. The last holds 524,288 rows: 4.2 GB of cache, and some 10 s of prefill. */
const checked = pointsOf(process.env.DSC_SLICE_CHECK ?? "1x8192,2x4096,4x2048,8x1024,16x512,32x256,64x1024,64x8192");
/** Ids that each sequence generates. */
const STEPS = 6;
/** Up to so many rows a second session repeats all; above, only the steps are repeated, on the rows there are. */
const REPEATED = 16384;

const prompt = (b: number, n: number): number[] => Array.from({ length: n }, (_, i) => (i * 7919 + b * 104729 + 13) % 129280);

/** Greedy steps from these ids: every id, and the logits of the last step. */
async function step(session: Session, first: readonly number[]): Promise<{ ids: number[][]; logits: Float32Array[] }> {
  const ids = [[...first]];
  let logits: Float32Array[] = [];
  for (let i = 0; i < STEPS; i++) {
    const result = await session.decode(ids[i]);
    ids.push(first.map((_, b) => result.next(b)));
    if (i === STEPS - 1) logits = first.map((_, b) => result.logits(b).slice());
  }
  return { ids, logits };
}

/** Prompts one by one, for the values between kernels of all at once would not fit; the id after each. */
async function begin(model: Model, batch: number, context: number): Promise<{ session: Session; first: number[] }> {
  const session = model.session({ maxTokens: context + STEPS, sequences: batch });
  const first: number[] = [];
  for (let b = 0; b < batch; b++) first.push((await session.add(prompt(b, context))).result.next(b));
  return { session, first };
}

/** A batch generates, and again: the same ids and bits, in other pages of the cache. */
async function point(model: Model, batch: number, context: number): Promise<Row> {
  const from = performance.now();
  const { session, first } = await begin(model, batch, context);
  const prefillMs = performance.now() - from;
  const once = await step(session, first);
  const { bytes } = session.pages;
  const whole = batch * context <= REPEATED;
  for (let b = 0; b < batch; b++) session.truncate(b, context);
  if (whole) session.close();
  const second = whole ? await begin(model, batch, context) : { session, first };
  const again = await step(second.session, second.first);
  second.session.close();
  const finite = once.logits.every((row) => row.every((v) => Number.isFinite(v)));
  const apart = once.logits.reduce(
    (n, row, b) => n + row.reduce((m, v, i) => m + (Object.is(v, again.logits[b][i]) ? 0 : 1), 0),
    0,
  );
  const same = JSON.stringify(once.ids) === JSON.stringify(again.ids);
  return {
    model: "slice",
    what: whole ? "generates, twice" : "generates, the steps twice",
    batch,
    context,
    steps: STEPS,
    cache_gb: bytes / 1e9,
    prefill_ms: Math.round(prefillMs),
    different_ids: new Set(once.ids.flat()).size,
    finite,
    ids_equal: same,
    bits_apart: apart,
    ok: finite && same && apart === 0,
  };
}

export async function check(): Promise<Row[]> {
  const { model } = await open(r1, "synthetic:0", sliceOptions);
  const rows: Row[] = [];
  for (const [batch, context] of checked)
    rows.push(
      await point(model, batch, context).catch((e: Error): Row => ({
        model: "slice",
        batch,
        context,
        ok: false,
        error: e.message,
      })),
    );
  await model.close();
  return rows;
}

export async function measure(): Promise<Row[]> {
  const { model, compileMs, kernelsMs, loadMs } = await open(r1, "synthetic:0", sliceOptions);
  const rows: Row[] = [
    {
      model: "slice",
      what: "start",
      compile_ms: Math.round(compileMs),
      kernels_ms: Math.round(kernelsMs),
      weights_ms: Math.round(loadMs),
    },
  ];
  for (const [batch, context] of points) {
    try {
      const session = model.session({ maxTokens: context + 64, sequences: batch });
      const from = performance.now();
      const ms = await decodeMs(session, context, 24, batch);
      const all = performance.now() - from;
      const gpu = model.device.replayTimes(10);
      session.close();
      rows.push({
        model: "slice",
        what: "decode",
        context,
        batch,
        ms_per_step: median(ms),
        graph_us: median(gpu),
        prefill_and_all_ms: all,
      });
      if (batch === 1)
        rows.push({
          model: "slice",
          what: "decode, steps begun ahead",
          context,
          batch,
          ms_per_token: await aheadMs(model, context, 60),
          ...(context === 1024 ? { floor_ms: 1.31, asked_ms: 1.77 } : {}),
        });
    } catch (e) {
      rows.push({ model: "slice", what: "decode", context, batch, ok: false, error: (e as Error).message });
    }
  }
  await model.close();
  rows.push(...(await table(r1, 1024, sliceOptions, 3)));
  return rows;
}
