// Widening of stored arrays to f32, in place: the narrow values lie at the end of the room for the wide ones, and a value is
// read before it is written over. Exact for all three forms.
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
