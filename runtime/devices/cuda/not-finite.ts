// The launches of dsc_not_finite, which looks at stored values where they lie (codegen/cuda/system/finite.ts).
import type { StoredPart } from "../../device.ts";
import { maskOf } from "../../finite.ts";

/** Bytes of one launch, so that its counts are small. */
const PIECE = 1 << 30;

/** The launches that look at a part: where they begin, and their scalars. */
export function notFiniteLaunches({ at, bytes, dtype }: StoredPart): { at: number; scalars: Record<string, number> }[] {
  const { exponent, one, carry } = maskOf(dtype)!;
  return Array.from({ length: Math.ceil(bytes / PIECE) }, (_, i) => ({
    at: at + i * PIECE,
    scalars: { bytes: Math.min(PIECE, bytes - i * PIECE), exponent, one, carry: carry | 0 },
  }));
}
