// Triton functions that printed tile programs call: exact number formats, flooring division, and sums in the fixed tree.
import type { Tile } from "../../ir/kernel/stmt.ts";
import type { Elements } from "./print-element.ts";

const parts: readonly [name: string, text: string, uses?: readonly string[]][] = [
  [
    "from_e4m3",
    `@triton.jit
def from_e4m3(code):
    # A normal code's bits moved under an f32 exponent lack a bias of 120; subnormal codes are multiples of 2^-9.
    size = code.to(tl.int32) & 0x7F
    normal = ((size << 20) + (120 << 23)).to(tl.float32, bitcast=True)
    value = tl.where(size < 8, size.to(tl.float32) * 0.001953125, normal)
    value = tl.where(size == 0x7F, float("nan"), value)
    return tl.where((code.to(tl.int32) & 0x80) != 0, -value, value)`,
  ],
  [
    "to_e4m3",
    `@triton.jit
def to_e4m3(x):
    # To nearest even, saturating at 448. Below 2^-6 the grid is uniform: adding 2^14 aligns its step with the last bit.
    a = tl.minimum(tl.abs(x), 448.0)
    bits = a.to(tl.int32, bitcast=True)
    normal = ((bits + 0x7FFFF + ((bits >> 20) & 1)) >> 20) - 960
    small = (a + 16384.0).to(tl.int32, bitcast=True) - 0x46800000
    sign = (x.to(tl.int32, bitcast=True) >> 24) & 0x80
    return tl.where(x != x, 0x7F, tl.where(a < 0.015625, small, normal) | sign).to(tl.uint8)`,
  ],
  [
    "pow2_ceil",
    `@triton.jit
def pow2_ceil(x):
    # The least power of two that is not below x > 0.
    return ((x.to(tl.int32, bitcast=True) + 0x7FFFFF) & ~0x7FFFFF).to(tl.float32, bitcast=True)`,
  ],
  [
    "floor_div",
    `@triton.jit
def floor_div(a, b):
    rest = a % b
    return (a - tl.where((rest != 0) & ((rest < 0) != (b < 0)), rest + b, rest)) // b`,
  ],
  [
    "floor_mod",
    `@triton.jit
def floor_mod(a, b):
    return a - b * floor_div(a, b)`,
    ["floor_div"],
  ],
  [
    "quotient",
    `@triton.jit
def quotient(a, b):
    # Flooring; a zero divisor, which only a masked element may have, becomes one.
    return floor_div(a, tl.maximum(b, 1))`,
    ["floor_div"],
  ],
  [
    "remainder_i32",
    `@triton.jit
def remainder_i32(a, b):
    return a - tl.maximum(b, 1) * quotient(a, b)`,
    ["quotient", "floor_div"],
  ],
  [
    "remainder_f32",
    `@triton.jit
def remainder_f32(a, b):
    return a - b * tl.floor(tl.div_rn(a, b))`,
  ],
];

/** Name and text of the fixed-tree sum of a shape: pairs n/2 apart are added by sums over two elements, exact in either order. */
export function treeSum(el: Elements, t: Tile): { name: string; text: string } {
  const [rows, cols] = [el.rows(t), el.cols(t)];
  const vector = el.flat || t.rows === 1;
  const name = vector ? `tree_sum_${cols}` : `tree_sum_${rows}x${cols}`;
  const lines: string[] = [];
  for (let n = cols / 2; n >= 1; n /= 2) {
    const shape = vector ? `(2, ${n})` : `(${rows}, 2, ${n})`;
    lines.push(
      n === 1
        ? `    return tl.sum(v, axis=${vector ? 0 : 1})`
        : `    v = tl.sum(tl.reshape(v, ${shape}), axis=${vector ? 0 : 1})`,
    );
  }
  return {
    name,
    text: `@triton.jit
def ${name}(v):
    # Column j to column j + n/2, halving n: the one order every target uses.
${lines.join("\n")}`,
  };
}

/** The helper functions a text calls, in order of definition. */
export function helpersFor(text: string, trees: ReadonlyMap<string, string>): string[] {
  const used = new Set(parts.map(([name]) => name).filter((name) => new RegExp(`\\b${name}\\b`).test(text)));
  for (const [name, , uses] of [...parts].reverse()) if (used.has(name)) for (const u of uses ?? []) used.add(u);
  return [...parts.filter(([name]) => used.has(name)).map(([, body]) => body), ...trees.values()];
}
