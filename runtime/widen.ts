// Stored arrays on their way to the form they are used in, in place: what is read lies at the end of the room for what it becomes,
// and is taken before it is written over. Widening to f32 is exact for all three forms; rows move apart, zeros between them.
import type { StoredArray } from "./device.ts";
import { f16 } from "./safetensors.ts";

export const narrowBytes = { bf16: 2, f16: 2, e8m0: 1 } as const;

/** Widens `count` values that end where the f32 values at `at` will end. */
export function widen(form: Exclude<StoredArray["form"], "same">, buffer: ArrayBufferLike, at: number, count: number): void {
  const from = at + count * (4 - narrowBytes[form]);
  if (form === "bf16") {
    const [bits, out] = [new Uint16Array(buffer, from, count), new Uint32Array(buffer, at, count)];
    for (let i = 0; i < count; i++) out[i] = bits[i] << 16;
  } else if (form === "f16") {
    const [bits, out] = [new Uint16Array(buffer, from, count), new Float32Array(buffer, at, count)];
    for (let i = 0; i < count; i++) out[i] = f16(bits[i]);
  } else {
    const [codes, out] = [new Uint8Array(buffer, from, count), new Float32Array(buffer, at, count)];
    for (let i = 0; i < count; i++) out[i] = codes[i] === 255 ? NaN : 2 ** (codes[i] - 127);
  }
}

/** Reads `count` rows from row `from` on and lays them `pitch` bytes apart in `room`, which they fill. */
export async function readRows(
  a: StoredArray,
  rows: NonNullable<StoredArray["rows"]>,
  room: Uint8Array,
  from: number,
  count: number,
): Promise<void> {
  await a.read(room.subarray(count * (rows.pitch - rows.bytes)), from * rows.bytes);
  spreadRows(rows, room, count);
}

/** An array whose rows lie apart in the file as arrays of a row each, others as they are. */
export function rowByRow(a: StoredArray): StoredArray[] {
  const { rows } = a;
  if (!rows || rows.stored === rows.bytes) return [a];
  const { rows: _, ...row } = { ...a, count: (a.count * rows.bytes) / a.bytes, bytes: rows.bytes };
  return Array.from({ length: a.bytes / rows.bytes }, (_, r) => ({
    ...row,
    at: a.at + r * rows.pitch,
    file: { ...a.file, begin: a.file.begin + r * rows.stored },
    read: (target: Uint8Array, from: number) => a.read(target, r * rows.stored + from),
  }));
}

/** Moves rows that lie `stored` bytes apart from the beginning of the room on together. */
export function gatherRows({ bytes, stored }: NonNullable<StoredArray["rows"]>, room: Uint8Array, count: number): void {
  for (let r = 1; r < count; r++) room.copyWithin(r * bytes, r * stored, r * stored + bytes);
}

/** Lays rows that end where the room ends `pitch` bytes apart in it. */
export function spreadRows(rows: NonNullable<StoredArray["rows"]>, room: Uint8Array, count: number): void {
  const first = count * (rows.pitch - rows.bytes);
  for (let r = 0; r < count; r++) {
    room.copyWithin(r * rows.pitch, first + r * rows.bytes, first + (r + 1) * rows.bytes);
    room.fill(0, r * rows.pitch + rows.bytes, (r + 1) * rows.pitch);
  }
}
