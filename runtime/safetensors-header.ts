// The header of a safetensors file, checked in full: JSON of known dtypes and whole shapes, offsets contiguous and inside the
// file, length = shape x dtype, sizes capped. Nothing of the data is read.
import type { FileHandle } from "node:fs/promises";
import * as diagnostics from "./diagnostics.ts";
import { HEAD_BYTES, kindOf } from "./file-kind.ts";
import { duplicateKey } from "./json-keys.ts";

/** Bytes of one element. */
export const dtypeBytes: Readonly<Record<string, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
};

/** Bits of an element: those above, and others of the format that are not read, but may lie there. */
const dtypeBits: Readonly<Record<string, number>> = {
  ...Object.fromEntries(Object.entries(dtypeBytes).map(([k, n]) => [k, 8 * n])),
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  C64: 64,
};

/** A tensor of a checkpoint; `begin` and `end` are byte positions in its file. */
export interface TensorInfo {
  name: string;
  dtype: string;
  shape: number[];
  begin: number;
  end: number;
  shard: number;
}

const HEADER_CAP = 100_000_000;
const RANK_CAP = 16;
/** Reads and checks the header of an open file; the positions it gives are in the file. Throws DSC5011. */
export async function readHeader(path: string, handle: FileHandle, shard: number): Promise<TensorInfo[]> {
  const broken = (why: string): Error => diagnostics.brokenSafetensors({ file: path, why });
  const stat = await handle.stat();
  if (!stat.isFile()) throw broken("it is no file");
  const { size } = stat;
  const head = new Uint8Array(HEAD_BYTES);
  const { bytesRead } = await handle.read(head, 0, HEAD_BYTES, 0);
  const claimed = new DataView(head.buffer).getBigUint64(0, true);
  const length = Number(claimed);
  // A sound length may begin with any byte, so the first bytes are looked at only where it is none.
  const kind = length > HEADER_CAP || 8 + length > size ? kindOf(head.subarray(0, bytesRead)) : undefined;
  if (kind) throw diagnostics.foreignFile({ file: path, ...kind });
  if (size < 10) throw broken(`it has ${size} bytes; the header alone takes more`);
  if (length > HEADER_CAP) throw broken(`its header claims ${claimed} bytes; the limit is ${HEADER_CAP}`);
  if (8 + length > size) throw broken(`its header claims ${length} bytes, and the file has ${size}`);
  const raw = new Uint8Array(length);
  for (let done = 0; done < length;) {
    const { bytesRead } = await handle.read(raw, done, length - done, 8 + done);
    if (bytesRead === 0) throw broken("it ended inside its header");
    done += bytesRead;
  }
  return checkHeader(raw, size - 8 - length, 8 + length, shard, broken);
}

function checkHeader(
  raw: Uint8Array,
  dataBytes: number,
  dataAt: number,
  shard: number,
  broken: (why: string) => Error,
): TensorInfo[] {
  let header: unknown;
  let text = "";
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(raw);
    header = JSON.parse(text);
  } catch (e) {
    throw broken(`its header is not JSON: ${(e as Error).message}`);
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) throw broken("its header is not an object");
  const twice = duplicateKey(text, header);
  if (twice !== undefined)
    throw broken(`its header has ${JSON.stringify(twice)} twice, and readers differ in which one they take`);
  const whole = (n: unknown): n is number => typeof n === "number" && Number.isSafeInteger(n) && n >= 0;
  const out: TensorInfo[] = [];
  for (const [name, value] of Object.entries(header as Record<string, unknown>)) {
    if (name === "__metadata__") continue;
    const t = (typeof value === "object" && value !== null ? value : {}) as {
      dtype?: unknown;
      shape?: unknown;
      data_offsets?: unknown;
    };
    // A dtype of a later version is no damage, and matters only where the tensor is read.
    if (typeof t.dtype !== "string" || !/^[A-Z][A-Z0-9_]{0,30}$/.test(t.dtype))
      throw broken(`${name} has dtype ${JSON.stringify(t.dtype)}; known: ${Object.keys(dtypeBits).join(", ")}`);
    const bits = Object.hasOwn(dtypeBits, t.dtype) ? dtypeBits[t.dtype] : undefined;
    const shape: unknown[] | undefined = Array.isArray(t.shape) ? t.shape : undefined;
    if (!shape || shape.length > RANK_CAP || !shape.every(whole)) throw broken(`${name} has shape ${JSON.stringify(t.shape)}`);
    const at = t.data_offsets;
    if (!Array.isArray(at) || at.length !== 2 || !at.every(whole)) throw broken(`${name} has data_offsets ${JSON.stringify(at)}`);
    const [begin, end] = at as [number, number];
    const wanted = bits === undefined ? end - begin : (shape.reduce((a, b) => a * b, 1) * bits) / 8;
    if (end - begin !== wanted || end < begin)
      throw broken(`${name} has ${end - begin} bytes; ${t.dtype} [${shape.join(", ")}] takes ${wanted}`);
    if (end > dataBytes) throw broken(`${name} ends at byte ${end} of ${dataBytes} bytes of data`);
    out.push({ name, dtype: t.dtype, shape, begin, end, shard });
  }
  let at = 0;
  for (const t of out.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (t.begin !== at) throw broken(`${t.name} begins at byte ${t.begin}, and the tensor before it ends at ${at}`);
    at = t.end;
  }
  if (at !== dataBytes) throw broken(`its tensors end at byte ${at}, and the file has ${dataBytes} bytes of data`);
  return out.map((t) => ({ ...t, begin: t.begin + dataAt, end: t.end + dataAt }));
}
