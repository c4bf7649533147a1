// Register-blocked dot products: a few rows of packed activations against a few rows of weights, over a run of columns.
// Weights keep their stored type and are widened in registers; activations are f32, packed once so that widening needs no
// shuffle: with 16-bit weights, lanes 0 2 4 6 come before lanes 1 3 5 7 of every 8 columns.
import { get, i32, ins, load, plus, set, splat, splatI, times, type Expr, type Local } from "./wasm.ts";
import type { Writer } from "./writer.ts";

export type Stored = "f32" | "bf16" | "e4m3";

export const bytesOf: Record<Stored, number> = { f32: 4, bf16: 2, e4m3: 1 };

/** The two f32 vectors (even and odd columns, or for f32 the first and last four) of the 8 stored columns at an address. */
export function widen8(w: Writer, dtype: Stored, at: Expr, offset: number, name: string): [Expr, Expr] {
  if (dtype === "f32")
    return [
      get(w.define(`${name}_lo`, load("v128.load", at, offset))),
      get(w.define(`${name}_hi`, load("v128.load", at, offset + 16))),
    ];
  const high = splatI(0xffff0000 | 0);
  if (dtype === "bf16") {
    const raw = get(w.define(name, load("v128.load", at, offset)));
    return [
      get(w.define(`${name}_even`, ins("i32x4.shl", raw, i32(16)))),
      get(w.define(`${name}_odd`, ins("v128.and", raw, high))),
    ];
  }
  // A code s eeee mmm moved up four bits is a bf16 whose exponent lacks 120; the sign bit comes from the sign extension.
  const wide = get(
    w.define(name, ins("v128.and", ins("i16x8.shl", load("v128.load8x8_s", at, offset), i32(4)), splatI(0x87f087f0 | 0))),
  );
  const rebias = splat(2 ** 120);
  return [
    get(w.define(`${name}_even`, ins("f32x4.mul", ins("i32x4.shl", wide, i32(16)), rebias))),
    get(w.define(`${name}_odd`, ins("f32x4.mul", ins("v128.and", wide, high), rebias))),
  ];
}

/** The same 8 columns in their own order. */
export function widen8InOrder(w: Writer, dtype: Stored, at: Expr, offset: number, name: string): [Expr, Expr] {
  if (dtype === "f32") return widen8(w, dtype, at, offset, name);
  const wide =
    dtype === "bf16"
      ? load("v128.load", at, offset)
      : ins("v128.and", ins("i16x8.shl", load("v128.load8x8_s", at, offset), i32(4)), splatI(0x87f087f0 | 0));
  const raw = get(w.define(name, wide));
  // Sixteen zero bits below every code: in this form an unpack of words, one instruction.
  const above = (first: number): Expr => ({
    op: "i8x16.shuffle",
    imm: [0, 1, 2, 3].flatMap((i) => [0, 16].flatMap((side) => [side + 2 * (first + i), side + 2 * (first + i) + 1])),
    args: [splatI(0), raw],
    type: "v128",
  });
  const value = (e: Expr): Expr => get(w.define(name, dtype === "bf16" ? e : ins("f32x4.mul", e, splat(2 ** 120))));
  return [value(above(0)), value(above(4))];
}

export interface Block {
  /** Addresses of packed f32 rows. */
  a: Expr[];
  /** Addresses of stored rows. */
  b: Expr[];
  dtype: Stored;
  /** Columns, a multiple of 8 known to be at least 0. */
  columns: Expr;
  /** acc[i][j] += a[i] . b[j], lanes apart. */
  acc: Local[][];
}

/** Emits the loop over columns. The caller has the sums ready and adds their lanes afterwards. */
export function dotRows(w: Writer, { a, b, dtype, columns, acc }: Block): void {
  w.loop("c", i32(0), columns, 8, (c) => {
    const up = get(w.define("at_b", times(c, i32(bytesOf[dtype]))));
    const ups = b.map((row) => get(w.define("b_at", plus(row, up))));
    const ax = a.map((row) => get(w.define("a_at", plus(row, times(c, i32(4))))));
    const x = (i: number, half: number): Expr => get(w.define(`x${i}`, load("v128.load", ax[i], 16 * half)));
    const add = (l: Local, v: Expr, xi: Expr): void => w.push(set(l, ins("f32x4.add", get(l), ins("f32x4.mul", v, xi))));
    // The side with fewer rows waits in registers while the other streams by.
    if (a.length < b.length) {
      const xs = a.map((_, i) => [x(i, 0), x(i, 1)]);
      for (const [j, at] of ups.entries())
        for (const [half, v] of widen8(w, dtype, at, 0, `w${j}`).entries())
          for (const i of a.keys()) add(acc[i][j], v, xs[i][half]);
    } else {
      const bs = ups.map((at, j) => widen8(w, dtype, at, 0, `w${j}`));
      for (const i of a.keys())
        for (const half of [0, 1]) {
          const xi = x(i, half);
          for (const j of b.keys()) add(acc[i][j], bs[j][half], xi);
        }
    }
  });
}

/** Eight consecutive f32 columns in the order that packed activations have. */
export function deinterleave(dtype: Stored, pair: readonly [Expr, Expr]): [Expr, Expr] {
  if (dtype === "f32") return [pair[0], pair[1]];
  const lanes = (first: number): Expr => ({
    op: "i8x16.shuffle",
    imm: [0, 2, 4, 6].flatMap((i) => [0, 1, 2, 3].map((b) => 4 * (i + first) + b)),
    args: [pair[0], pair[1]],
    type: "v128",
  });
  return [lanes(0), lanes(1)];
}
