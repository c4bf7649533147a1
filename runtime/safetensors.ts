// Reads safetensors checkpoints: one file, or shards (shards.ts).
// Guarantees: every header is checked before any data is read, and data goes by positional reads straight into the caller's
// buffer. Refuses anything else with a diagnostic.
import type { FileHandle } from "node:fs/promises";
import { basename } from "node:path";
import * as diagnostics from "./diagnostics.ts";
import { identityOf, openRegular } from "./files.ts";
import { addExperts } from "./fused-experts.ts";
import type { TensorInfo } from "./safetensors-header.ts";
import { dtypeBytes, readHeader } from "./safetensors-header.ts";
import { shardsOf, type Shards } from "./shards.ts";

export type { TensorInfo } from "./safetensors-header.ts";

/** Bytes of one read call: large enough for bandwidth, small enough to keep several in flight. */
const READ_BYTES = 16 << 20;

/** A file of a checkpoint, and what it was when it was opened. */
interface OpenFile {
  path: string;
  handle: FileHandle;
  identity: string;
}

/** An open checkpoint: names, shapes and places of all tensors, and reads into buffers. Close it when done. */
export class Checkpoint {
  readonly where: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Shards that belong to it and are not there, and tensors the index places in them. */
  readonly absent: Pick<Shards, "absent" | "placed">;
  private readonly files: OpenFile[];

  constructor(where: string, tensors: Map<string, TensorInfo>, files: OpenFile[], absent: Pick<Shards, "absent" | "placed">) {
    this.where = where;
    this.tensors = tensors;
    this.files = files;
    this.absent = absent;
  }

  /** Opens a folder with a checkpoint, an index, or one .safetensors file, and checks every header. */
  static async open(where: string): Promise<Checkpoint> {
    const shards = await shardsOf(where);
    const tensors = new Map<string, TensorInfo>();
    const files: OpenFile[] = [];
    const refused = (e: Error, path: string): Error =>
      shards.index
        ? diagnostics.brokenIndex({ file: shards.index, why: `it names ${basename(path)}: ${e.message}` })
        : diagnostics.noCheckpoint({ where, why: e.message });
    try {
      for (const path of shards.files) {
        const handle = await openRegular(path).catch((e: NodeJS.ErrnoException) =>
          Promise.reject(e.code === undefined ? diagnostics.brokenSafetensors({ file: path, why: e.message }) : refused(e, path)),
        );
        files.push({ path, handle, identity: identityOf(await handle.stat()) });
        for (const t of await readHeader(path, handle, files.length - 1)) {
          const other = tensors.get(t.name);
          if (other)
            throw diagnostics.brokenIndex({
              file: shards.index ?? where,
              why: `${t.name} is in two shards, ${basename(files[other.shard].path)} and ${basename(path)}`,
            });
          tensors.set(t.name, t);
        }
      }
    } catch (e) {
      await Promise.all(files.map((f) => f.handle.close()));
      throw e;
    }
    addExperts(tensors);
    return new Checkpoint(where, tensors, files, shards);
  }

  /** The file a tensor is in. */
  path(t: TensorInfo): string {
    return this.files[t.shard].path;
  }

  /** Which file that was, for readers that open it by its name again (files.ts). */
  identity(t: TensorInfo): string {
    return this.files[t.shard].identity;
  }

  /** Throws DSC5013 where a file was written to since its header was read. */
  async unchanged(): Promise<void> {
    for (const { path, handle, identity } of this.files)
      if (identityOf(await handle.stat()) !== identity)
        throw diagnostics.shortRead({ file: path, tensor: "its last tensor", why: "it was written to while it was read" });
  }

  /** Reads `target.length` bytes of a tensor from byte `from` on, into `target` (which may be shared memory). */
  async read(t: TensorInfo, target: Uint8Array, from = 0): Promise<void> {
    const { path, handle } = this.files[t.shard];
    let next = 0;
    // Two reads in flight per tensor keep the disk and the copy busy; callers overlap tensors on top.
    const lane = async (): Promise<void> => {
      while (next < target.length) {
        const at = next;
        next = Math.min(target.length, at + READ_BYTES);
        for (let done = at, end = next; done < end;) {
          const { bytesRead } = await handle.read(target, done, end - done, t.begin + from + done);
          if (bytesRead === 0) throw diagnostics.shortRead({ file: path, tensor: t.name });
          done += bytesRead;
        }
      }
    };
    await Promise.all([lane(), lane()]);
  }

  /** The bytes of a tensor in a buffer of its own. */
  async bytes(name: string): Promise<Uint8Array> {
    const t = this.tensors.get(name);
    if (!t) throw diagnostics.missingTensors(this, [name]);
    const out = new Uint8Array(t.end - t.begin);
    await this.read(t, out);
    return out;
  }

  /** A small tensor as f64 numbers; for tests, summaries and comparisons. Integers past 2^53 lose bits. */
  async numbers(name: string): Promise<Float64Array> {
    const raw = await this.bytes(name);
    return toNumbers(raw, this.tensors.get(name)?.dtype ?? "");
  }

  async close(): Promise<void> {
    await Promise.all(this.files.map((f) => f.handle.close()));
  }
}

/** Elements of raw little-endian bytes as f64. F8 codes are given as codes; their value needs a scale. */
export function toNumbers(raw: Uint8Array, dtype: string): Float64Array {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const get: Record<string, (i: number) => number> = {
    F32: (i) => view.getFloat32(4 * i, true),
    F64: (i) => view.getFloat64(8 * i, true),
    F16: (i) => f16(view.getUint16(2 * i, true)),
    BF16: (i) => bf16(view.getUint16(2 * i, true)),
    I64: (i) => Number(view.getBigInt64(8 * i, true)),
    I32: (i) => view.getInt32(4 * i, true),
    U64: (i) => Number(view.getBigUint64(8 * i, true)),
    U32: (i) => view.getUint32(4 * i, true),
    I16: (i) => view.getInt16(2 * i, true),
    U16: (i) => view.getUint16(2 * i, true),
    I8: (i) => view.getInt8(i),
  };
  const at = get[dtype] ?? ((i: number) => raw[i]);
  return Float64Array.from({ length: raw.length / (dtypeBytes[dtype] ?? 1) }, (_, i) => at(i));
}

const word = new DataView(new ArrayBuffer(4));

function bf16(bits: number): number {
  word.setUint32(0, bits << 16);
  return word.getFloat32(0);
}

/** Value of IEEE half-precision bits; exact in f32. */
export function f16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const e = (bits >> 10) & 31;
  const m = bits & 1023;
  if (e === 31) return m ? NaN : sign * Infinity;
  return e === 0 ? sign * m * 2 ** -24 : sign * (1024 + m) * 2 ** (e - 25);
}
