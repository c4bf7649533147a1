// The register-blocked product of the CPU target against plain sums: every stored type, scales, ragged rows and columns.
import { expect, test } from "vitest";
import { encode } from "../../codegen/cpu/encode.ts";
import { bytesOf, type Stored } from "../../codegen/cpu/dot.ts";
import { packBytes, product, scalar } from "../../codegen/cpu/product.ts";
import { i32, ins, load, plus, times, type Expr } from "../../codegen/cpu/wasm.ts";
import { Writer } from "../../codegen/cpu/writer.ts";
import { bf16, e4m3Code, e4m3Values } from "../../ir/numeric.ts";

let seed = 1;
const random = (): number => ((seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) / 2 ** 31 - 1) * 2;

function write(view: DataView, dtype: Stored, at: number, i: number, x: number): number {
  if (dtype === "f32") view.setFloat32(at + 4 * i, x, true);
  else if (dtype === "bf16") view.setUint16(at + 2 * i, new Uint32Array(Float32Array.of(bf16(x)).buffer)[0] >>> 16, true);
  else view.setUint8(at + i, e4m3Code(x * 30));
  return dtype === "f32" ? Math.fround(x) : dtype === "bf16" ? bf16(x) : e4m3Values[e4m3Code(x * 30)];
}

function check(dtype: Stored, m: number, n: number, k: number, scaled: boolean): void {
  const tile = { m: 8, n: 16 };
  const [a, b, sa, sb, sums, packed] = [0, 2, 5, 6, 7, 8].map((i) => 64 + i * 65536);
  const w = new Writer("run", [
    ["m", "i32"],
    ["n", "i32"],
  ]);
  const blocks = Math.ceil(k / 128);
  const at = (row: Expr, c: Expr): Expr => plus(i32(a), times(plus(times(row, i32(k)), c), i32(4)));
  const scale = (from: number) => (row: Expr, g: Expr) =>
    load("f32.load", plus(i32(from), times(plus(times(row, i32(blocks)), g), i32(4))));
  product(w, {
    tile,
    m: w.param(0),
    n: w.param(1),
    k,
    a: {
      eight: (row, c) => [load("v128.load", at(row, c)), load("v128.load", at(row, c), 16)],
      one: (row, c) => scalar(w, "f32", at(row, c)),
      direct: (row) => at(row, i32(0)),
      ...(scaled ? { scale: scale(sa) } : {}),
    },
    b: {
      dtype,
      address: (row) => plus(i32(b), times(row, i32(k * bytesOf[dtype]))),
      ...(scaled ? { scale: (row: Expr, g: Expr) => scale(sb)(ins("i32.shr_u", row, i32(2)), g) } : {}),
    },
    packed: i32(packed),
    sums: i32(sums),
  });
  expect(packBytes(tile.m, tile.n, k)).toBeLessThan(2 * 65536);
  const memory = new WebAssembly.Memory({ initial: 11, maximum: 11, shared: true });
  const run = new WebAssembly.Instance(new WebAssembly.Module(encode({ header: [], funcs: [w.func] })), { env: { memory } })
    .exports.run as (...x: number[]) => void;
  const view = new DataView(memory.buffer);
  new Uint8Array(memory.buffer).fill(0xff);
  const xs = Array.from({ length: m * k }, (_, i) => write(view, "f32", a, i, random()));
  const ws = Array.from({ length: n * k }, (_, i) => write(view, dtype, b, i, random()));
  const sas = Array.from({ length: m * blocks }, (_, i) => write(view, "f32", sa, i, random()));
  const sbs = Array.from({ length: Math.ceil(n / 4) * blocks }, (_, i) => write(view, "f32", sb, i, random()));
  run(m, n);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let want = 0;
      let size = 0;
      for (let c = 0; c < k; c++) {
        const g = c >> 7;
        const term = xs[i * k + c] * ws[j * k + c] * (scaled ? sas[i * blocks + g] * sbs[(j >> 2) * blocks + g] : 1);
        want += term;
        size += Math.abs(term);
      }
      const got = view.getFloat32(sums + 4 * (i * tile.n + j), true);
      if (!(Math.abs(got - want) <= 2e-6 * size + 1e-30))
        expect([dtype, m, n, k, i, j, got]).toEqual([dtype, m, n, k, i, j, want]);
    }
}

test.each(["f32", "bf16", "e4m3"] as const)("%s", (dtype) => {
  for (const [m, n, k] of [
    [1, 1, 8],
    [1, 5, 24],
    [3, 16, 130],
    [8, 7, 300],
    [5, 12, 57],
    [4, 4, 3],
    [7, 9, 128],
    [1, 3, 1843],
    [6, 9, 2066],
    [7, 3, 1024],
  ])
    for (const scaled of [false, true]) check(dtype, m, n, k, scaled);
});
