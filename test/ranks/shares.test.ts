// What ranks read, put together, is the checkpoint, bit for bit: codes and block scales, rows, columns, whole experts, and blocks that are
// ragged along the axis that is not divided. And tiny-r1 over ranks says what it says on one.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { largest } from "../../compiler/analysis/verify.ts";
import { writeArtifact } from "../../compiler/artifact/write.ts";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import type { WeightPlan } from "../../ir/artifact.ts";
import { parseMesh, type Mesh, type MeshAxis } from "../../ir/mesh.ts";
import { load } from "../../runtime/index.ts";
import { CudaDevice } from "../../runtime/devices/cuda/device.ts";
import type { RankMemory } from "../../runtime/devices/cuda/rank-memory.ts";
import { Model } from "../../runtime/model.ts";
import { Checkpoint } from "../../runtime/safetensors.ts";
import { dsc } from "../commands/dsc.ts";
import { lacks } from "../conditions.ts";
import { r1, withKeys } from "../frontend/configs.ts";
import { buildDriver, buildKernels } from "../kernels/host-driver.ts";
import { answersOf, type Answers } from "./answers.ts";

const folder = mkdtempSync(path.join(tmpdir(), "dsc-shares-"));
afterAll(() => rmSync(folder, { recursive: true }));
const tiny = path.resolve(import.meta.dirname, "../../examples/tiny-r1");

async function opened(src: string, mesh: Mesh | undefined, passes = "all"): Promise<Model> {
  const out = path.join(folder, `${path.basename(src)}-${mesh?.tp}-${mesh?.ep}`);
  writeArtifact(compile(src, { ...defaults, passes, stored: await storedIn(src), ...(mesh ? { mesh } : {}) }), out);
  return load(out, { weights: src, threads: 2 });
}

test("tiny-r1 over 2 and 4 ranks and 2 groups of experts: ids of one rank, logits to 2e-4", async () => {
  const said = async (mesh: Mesh | undefined): Promise<Answers> => {
    await using model = await opened(tiny, mesh);
    return await answersOf(model);
  };
  const one = await said(undefined);
  for (const words of ["tp=2", "tp=4", "ep=2"]) {
    const many = await said(parseMesh(words));
    expect(many.ids, words).toEqual(one.ids);
    for (const [i, row] of many.logits.entries())
      expect(largest(Float64Array.from(row), Float64Array.from(one.logits[i])), `${words}, step ${i}`).toBeLessThan(2e-4);
  }
});

/** FP8 with whole blocks for two ranks, and ragged ones along every axis that is not divided: hidden 160, q_lora 136, kv_lora 72. */
const fp8 = withKeys(r1, {
  hidden_size: 160,
  num_hidden_layers: 2,
  first_k_dense_replace: 1,
  num_nextn_predict_layers: 1,
  num_attention_heads: 8,
  num_key_value_heads: 8,
  q_lora_rank: 136,
  kv_lora_rank: 72,
  qk_nope_head_dim: 32,
  qk_rope_head_dim: 32,
  v_head_dim: 32,
  intermediate_size: 256,
  moe_intermediate_size: 256,
  n_routed_experts: 4,
  n_group: 2,
  topk_group: 1,
  num_experts_per_tok: 2,
  vocab_size: 132,
});

/** Places in a tensor: which part of how many a rank has along an axis of the mesh. */
const partOf = ({ tp, ep }: Mesh, rank: number, axis: MeshAxis | undefined): number =>
  axis === undefined ? 0 : axis === "tp" ? rank : axis === "ep" ? Math.floor(rank / (tp / ep)) : rank % (tp / ep);

const elementBytes = { f32: 4, bf16: 2, "e4m3/128x128": 1 } as const;

/** Writes what a rank has of every tensor where it lies in the tensor; counts the bytes written. */
function gather(
  model: Model,
  read: (rank: number, at: number, bytes: number) => Uint8Array,
  mesh: Mesh,
  whole: ReadonlyMap<string, Uint8Array>,
  shapes: Checkpoint["tensors"],
): Map<string, number> {
  const written = new Map<string, number>();
  for (const [symbol, plan] of Object.entries(model.manifest.weights)) {
    if (plan.source.kind !== "checkpoint") continue;
    for (const layer of plan.layers ?? [undefined])
      for (const rank of Array.from({ length: mesh.tp }, (_, r) => r))
        for (const part of partsOf(plan, layer, mesh, rank)) {
          const at = model.weights.address(symbol, part.of, layer);
          const bytes = read(rank, at + part.at, part.rows * part.row);
          const to = whole.get(part.tensor)!;
          const pitch = to.length / (shapes.get(part.tensor)!.shape.length > 1 ? shapes.get(part.tensor)!.shape[0] : 1);
          for (let r = 0; r < part.rows; r++) {
            const start = (part.firstRow + r) * pitch + part.firstByte;
            to.set(bytes.subarray(r * part.row, (r + 1) * part.row), start);
          }
          written.set(part.tensor, (written.get(part.tensor) ?? 0) + bytes.length);
        }
  }
  return written;
}

interface Part {
  tensor: string;
  of: "data" | "scales";
  /** Bytes from the beginning of the weight on the rank; of a row; rows. */
  at: number;
  row: number;
  rows: number;
  firstRow: number;
  firstByte: number;
}

function partsOf(plan: WeightPlan, layer: number | undefined, mesh: Mesh, rank: number): Part[] {
  if (plan.source.kind !== "checkpoint") return [];
  const [piece, ...others] = plan.source.pieces;
  expect(others).toEqual([]);
  const matrix = plan.shape.slice(piece.at.length);
  const [n, k] = matrix.length > 1 ? matrix : [1, matrix[0]];
  const count = piece.at.length ? plan.shape[0] : 1;
  const [rows, columns] = [partOf(mesh, rank, piece.share?.rows), partOf(mesh, rank, piece.share?.columns)];
  return Array.from({ length: count }, (_, e) => e).flatMap((e) => {
    const expert = partOf(mesh, rank, piece.share?.experts) * count + e;
    const name = (of: string): string => of.replace("{layer}", String(layer)).replace("{0}", String(expert));
    const bytes = elementBytes[plan.dtype];
    const part = (of: Part["of"], tensor: string, n: number, row: number): Part => {
      const at = e * n * row;
      return { tensor: name(tensor), of, at, row, rows: n, firstRow: rows * n, firstByte: columns * row };
    };
    const data = part("data", piece.tensor, n, k * bytes);
    return plan.dtype === "e4m3/128x128"
      ? [data, part("scales", piece.scales ?? `${piece.tensor}_scale_inv`, Math.ceil(n / 128), Math.ceil(k / 128) * 4)]
      : [data];
  });
}

const src = path.join(folder, "fp8");
beforeAll(async () => {
  writeFileSync(path.join(folder, "fp8.json"), JSON.stringify(fp8));
  await dsc("weights", path.join(folder, "fp8.json"), "--synthetic", "3", "-o", src);
});

/** What the ranks of a model have is the checkpoint: every rank has all of a tensor, or the ranks have it once together. */
async function expectTogether(model: Model, mesh: Mesh, read: Parameters<typeof gather>[1]): Promise<void> {
  const shared = Object.values(model.manifest.weights).flatMap((w) =>
    w.source.kind === "checkpoint" && w.dtype === "e4m3/128x128" && Object.keys(w.source.pieces[0].share ?? {}).length ? [w] : [],
  );
  // q_b, kv_b, o, gate, up, down of each kind of layer that has them.
  expect(shared.length).toBeGreaterThan(10);
  const checkpoint = await Checkpoint.open(src);
  try {
    const whole = new Map([...checkpoint.tensors].map(([name, t]) => [name, new Uint8Array(t.end - t.begin)]));
    const written = gather(model, read, mesh, whole, checkpoint.tensors);
    for (const [name, bytes] of whole) {
      const stored = await checkpoint.bytes(name);
      expect(Buffer.compare(bytes, stored), name).toBe(0);
      expect([1, mesh.tp], name).toContain(written.get(name)! / stored.length);
    }
  } finally {
    await checkpoint.close();
  }
}

test.each(["tp=2", "ep=2"])("FP8 over %s: the shares of all ranks are the checkpoint", async (words) => {
  const mesh = parseMesh(words);
  await using model = await opened(src, mesh, "none");
  await expectTogether(model, mesh, (rank, at, bytes) =>
    (model.device.ranks![rank] as unknown as Model["device"]).read(at, bytes),
  );
});

test.skipIf(lacks("g++"))(
  "the same on a GPU: columns of codes and of block scales, over the stand-in for the driver",
  async () => {
    const mesh = parseMesh("tp=2");
    const options = { ...defaults, target: "cuda", natives: "none", passes: "none", mesh } as const;
    const { manifest, files } = compile(src, { ...options, stored: await storedIn(src) });
    // Nothing is run: of the kernels those are there that loading needs.
    const bare = { ...manifest, kernels: {} };
    const [driver, built] = await Promise.all([buildDriver(folder), buildKernels(bare, files)]);
    const device = await CudaDevice.open(bare, built.files, { compile: built.compile, libraries: [driver] });
    await using model = await Model.open(bare, device, { weights: src });
    const { memory } = device as unknown as { memory: RankMemory };
    await expectTogether(model as unknown as Model, mesh, (rank, at, bytes) => device.read(memory.of(at, rank), bytes));
  },
);
