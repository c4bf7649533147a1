// Arrays of a checkpoint in chunks that a reading thread takes one by one, and how many bytes each has on either side.
import type { StoredArray } from "../../device.ts";
import { narrowBytes } from "../../widen.ts";

/**
 * Bytes of a chunk on the device at most, half of a thread's page-locked memory: large enough for bandwidth, small because
 * locking takes time.
 */
export const HALF = 1 << 20;

/** A part of an array on its way: where it lies in which file, and where it goes. */
export interface Chunk {
  path: string;
  identity: string;
  tensor: string;
  position: number;
  /** Elements: bytes where nothing is widened, rows where rows lie apart. */
  count: number;
  at: number;
  form: StoredArray["form"];
  rows?: NonNullable<StoredArray["rows"]>;
}

/** Bytes of a chunk on the device. */
export const wideBytes = ({ form, rows, count }: Chunk): number =>
  rows ? count * rows.pitch : form === "same" ? count : 4 * count;

/** Bytes of a chunk in its file, from the first to the last. */
export const fileBytes = ({ form, rows, count }: Chunk): number =>
  rows ? (count - 1) * rows.stored + rows.bytes : form === "same" ? count : narrowBytes[form] * count;

/** What a thread must know of an array. */
export type Placed = Pick<StoredArray, "at" | "bytes" | "form" | "rows" | "file">;

/** Arrays cut so that each chunk fits half of a thread's memory, wide form included. */
export function chunksOf(arrays: readonly Placed[]): Chunk[] {
  return arrays.flatMap(({ at, bytes, form, rows, file }) => {
    const [narrow, wide] = rows ? [rows.stored, rows.pitch] : form === "same" ? [1, 1] : [narrowBytes[form], 4];
    const elements = bytes / (rows?.bytes ?? narrow);
    const most = Math.max(1, Math.floor(HALF / Math.max(narrow, wide)));
    return Array.from({ length: Math.ceil(elements / most) }, (_, i): Chunk => {
      const from = i * most;
      return {
        path: file.path,
        identity: file.identity,
        tensor: file.tensor,
        position: file.begin + from * narrow,
        count: Math.min(most, elements - from),
        at: at + from * wide,
        form,
        ...(rows ? { rows } : {}),
      };
    });
  });
}
