// One dense and one mixture layer of DeepSeek-R1 at full width (256 experts, FP8), ragged batches of several sizes through prefill,
// extend and decode, twice: for compute-sanitizer, and to see that two runs give the same bits. Says which kernels did not run.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Model } from "../../runtime/model.ts";
import { fillBulkWrites } from "./bulk-writes.ts";
import type { Row } from "./device.ts";
import { family, shortened, written } from "./family-configs.ts";
import { open, root } from "./models.ts";

const r1 = path.join(root, "examples/deepseek-r1/config.json");
/** Rows of the prompts: sums of few, some and many rows meet different kernels. DSC_SMALL="3,5;40" picks others, for slow tools. */
const batches = (process.env.DSC_SMALL ?? "3,70,1,200").split(";").map((b) => b.split(",").map(Number));

/** Keys of the config set otherwise, "hidden_size=512 ...", for the same tools; DSC_SMALL_MODEL is a model of the family in R1's place. */
const cut = process.env.DSC_SMALL_SET?.split(" ") ?? [];

const prompt = (b: number, n: number): number[] => Array.from({ length: n }, (_, i) => (i * 7919 + b * 104729 + 13) % 1000);

/** Logits after every call, one after the other, as bits. */
async function play(model: Model, rows: readonly number[]): Promise<Uint32Array> {
  const session = model.session({ maxTokens: Math.max(...rows) + 16, sequences: rows.length });
  const out: number[] = [];
  const note = (logits: Float32Array): void => {
    const bits = new Uint32Array(logits.slice().buffer);
    for (const b of bits) out.push(b);
  };
  let result = await session.prefill(rows.map((n, b) => prompt(b, n)));
  for (const b of rows.keys()) note(result.logits(b));
  if (rows.length > 1) result = await session.extend(rows.map((_, b) => (b % 2 ? prompt(b + 9, 3) : [])));
  for (const b of rows.keys()) if (b % 2) note(result.logits(b));
  for (let i = 0; i < 3; i++) {
    const ids = rows.map((_, b) => (i === 1 && b > 0 ? null : 5 + b));
    result = await session.decode(ids);
    for (const b of rows.keys()) if (ids[b] !== null) note(result.logits(b));
  }
  session.close();
  return Uint32Array.from(out);
}

/** All batches one after the other. */
async function playAll(model: Model): Promise<Uint32Array> {
  const parts: Uint32Array[] = [];
  for (const rows of batches) parts.push(await play(model, rows));
  return Uint32Array.from(parts.flatMap((p) => [...p]));
}

export async function check(): Promise<Row[]> {
  // The first mixture layer comes after the dense ones; one of those is enough.
  const set = ["num_nextn_predict_layers=0", "first_k_dense_replace=1", ...cut];
  const natives = process.env.DSC_NATIVES ?? "all";
  const other = process.env.DSC_SMALL_MODEL;
  const work = mkdtempSync(path.join(tmpdir(), "dsc-small-"));
  const src = other ? written(work, other, shortened(family[other](), 2)) : r1;
  const { model } = await open(src, "synthetic:0", {
    layers: 2,
    set: other ? cut : set,
    natives,
    ...(process.env.DSC_NO_PDL ? { edit: (source: string) => ({ source, pdl: false }) } : {}),
    ...(process.env.DSC_FILL ? { watch: (c, device) => fillBulkWrites(c, { activations: "bf16", natives }, device) } : {}),
  });
  rmSync(work, { recursive: true });
  const once = await playAll(model);
  const again = process.env.DSC_ONCE ? once : await playAll(model);
  const real = new Float32Array(once.buffer);
  const apart = once.reduce((n, b, i) => n + (b === again[i] ? 0 : 1), 0);
  const { launched } = model.device;
  const missing = Object.keys(model.manifest.kernels).filter((k) => !launched.has(k) && !k.startsWith("dequantize"));
  await model.close();
  // Where the first number that is none came: which batch's logits.
  const first = real.findIndex((v) => !Number.isFinite(v));
  return [
    {
      model: other ? `${other}, small` : "small",
      ...(first >= 0 ? { first_not_finite: first } : {}),
      logits: once.length,
      finite: real.every((v) => Number.isFinite(v)),
      bits_apart: apart,
      kernels: launched.size,
      not_run: missing.join(" "),
      ok: apart === 0 && real.every((v) => Number.isFinite(v)),
    },
  ];
}
