// Random damage to checkpoints: headers, their length, data cut short or too long, indices of shards. What is not refused is
// loaded whole, as `dsc run` loads it.
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { writeArtifact } from "../../compiler/artifact/write.ts";
import { compileSpec, defaults } from "../../compiler/compile.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { tensorsOf } from "../../compiler/frontend/weights.ts";
import { shrink } from "../../compiler/analysis/shrink.ts";
import { load } from "../../runtime/index.ts";
import { writeSynthetic } from "../../runtime/synthetic-checkpoint.ts";
import { root } from "./configs.ts";
import { mutateBytes, mutateJson, type Json } from "./mutate.ts";
import { Random } from "./random.ts";

interface Base {
  artifact: string;
  /** File name to bytes; one shard, or several and their index. */
  files: Map<string, Uint8Array>;
}

export class Checkpoints {
  readonly #folder = mkdtempSync(path.join(tmpdir(), "dsc-fuzz-"));
  readonly #bases: Base[] = [];

  /** FP8 with its scales, bf16, and bf16 in shards. */
  static async make(): Promise<Checkpoints> {
    const c = new Checkpoints();
    await c.#add("fp8", "examples/deepseek-r1", false);
    await c.#add("bf16", "test/configs/DeepSeek-V2.json", false);
    await c.#add("shards", "test/configs/Moonlight-16B-A3B-Instruct.json", true);
    return c;
  }

  async #add(name: string, src: string, shards: boolean): Promise<void> {
    const small = shrink(loadSpec(path.join(root, src)).spec);
    const spec = {
      ...small,
      hidden: 48,
      intermediate: 64,
      qLora: small.qLora && 36,
      layers: [...new Set(small.layers)],
      mtp: 0,
      moe: small.moe && { ...small.moe, experts: 4 * small.moe.groups, intermediate: 24 },
    };
    const artifact = path.join(this.#folder, name);
    writeArtifact(compileSpec(spec, defaults), artifact);
    const dtypes = { bf16: "BF16", f32: "F32", e4m3: "F8_E4M3" } as const;
    const tensors = [...tensorsOf(spec)].flatMap((t) => [
      { name: t.name, shape: [...t.shape], dtype: dtypes[t.dtype] },
      ...(t.scaleName ? [{ name: t.scaleName, shape: [...t.scaleShape!], dtype: "F32" as const }] : []),
    ]);
    const folder = path.join(this.#folder, `${name}-weights`);
    mkdirSync(folder);
    await writeSynthetic(folder, tensors, 0, shards ? { shardBytes: 20_000 } : {});
    this.#bases.push({
      artifact,
      files: new Map(readdirSync(folder).map((f) => [f, new Uint8Array(readFileSync(path.join(folder, f)))])),
    });
  }

  /** What a seed makes of one of the checkpoints: one file is damaged. */
  #damaged(seed: number): { base: Base; file: string; data: Uint8Array } {
    const r = new Random(seed);
    const base = r.one(this.#bases);
    const file = r.one([...base.files.keys()]);
    const data = base.files.get(file)!;
    return { base, file, data: file.endsWith(".json") ? damageIndex(r, data) : damage(r, data) };
  }

  async run(seed: number): Promise<void> {
    const { base, file, data } = this.#damaged(seed);
    const folder = path.join(this.#folder, "case");
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    for (const [name, whole] of base.files) writeFileSync(path.join(folder, name), name === file ? data : whole);
    const model = await load(base.artifact, { weights: folder, threads: 1 });
    await model.close();
  }

  show(seed: number): string {
    const { base, file, data } = this.#damaged(seed);
    return `${path.basename(base.artifact)}/${file}, ${data.length} bytes: ${new TextDecoder().decode(data.subarray(0, 1000))}`;
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function damageIndex(r: Random, data: Uint8Array): Uint8Array {
  if (r.chance(0.3)) return mutateBytes(r, data);
  return new TextEncoder().encode(JSON.stringify(mutateJson(r, JSON.parse(new TextDecoder().decode(data)) as Json)));
}

/** 8 bytes of length, the header, the data. */
function damage(r: Random, file: Uint8Array): Uint8Array {
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const [header, data] = [file.subarray(8, 8 + length), file.subarray(8 + length)];
  const kind = r.below(6);
  if (kind === 0) return mutateBytes(r, file);
  if (kind === 1) return file.slice(0, r.one([0, 1, 7, 8, 9, 8 + length, 8 + length - 1, r.below(file.length), file.length - 1]));
  if (kind === 2) return join(BigInt(length), header, new Uint8Array([...data, ...data.subarray(0, r.one([1, 4, 1000]))]));
  if (kind === 3)
    return join(
      r.one([0n, 1n, BigInt(length) - 1n, BigInt(length) + 1n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n, 99_999_999n]),
      header,
      data,
    );
  if (kind === 4) return join(...foreign(r, header), data);
  // The header as JSON, its members changed: names, dtypes, shapes, offsets.
  const changed = mutateJson(r, JSON.parse(new TextDecoder().decode(header)) as Json, [
    "F32",
    "BF16",
    "F16",
    "F8_E4M3",
    "F8_E8M0",
    "I64",
    "BOOL",
    [1],
    [0],
    [2, 3, 4],
    [0, 0],
    [8, 4],
  ]);
  const text = new TextEncoder().encode(JSON.stringify(changed));
  return join(BigInt(text.length), text, data);
}

/** A sound header of another model: a tensor under another name, of another shape or dtype that takes as many bytes. */
function foreign(r: Random, header: Uint8Array): [bigint, Uint8Array] {
  const entries = Object.entries(
    JSON.parse(new TextDecoder().decode(header)) as Record<string, { dtype: string; shape: number[] }>,
  ).filter(([name]) => name !== "__metadata__");
  const at = r.below(entries.length);
  const [name, t] = entries[at];
  const alike: Record<string, string> = { BF16: "F16", F16: "BF16", F32: "I32", F8_E4M3: "U8" };
  entries[at] = r.one([
    [`${name}.old`, t],
    [name, { ...t, shape: [...t.shape].reverse() }],
    [name, { ...t, shape: [t.shape.reduce((a, b) => a * b, 1)] }],
    [name, { ...t, dtype: alike[t.dtype] ?? t.dtype }],
  ]);
  const text = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  return [BigInt(text.length), text];
}

function join(length: bigint, header: Uint8Array, data: Uint8Array): Uint8Array {
  const out = new Uint8Array(8 + header.length + data.length);
  new DataView(out.buffer).setBigUint64(0, BigInt.asUintN(64, length), true);
  out.set(header, 8);
  out.set(data, 8 + header.length);
  return out;
}
