// Runs a tile program on the CPU target, in this process, and watches every byte. Memory begins as 0xff (NaN as f32, bf16 and
// e4m3, -1 as i32): scratch, results, gaps between strided rows and guards on both sides of every buffer. After the run only
// elements of results may have changed; and the bits must not depend on how grid cells were shared out.
import { expect } from "vitest";
import { lowerToWasm, type Lowered } from "../../codegen/cpu/lower.ts";
import { families, type FamilyName } from "../../codegen/kernels/index.ts";
import type { Problem } from "../../ir/kernel/catalogue.ts";
import type { BufferParam, Index, Kernel } from "../../ir/kernel/stmt.ts";
import { bf16, e4m3Code, e4m3Values } from "../../ir/numeric.ts";
import { evaluate } from "../../ir/size.ts";

/** Values of buffers by name, in the order of their axes; an axis of stride 0 counts once. */
export type Values = Record<string, ArrayLike<number>>;

/** Dims of the kernel, and the names in shapes that are no dims (pages_count, B). */
export type Sizes = Record<string, number>;

/** Runs a kernel; gives the values of its results. `shapes` widens a buffer whose true extent the kernel does not state. */
export type Run = (
  problem: object,
  values: Values,
  sizes: Sizes,
  shapes?: Record<string, readonly number[]>,
) => Record<string, Float64Array>;

const GUARD = 192;
const bytes = { f32: 4, bf16: 2, e4m3: 1, i32: 4 } as const;
const memory = new WebAssembly.Memory({ initial: 16, maximum: 2048, shared: true });

interface Ready {
  kernel: Kernel;
  lowered: Lowered;
  run: (...args: number[]) => void;
}

const ready = new Map<string, Ready>();

/** Builds, lowers and instantiates a family's kernel, once per problem. */
function prepare(family: FamilyName, problem: object): Ready {
  const key = `${family} ${JSON.stringify(problem)}`;
  let r = ready.get(key);
  if (!r) {
    const kernel = families[family](problem as Problem);
    const lowered = lowerToWasm(kernel);
    const instance = new WebAssembly.Instance(new WebAssembly.Module(lowered.wasm as Uint8Array<ArrayBuffer>), {
      env: { memory },
    });
    r = { kernel, lowered, run: instance.exports.run as Ready["run"] };
    ready.set(key, r);
  }
  return r;
}

interface Laid {
  param: BufferParam;
  at: number;
  /** Byte addresses of the elements, in the order of the axes. */
  elements: number[];
}

/** A family as a function of problem, values and sizes. */
export const runnerOf =
  (family: FamilyName): Run =>
  (problem, values, sizes, shapes = {}) => {
    const { kernel, lowered, run } = prepare(family, problem);
    const scratchAt = GUARD;
    let end = scratchAt + lowered.scratchBytes + GUARD;
    const buffers = kernel.params.map((param): Laid => {
      const strides = param.strides.map((s) => valueOf(s, sizes));
      const shape = (shapes[param.name] ?? param.shape.map((s) => valueOf(s, sizes))).map((n, i) =>
        strides[i] === 0 ? Math.min(n, 1) : n,
      );
      // One element off alignment: views begin anywhere.
      const at = Math.ceil(end / 64) * 64 + bytes[param.dtype];
      end = at + bytes[param.dtype] * (1 + shape.reduce((n, s, i) => n + Math.max(0, s - 1) * strides[i], 0)) + GUARD;
      let elements = [at];
      for (const [axis, n] of shape.entries())
        elements = elements.flatMap((o) => Array.from({ length: n }, (_, i) => o + i * strides[axis] * bytes[param.dtype]));
      return { param, at, elements };
    });
    while (memory.buffer.byteLength < end) memory.grow(16);
    const view = new DataView(memory.buffer);
    const all = new Uint8Array(memory.buffer, 0, end);
    const cells = evaluate(lowered.cells, sizes);

    const once = (ranges: readonly (readonly [number, number])[]): Uint8Array => {
      all.fill(0xff);
      for (const b of buffers) {
        if (b.param.access === "out") continue;
        const given = values[b.param.name];
        if (given?.length !== b.elements.length)
          throw new RangeError(`${kernel.name}: ${b.param.name} needs ${b.elements.length} values, got ${given?.length}`);
        b.elements.forEach((o, i) => write(view, b.param.dtype, o, given[i]));
      }
      const before = all.slice();
      for (const [from, to] of ranges) {
        all.fill(0xff, scratchAt, scratchAt + lowered.scratchBytes);
        run(from, to, scratchAt, ...buffers.map((b) => b.at), ...kernel.dims.map((d) => sizes[d]));
      }
      const after = all.slice();
      // Only elements of results may differ.
      before.set(after.subarray(scratchAt, scratchAt + lowered.scratchBytes), scratchAt);
      for (const b of buffers)
        if (b.param.access !== "in") for (const o of b.elements) before.set(after.subarray(o, o + bytes[b.param.dtype]), o);
      const changed = Buffer.compare(before, after) === 0 ? -1 : before.findIndex((x, i) => x !== after[i]);
      if (changed >= 0)
        expect.fail(`${kernel.name} ${JSON.stringify(sizes)} wrote byte ${changed}, ${nearest(buffers, changed)}`);
      after.fill(0, scratchAt, scratchAt + lowered.scratchBytes);
      return after;
    };

    const whole = once([[0, cells]]);
    const [a, b] = [Math.floor(cells / 3), Math.floor((2 * cells) / 3) + 1];
    if (cells > 1) {
      const shared = once([
        [b, cells],
        [0, a],
        [a, Math.min(b, cells)],
        [cells, cells],
      ]);
      if (Buffer.compare(whole, shared) !== 0)
        expect.fail(`${kernel.name} ${JSON.stringify(sizes)}: bits depend on how cells are shared out`);
    }
    const result = new DataView(whole.buffer);
    return Object.fromEntries(
      buffers
        .filter((x) => x.param.access !== "in")
        .map((x) => [x.param.name, Float64Array.from(x.elements, (o) => read(result, x.param.dtype, o))]),
    );
  };

function valueOf(i: Index, sizes: Sizes): number {
  if (typeof i === "number") return i;
  if (typeof i === "string") {
    if (sizes[i] === undefined) throw new RangeError(`no size ${i}`);
    return sizes[i];
  }
  const [a, b] = [valueOf(i.a, sizes), valueOf(i.b, sizes)];
  const of = {
    add: a + b,
    sub: a - b,
    mul: a * b,
    div: Math.floor(a / b),
    mod: a - b * Math.floor(a / b),
    min: Math.min(a, b),
    max: Math.max(a, b),
  };
  return of[i.op];
}

function nearest(buffers: readonly Laid[], byte: number): string {
  const b = buffers.findLast((x) => x.at <= byte);
  return b ? `${byte - b.at} bytes from the start of ${b.param.name}` : "before every buffer";
}

function write(view: DataView, dtype: BufferParam["dtype"], at: number, x: number): void {
  if (dtype === "f32") view.setFloat32(at, x, true);
  else if (dtype === "bf16") view.setUint16(at, new Uint32Array(Float32Array.of(x).buffer)[0] >>> 16, true);
  else if (dtype === "e4m3") view.setUint8(at, e4m3Code(x));
  else view.setInt32(at, x, true);
}

function read(view: DataView, dtype: BufferParam["dtype"], at: number): number {
  if (dtype === "f32") return view.getFloat32(at, true);
  if (dtype === "e4m3") return e4m3Values[view.getUint8(at)];
  if (dtype === "i32") return view.getInt32(at, true);
  return new Float32Array(Uint32Array.of(view.getUint16(at, true) << 16).buffer)[0];
}

/** Seeded numbers in [0, 1). */
export function randomOf(seed: number): () => number {
  let s = seed;
  return () => {
    s = (s + 0x6d2b79f5) | 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** n values that a dtype can hold: f32 and bf16 in [-size, size), e4m3 any finite code. */
export function draw(random: () => number, n: number, dtype: "f32" | "bf16" | "e4m3" = "f32", size = 1): Float64Array {
  const one = (): number => {
    if (dtype === "e4m3") {
      const code = Math.floor(random() * 254);
      return e4m3Values[code < 127 ? code : code + 1];
    }
    const x = Math.fround((random() * 2 - 1) * size);
    return dtype === "bf16" ? bf16(x) : x;
  };
  return Float64Array.from({ length: n }, one);
}

/** Positive f32 scales around 1/256, far enough apart that a wrong one shows. */
export const drawScales = (random: () => number, n: number): Float64Array =>
  Float64Array.from({ length: n }, () => Math.fround(2 ** (random() * 6 - 11)));

/** Every value equal in every bit; what names the case. */
export function exact(got: ArrayLike<number>, want: ArrayLike<number>, what: unknown): void {
  if (got.length !== want.length) expect.fail(`${JSON.stringify(what)}: ${got.length} values, want ${want.length}`);
  for (let i = 0; i < got.length; i++)
    if (!Object.is(got[i], want[i])) expect.fail(`${JSON.stringify(what)}: [${i}] is ${got[i]}, want ${want[i]}`);
}

/** |got - want| <= within * size, where size is the sum of magnitudes behind a value (the value itself when absent). */
export function close(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  what: unknown,
  within: number,
  size: ArrayLike<number> = want,
): void {
  if (got.length !== want.length) expect.fail(`${JSON.stringify(what)}: ${got.length} values, want ${want.length}`);
  for (let i = 0; i < got.length; i++)
    // exp overflows past 88.7: what is divided by it is zero instead of up to 3e-37. Below that no result is relative.
    if (!(Math.abs(got[i] - want[i]) <= within * Math.abs(size[i]) + 3e-37))
      expect.fail(`${JSON.stringify(what)}: [${i}] is ${got[i]}, want ${want[i]} within ${within * Math.abs(size[i])}`);
}
