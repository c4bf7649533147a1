// Where the elements of a tensor lie in a buffer, and how they are stored.
import type { View } from "../../ir/kernel/catalogue.ts";
import { e4m3Code, e4m3Values } from "../../ir/numeric.ts";
import { evaluate, type Dims } from "../../ir/size.ts";
import type { Stored } from "./numbers.ts";

export const widths: Readonly<Record<Stored, number>> = { f32: 4, bf16: 2, e4m3: 1, i32: 4 };

export class Layout {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly count: number;
  /** Elements from the first to the end of the last. */
  readonly span: number;
  readonly #packed: boolean;

  constructor(shape: readonly number[], strides?: readonly number[]) {
    const packed = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
    this.shape = shape;
    this.strides = strides ?? packed;
    this.count = shape.reduce((a, b) => a * b, 1);
    this.#packed = this.strides.every((s, i) => s === packed[i] || shape[i] === 1);
    this.span = this.count === 0 ? 0 : 1 + shape.reduce((end, n, i) => end + (n - 1) * this.strides[i], 0);
  }

  static of(view: View, sizes: Dims): Layout {
    const number = (list: View["shape"]): number[] => list.map((s) => evaluate(s, sizes));
    return new Layout(number(view.shape), number(view.strides));
  }

  /** Where the i-th element lies, rows first. */
  place(i: number): number {
    if (this.#packed) return i;
    let [rest, at] = [i, 0];
    for (let axis = this.shape.length - 1; axis >= 0; axis--) {
      const n = this.shape[axis];
      at += (rest % n) * this.strides[axis];
      rest = Math.floor(rest / n);
    }
    return at;
  }

  /** "[3, 17]" of the i-th element. */
  index(i: number): string {
    const out: number[] = [];
    let rest = i;
    for (let axis = this.shape.length - 1; axis >= 0; axis--) {
      out.unshift(rest % this.shape[axis]);
      rest = Math.floor(rest / this.shape[axis]);
    }
    return `[${out.join(", ")}]`;
  }
}

const word = new Uint32Array(1);
const real = new Float32Array(word.buffer);

/** Elements of a dtype over bytes. */
export class Elements {
  readonly #view: DataView;
  readonly #dtype: Stored;

  constructor(bytes: Uint8Array, dtype: Stored) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#dtype = dtype;
  }

  get(at: number): number {
    const [v, d] = [this.#view, this.#dtype];
    if (d === "f32") return v.getFloat32(4 * at, true);
    if (d === "i32") return v.getInt32(4 * at, true);
    if (d === "e4m3") return e4m3Values[v.getUint8(at)];
    word[0] = v.getUint16(2 * at, true) << 16;
    return real[0];
  }

  set(at: number, x: number): void {
    const [v, d] = [this.#view, this.#dtype];
    if (d === "f32") v.setFloat32(4 * at, x, true);
    else if (d === "i32") v.setInt32(4 * at, x, true);
    else if (d === "e4m3") v.setUint8(at, e4m3Code(x));
    else {
      real[0] = x;
      v.setUint16(2 * at, word[0] >>> 16, true);
    }
  }
}
