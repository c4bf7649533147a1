// Register-blocked dot products: a few rows of packed activations against a few rows of weights, over a run of columns.
// Weights keep their stored type and are widened in registers; activations are f32, packed once so that widening needs no
// shuffle: with 16-bit weights, lanes 0 2 4 6 come before lanes 1 3 5 7 of every 8 columns.
import { get, i32, ins, load, plus, set, splat, splatI, times, type Expr, type Local } from "./wasm.ts";
import type { Writer } from "./writer.ts";

export type Stored = "f32" | "bf16" | "e4m3";

export const bytesOf: Record<Stored, number> = { f32: 4, bf16: 2, e4m3: 1 };

/** The two f32 vectors (even and odd columns, or for f32 the first and last four) of the 8 stored columns at an address. */
export function widen8(w: Writer, dtype: Stored, at: Expr, offset: number, name: string): [Expr, Expr] {
  if (dtype === "f32") return [get(w.define(`${name}_lo`, load("v128.load", at, offset))), get(w.define(`${name}_hi`, load("v128.load", at, offset + 16)))];
  const high = splatI(0xffff0000 | 0);
  if (dtype === "bf16") {
    const raw = get(w.define(name, load("v128.load", at, offset)));
    return [get(w.define(`${name}_even`, ins("i32x4.shl", raw, i32(16)))), get(w.define(`${name}_odd`, ins("v128.and", raw, high)))];
  }
  // A code s eeee mmm moved up four bits is a bf16 whose exponent lacks 120; the sign bit comes from the sign extension.
  const wide = get(w.define(name, ins("v128.and", ins("i16x8.shl", load("v128.load8x8_s", at, offset), i32(4)), splatI(0x87f087f0 | 0))));
  const rebias = splat(2 ** 120);
  return [
    get(w.define(`${name}_even`, ins("f32x4.mul", ins("i32x4.shl", wide, i32(16)), rebias))),
    get(w.define(`${name}_odd`, ins("f32x4.mul", ins("v128.and", wide, high), rebias))),
  ];
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

/** Emits the loop over columns. The caller has the accumulators ready and adds their lanes afterwards. */
export function dotRows(w: Writer, block: Block): void {
  const width = bytesOf[block.dtype];
  const unroll = block.a.length * block.b.length <= 4 ? 2 : 1;
  const step = (count: number, at: Expr): void => {
    const up = get(w.define("at_b", times(at, i32(width))));
    const ups = block.b.map((b) => get(w.define("b_at", plus(b, up))));
    const ax = block.a.map((a) => get(w.define("a_at", plus(a, times(at, i32(4))))));
    for (let u = 0; u < count; u++) {
      // One activation row meets many weight rows, or the reverse: widen whichever side is reused first.
      const bs = ups.map((b, j) => widen8(w, block.dtype, b, 8 * u * width, `w${j}`));
      for (const [i, a] of ax.entries()) {
        for (const half of [0, 1] as const) {
          const x = get(w.define(`x${i}`, load("v128.load", a, 32 * u + 16 * half)));
          for (const [j, b] of bs.entries()) {
            const acc = block.acc[i][j];
            w.push(set(acc, ins("f32x4.add", get(acc), ins("f32x4.mul", b[half], x))));
          }
        }
      }
    }
  };
  if (unroll === 1) return w.loop("c", i32(0), block.columns, 8, (c) => step(1, c));
  const whole = get(w.define("whole", ins("i32.and", block.columns, i32(-8 * unroll))));
  w.loop("c", i32(0), whole, 8 * unroll, (c) => step(unroll, c));
  w.loop("c", whole, block.columns, 8, (c) => step(1, c));
}

export interface Mix {
  /** Addresses of f32 rows of weights p, one value per mixed row, in natural order. */
  a: Expr[];
  /** Address of the first of these columns in mixed row s. */
  b: (s: Expr) => Expr;
  dtype: Stored;
  /** Rows mixed. */
  rows: Expr;
  /** acc[i][v] += sum over s of a[i][s] * b[s], two vectors per 8 columns, in the order of `widen8`. */
  acc: Local[][];
}

/** The transposed product: rows of b are mixed with weights a. Lanes are columns, so nothing is added across lanes. */
export function mixRows(w: Writer, mix: Mix): void {
  w.loop("s", i32(0), mix.rows, 1, (s) => {
    const at = get(w.define("row", mix.b(s)));
    const up = get(w.define("at_p", times(s, i32(4))));
    const ps = mix.a.map((a, i) => get(w.define(`p${i}`, load("v128.load32_splat", plus(a, up)))));
    for (let v = 0; v < mix.acc[0].length; v += 2) {
      const b = widen8(w, mix.dtype, at, (v / 2) * 8 * bytesOf[mix.dtype], `v${v}`);
      for (const [i, p] of ps.entries())
        for (const half of [0, 1] as const) w.push(set(mix.acc[i][v + half], ins("f32x4.add", get(mix.acc[i][v + half]), ins("f32x4.mul", b[half], p))));
    }
  });
}

/** Puts the two vectors of `widen8` back in column order. */
export function interleave(dtype: Stored, pair: readonly [Expr, Expr]): [Expr, Expr] {
  if (dtype === "f32") return [pair[0], pair[1]];
  const lanes = (first: number): Expr => ({
    op: "i8x16.shuffle",
    imm: [0, 1].flatMap((i) => [0, 16].flatMap((side) => [0, 1, 2, 3].map((b) => side + 4 * (first + i) + b))),
    args: [pair[0], pair[1]],
    type: "v128",
  });
  return [lanes(0), lanes(2)];
}

/** The inverse: eight consecutive f32 columns in the order that packed activations have. */
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
