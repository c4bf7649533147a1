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
  for (const [i, s] of starts.entries()) to.set(bytes.subarray(i * length * size, (i + 1) * length * size), s * size);
  memory.write(at, to);
}

/** Some rows of the first axis, row-major. */
export function gather(memory: Memory, at: number, view: Layout, rows: ArrayLike<number>): Uint8Array {
  const size = elementBytes[view.dtype];
  const { length, starts } = runs({ ...view, shape: view.shape.slice(1), strides: view.strides.slice(1) });
  const per = starts.length * length * size;
  const out = new Uint8Array(rows.length * per);
  for (let i = 0; i < rows.length; ) {
    // Rows that follow each other are read at once.
    let n = 1;
    while (i + n < rows.length && rows[i + n] === rows[i] + n) n++;
    const step = view.strides[0] * size;
    const from = memory.read(at + rows[i] * step, (n - 1) * step + (starts[starts.length - 1] + length) * size);
    for (let r = 0; r < n; r++) for (const [j, s] of starts.entries()) out.set(from.subarray(r * step + s * size, r * step + (s + length) * size), (i + r) * per + j * length * size);
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
  const worst = { row: 0, element: 0 };
  const larger = (a: number, b: number): number => (b <= a ? a : Number.isNaN(b) ? Infinity : b);
  for (let at = 0; at < want.length; at += width) {
    let [squares, error] = [0, 0];
    for (let i = at; i < at + width; i++) squares += want[i] * want[i];
    const rms = Math.sqrt(squares / width);
    for (let i = at; i < at + width; i++) {
      const d = Math.abs(got[i] - want[i]);
      if (d === 0) continue;
      error += d * d;
      worst.element = larger(worst.element, d / Math.max(Math.abs(want[i]), rms));
    }
    if (error !== 0) worst.row = larger(worst.row, Math.sqrt(error / squares));
  }
  return worst;
}

export interface Apart {
  count: number;
  apart: number;
  /** Not between the lowest and the highest that rounding allows. */
  unexplained: number;
}

/** Codes, or scales, against the exact ones and against the range that differences of rounding allow; -0 is 0. */
export function between(got: ArrayLike<number>, want: ArrayLike<number>, low?: ArrayLike<number>, high?: ArrayLike<number>): Apart {
  let [apart, unexplained] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    if (got[i] === want[i]) continue;
    apart++;
    if (!low || !high || !(got[i] >= low[i] && got[i] <= high[i])) unexplained++;
  }
  return { count: want.length, apart, unexplained };
}

export const codeValues = (bytes: Uint8Array): Float32Array => Float32Array.from(bytes, (c) => e4m3Values[c]);
