// Writes safetensors: a small file at once (--save), or a whole checkpoint tensor by tensor through one bounded buffer, sharded
// with an index above a size. Output is deterministic: tensors in the order given, JSON keys in a fixed order.
// Files are written under a temporary name and renamed when whole, the index last.
import type { FileHandle } from "node:fs/promises";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { openRegular, partOf, writeWhole } from "./files.ts";
import { dtypeBytes } from "./safetensors-header.ts";

/** A tensor to write: dtype in safetensors' words ("F32", "I64", "BF16", "F8_E4M3"), shape in elements. */
export interface TensorSpec {
  name: string;
  shape: readonly number[];
  dtype: string;
}

/** Gives the bytes of elements [start, start + count) of a tensor; the answer is used before the next call. */
export type TensorSource = (t: TensorSpec, start: number, count: number) => Uint8Array | Promise<Uint8Array>;

/** Elements produced per call of a source: 8 MiB of f32. */
const CHUNK = 1 << 21;

const elements = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
const bytesOf = (t: TensorSpec): number => elements(t.shape) * dtypeBytes[t.dtype];

/** Writes one file from typed arrays, e.g. the values `dsc run --save` keeps. */
export async function saveTensors(
  path: string,
  tensors: readonly (TensorSpec & { data: ArrayBufferView })[],
  writer?: string,
): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const data = new Map(tensors.map((t) => [t.name, t.data]));
  await writeFileOf(
    path,
    tensors,
    (t, start, count) => {
      const d = data.get(t.name) as ArrayBufferView;
      const width = dtypeBytes[t.dtype];
      return new Uint8Array(d.buffer, d.byteOffset + start * width, count * width);
    },
    writer,
  );
}

/**
 * Writes a checkpoint into a folder: model.safetensors, or shards of at most `shardBytes` (default 4 GiB) with an index.
 * Memory stays at one chunk whatever the size of the model. Returns the names of the files written.
 */
export async function writeCheckpoint(
  folder: string,
  tensors: readonly TensorSpec[],
  source: TensorSource,
  options: { shardBytes?: number; writer?: string } = {},
): Promise<string[]> {
  const most = options.shardBytes ?? 4 * 2 ** 30;
  const shards: TensorSpec[][] = [[]];
  let size = 0;
  for (const t of tensors) {
    if (size > 0 && size + bytesOf(t) > most) {
      shards.push([]);
      size = 0;
    }
    shards[shards.length - 1].push(t);
    size += bytesOf(t);
  }
  await mkdir(folder, { recursive: true });
  if (shards.length === 1) {
    await writeFileOf(join(folder, "model.safetensors"), shards[0], source, options.writer);
    return ["model.safetensors"];
  }
  const pad = (n: number): string => String(n).padStart(5, "0");
  const names = shards.map((_, i) => `model-${pad(i + 1)}-of-${pad(shards.length)}.safetensors`);
  for (const [i, shard] of shards.entries()) await writeFileOf(join(folder, names[i]), shard, source, options.writer);
  const map = shards
    .flatMap((shard, i) => shard.map((t) => [t.name, names[i]] as const))
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  const index = {
    metadata: {
      total_size: tensors.reduce((a, t) => a + bytesOf(t), 0),
      ...(options.writer === undefined ? {} : { written_by: options.writer }),
    },
    weight_map: Object.fromEntries(map),
  };
  const path = join(folder, "model.safetensors.index.json");
  writeWhole(path, JSON.stringify(index, null, 2) + "\n");
  return [...names, "model.safetensors.index.json"];
}

/** Writes under another name first; a write that fails leaves nothing. */
async function writeFileOf(path: string, tensors: readonly TensorSpec[], source: TensorSource, writer?: string): Promise<void> {
  const part = partOf(path);
  const handle = await open(part, "wx");
  try {
    try {
      await writeAll(handle, headerOf(tensors, writer));
      for (const t of tensors) {
        const count = elements(t.shape);
        for (let start = 0; start < count; start += CHUNK)
          await writeAll(handle, await source(t, start, Math.min(CHUNK, count - start)));
      }
    } finally {
      await handle.close();
    }
    await rename(part, path);
  } catch (e) {
    await rm(part, { force: true });
    throw e;
  }
}

/** Largest header looked at for its writer: that of R1's largest shard is a few hundred KiB. */
const MOST_HEADER = 16 << 20;

/** Who wrote a safetensors file, where it says so: what was given as `writer`. */
export async function writerOf(path: string): Promise<string | undefined> {
  const handle = await openRegular(path);
  try {
    const prefix = Buffer.alloc(8);
    const { bytesRead } = await handle.read(prefix, 0, 8, 0);
    const length = bytesRead === 8 ? Number(prefix.readBigUInt64LE()) : Infinity;
    if (length > MOST_HEADER) return undefined;
    const header = Buffer.alloc(length);
    await handle.read(header, 0, length, 8);
    const metadata = (JSON.parse(header.toString("utf8")) as { __metadata__?: { written_by?: unknown } } | null)?.__metadata__;
    return typeof metadata?.written_by === "string" ? metadata.written_by : undefined;
  } catch {
    return undefined;
  } finally {
    await handle.close();
  }
}

function headerOf(tensors: readonly TensorSpec[], writer?: string): Uint8Array {
  const header: Record<string, unknown> = {
    __metadata__: { format: "pt", ...(writer === undefined ? {} : { written_by: writer }) },
  };
  let at = 0;
  for (const t of tensors) {
    header[t.name] = { dtype: t.dtype, shape: t.shape, data_offsets: [at, (at += bytesOf(t))] };
  }
  // The data starts at a multiple of 8; the format allows trailing spaces in the header.
  const json = new TextEncoder().encode(JSON.stringify(header));
  const out = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(out.buffer).setBigUint64(0, BigInt(out.length - 8), true);
  out.set(json, 8);
  return out;
}

async function writeAll(handle: FileHandle, data: Uint8Array): Promise<void> {
  for (let done = 0; done < data.length;) done += (await handle.write(data, done, data.length - done)).bytesWritten;
}
