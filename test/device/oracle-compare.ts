// Reads and writes values as they lie on the card, and measures how far what a kernel wrote is from what it should have.
import { e4m3Values } from "../../ir/numeric.ts";

export const elementBytes = { f32: 4, bf16: 2, i32: 4, e4m3: 1 } as const;
export type Stored = keyof typeof elementBytes;

export interface Memory {
  read(at: number, bytes: number): Uint8Array<ArrayBufferLike>;
  write(at: number, bytes: Uint8Array): void;
}

/** Extents and strides in elements. */
export interface Layout {
  dtype: Stored;
  shape: number[];
  strides: number[];
}

/** Runs of elements that lie side by side: where each begins, and how many elements it has. */
function runs({ shape, strides }: Layout): { length: number; starts: number[] } {
  let length = 1;
  let axis = shape.length - 1;
  while (axis >= 0 && strides[axis] === length) length *= shape[axis--];
  let starts = [0];
  for (let i = 0; i <= axis; i++) {
    const next: number[] = [];
    for (const s of starts) for (let j = 0; j < shape[i]; j++) next.push(s + j * strides[i]);
    starts = next;
  }
  return { length, starts };
}

/** Writes a value, given row-major, where a view says; what lies between stays. */
export function scatter(memory: Memory, at: number, view: Layout, bytes: Uint8Array): void {
  const size = elementBytes[view.dtype];
  const { length, starts } = runs(view);
  if (starts.length === 1) return memory.write(at, bytes);
  const span = memory.read(at, (starts[starts.length - 1] + length) * size);
  const to = new Uint8Array(span.buffer, span.byteOffset, span.byteLength);
  copyRuns(bytes, to, starts, length, size);
  memory.write(at, to);
}

/** Runs one after the other in `from` go to their starts; by words where they lie so, for a call a run costs more than its bytes. */
function copyRuns(from: Uint8Array, to: Uint8Array, starts: readonly number[], length: number, size: number): void {
  const words = (length * size) / 4;
  if (
    !Number.isInteger(words) ||
    from.byteOffset % 4 !== 0 ||
    to.byteOffset % 4 !== 0 ||
    starts.some((s) => (s * size) % 4 !== 0)
  ) {
    for (const [i, s] of starts.entries()) to.set(from.subarray(i * length * size, (i + 1) * length * size), s * size);
    return;
  }
  const [a, b] = [
    new Uint32Array(from.buffer, from.byteOffset, from.byteLength >> 2),
    new Uint32Array(to.buffer, to.byteOffset, to.byteLength >> 2),
  ];
  for (let i = 0, at = 0; i < starts.length; i++) for (let j = 0, w = (starts[i] * size) / 4; j < words; j++) b[w++] = a[at++];
}

/** Some rows of the first axis, row-major. */
export function gather(memory: Memory, at: number, view: Layout, rows: ArrayLike<number>): Uint8Array {
  const size = elementBytes[view.dtype];
  const { length, starts } = runs({ ...view, shape: view.shape.slice(1), strides: view.strides.slice(1) });
  const per = starts.length * length * size;
  const out = new Uint8Array(rows.length * per);
  for (let i = 0; i < rows.length;) {
    // Rows that follow each other are read at once.
    let n = 1;
    while (i + n < rows.length && rows[i + n] === rows[i] + n) n++;
    const step = view.strides[0] * size;
    const from = memory.read(at + rows[i] * step, (n - 1) * step + (starts[starts.length - 1] + length) * size);
    for (let r = 0; r < n; r++)
      for (const [j, s] of starts.entries())
        out.set(from.subarray(r * step + s * size, r * step + (s + length) * size), (i + r) * per + j * length * size);
    i += n;
  }
  return out;
}

const aligned = (b: Uint8Array): Uint8Array => (b.byteOffset % 4 === 0 ? b : b.slice());

export function floats(bytes: Uint8Array, dtype: Stored): Float32Array {
  const b = aligned(bytes);
  if (dtype === "f32") return new Float32Array(b.buffer, b.byteOffset, b.byteLength / 4);
  const words = new Uint16Array(b.buffer, b.byteOffset, b.byteLength / 2);
  const wide = new Uint32Array(words.length);
  for (let i = 0; i < words.length; i++) wide[i] = words[i] << 16;
  return new Float32Array(wide.buffer);
}

export const integers = (bytes: Uint8Array): Int32Array => {
  const b = aligned(bytes);
  return new Int32Array(b.buffer, b.byteOffset, b.byteLength / 4);
};

/**
 * How far rows lie from what they should be: the worst row, ||got - want|| / ||want||, and the worst element, relative to itself or to
 * its row's root mean square, whichever is larger. Rounding to bf16 alone makes these 1.7e-3 and 3.9e-3.
 */
export function distance(got: Float32Array, want: Float32Array, width: number): { row: number; element: number } {
  let [row, element] = [0, 0];
  for (let at = 0; at < want.length; at += width) {
    const end = at + width;
    let [squares, error] = [0, 0];
    for (let i = at; i < end; i++) squares += want[i] * want[i];
    const rms = Math.sqrt(squares / width);
    for (let i = at; i < end; i++) {
      const w = want[i] < 0 ? -want[i] : want[i];
      const d = got[i] - want[i];
      error += d * d;
      const off = (d < 0 ? -d : d) / (w > rms ? w : rms);
      if (off > element) element = off;
    }
    // A NaN or an infinity is an error of infinite size; rows of zeros that are zeros have none.
    const off = error === 0 ? 0 : Math.sqrt(error / squares);
    if (!(off <= row)) row = Number.isNaN(off) ? Infinity : off;
  }
  return { row, element };
}

export interface Apart {
  count: number;
  apart: number;
  /** Not between the lowest and the highest that rounding allows. */
  unexplained: number;
}

/** Codes, or scales, against the exact ones and against the range that differences of rounding allow; -0 is 0. */
export function between(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  low?: ArrayLike<number>,
  high?: ArrayLike<number>,
): Apart {
  let [apart, unexplained] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    if (got[i] === want[i]) continue;
    apart++;
    if (!low || !high || !(got[i] >= low[i] && got[i] <= high[i])) unexplained++;
  }
  return { count: want.length, apart, unexplained };
}

/** What e4m3 codes stand for. A loop: `from` with a function takes twenty times as long. */
export function codeValues(bytes: Uint8Array): Float32Array {
  const out = new Float32Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) out[i] = e4m3Values[bytes[i]];
  return out;
}
