// Runs a tile program on the CPU target, in this process, and watches every byte. Memory begins as 0xff (NaN as f32, bf16 and
// e4m3, -1 as i32): scratch, results, gaps between strided rows and guards on both sides of every buffer. After a run only
// elements of results may have changed; their bits must not depend on how grid cells were shared out, nor on where buffers
// lie: each in turn ends where memory ends, so that reading past it traps.
import { expect } from "vitest";
import { lowerToWasm, type Lowered } from "../../codegen/cpu/lower.ts";
import { tiled } from "../../codegen/cpu/target.ts";
import { families, type FamilyName } from "../../codegen/kernels/index.ts";
import type { Problem } from "../../ir/kernel/catalogue.ts";
import type { BufferParam, Index, Kernel } from "../../ir/kernel/stmt.ts";
import { e4m3Code, e4m3Values } from "../../ir/numeric.ts";
import { evaluate } from "../../ir/size.ts";

/** Values of buffers by name, in the order of their axes; an axis of stride 0 counts once. */
export type Values = Record<string, ArrayLike<number>>;

/** Dims of the kernel, and the names in shapes that are no dims (pages_count, B). */
export type Sizes = Record<string, number>;

type Shapes = Record<string, readonly number[]>;

/** Runs a kernel; gives the values of its results. `shapes` widens a buffer whose true extent the kernel does not state. */
export type Run = (problem: object, values: Values, sizes: Sizes, shapes?: Shapes) => Record<string, Float64Array>;

const GUARD = 192;
const bytesOf = { f32: 4, bf16: 2, e4m3: 1, i32: 4 } as const;
const wasm = new WebAssembly.Memory({ initial: 16, maximum: 2048, shared: true });

/** A kernel over a memory, lowered to WebAssembly over the one memory of this file unless another target made it. */
export interface Ready {
  kernel: Kernel;
  lowered: Pick<Lowered, "cells" | "scratchBytes">;
  memory: Pick<WebAssembly.Memory, "buffer" | "grow">;
  run: (...args: number[]) => void;
  /** Buffers have been at the end of memory already. */
  cornered: boolean;
}

export function instantiate(kernel: Kernel): Ready {
  const lowered = lowerToWasm(kernel);
  const module = new WebAssembly.Module(lowered.wasm as Uint8Array<ArrayBuffer>);
  const { exports } = new WebAssembly.Instance(module, { env: { memory: wasm } });
  return { kernel, lowered, memory: wasm, run: exports.run as Ready["run"], cornered: false };
}

interface Laid {
  param: BufferParam;
  /** Bytes from the first element to the end of the last, and the start of every element, in the order of the axes. */
  size: number;
  elements: number[];
}

function lay(param: BufferParam, sizes: Sizes, shape: readonly number[] | undefined): Laid {
  const strides = param.strides.map((s) => valueOf(s, sizes));
  const width = bytesOf[param.dtype];
  const extents = (shape ?? param.shape.map((s) => valueOf(s, sizes))).map((n, i) => (strides[i] === 0 ? Math.min(n, 1) : n));
  let elements = [0];
  for (const [axis, n] of extents.entries())
    elements = elements.flatMap((o) => Array.from({ length: n }, (_, i) => o + i * strides[axis] * width));
  return { param, size: elements.length ? elements.at(-1)! + width : 0, elements };
}

/** Runs an instantiated kernel several ways, holds them to each other, and gives its results. */
export function launch(ready: Ready, values: Values, sizes: Sizes, shapes: Shapes = {}): Record<string, Float64Array> {
  const { kernel, lowered, memory, run } = ready;
  const where = `${kernel.name} ${JSON.stringify(sizes)}`;
  const buffers = kernel.params.map((p) => lay(p, sizes, shapes[p.name]));
  const results = buffers.filter((b) => b.param.access !== "in");
  const cells = evaluate(lowered.cells, sizes);
  const scratchBytes = lowered.scratchBytes;

  /** One run over ranges of cells; `last` is the buffer that ends where memory does. */
  const attempt = (ranges: readonly (readonly [number, number])[], last?: Laid): Uint8Array[] => {
    const at = new Map<Laid, number>();
    let end = GUARD + scratchBytes + GUARD;
    for (const b of buffers) {
      // One element off alignment: views begin anywhere.
      at.set(b, Math.ceil(end / 64) * 64 + bytesOf[b.param.dtype]);
      end = at.get(b)! + b.size + GUARD;
    }
    while (memory.buffer.byteLength < end + (last?.size ?? 0)) memory.grow(16);
    if (last) {
      end = memory.buffer.byteLength;
      at.set(last, end - last.size);
    }
    const view = new DataView(memory.buffer);
    const all = new Uint8Array(memory.buffer, 0, end).fill(0xff);
    for (const b of buffers) {
      if (b.param.access === "out") continue;
      const given = values[b.param.name];
      if (given?.length !== b.elements.length)
        throw new RangeError(`${where}: ${b.param.name} needs ${b.elements.length} values, got ${given?.length}`);
      b.elements.forEach((o, i) => write(view, b.param.dtype, at.get(b)! + o, given[i]));
    }
    const before = all.slice();
    for (const [from, to] of ranges) {
      all.fill(0xff, GUARD, GUARD + scratchBytes);
      run(from, to, GUARD, ...buffers.map((b) => at.get(b)!), ...kernel.dims.map((d) => sizes[d]));
    }
    before.set(all.subarray(GUARD, GUARD + scratchBytes), GUARD);
    const out = results.map((b) => {
      const width = bytesOf[b.param.dtype];
      const bits = new Uint8Array(b.elements.length * width);
      b.elements.forEach((o, i) => {
        const element = all.subarray(at.get(b)! + o, at.get(b)! + o + width);
        bits.set(element, i * width);
        before.set(element, at.get(b)! + o);
      });
      return bits;
    });
    if (Buffer.compare(before, all) !== 0) {
      const byte = before.findIndex((x, i) => x !== all[i]);
      const b = buffers.findLast((x) => at.get(x)! <= byte);
      expect.fail(
        `${where} wrote what is no element of a result: ${b ? `byte ${byte - at.get(b)!} of ${b.param.name}` : "past its scratch"}`,
      );
    }
    return out;
  };

  const whole = attempt([[0, cells]]);
  const same = (other: Uint8Array[], how: string): void => {
    if (other.some((bits, i) => Buffer.compare(bits, whole[i]) !== 0)) expect.fail(`${where}: bits depend on ${how}`);
  };
  const [a, b] = [Math.floor(cells / 3), Math.min(Math.floor((2 * cells) / 3) + 1, cells)];
  if (cells > 1)
    same(
      attempt([
        [b, cells],
        [0, a],
        [a, b],
        [cells, cells],
      ]),
      "how cells are shared out",
    );
  if (cells > 0 && !ready.cornered) {
    ready.cornered = true;
    for (const l of buffers) same(attempt([[0, cells]], l), `where ${l.param.name} lies`);
  }
  return Object.fromEntries(
    results.map((r, i) => {
      const view = new DataView(whole[i].buffer);
      return [r.param.name, Float64Array.from(r.elements, (_, j) => read(view, r.param.dtype, j * bytesOf[r.param.dtype]))];
    }),
  );
}

const built = new Map<string, Ready>();

/** A family as a function of problem, values and sizes, in the tiles of this target; a problem is lowered once. */
export const runnerOf =
  (family: FamilyName): Run =>
  (problem, values, sizes, shapes) => {
    const key = `${family} ${JSON.stringify(problem)}`;
    const ready = built.get(key) ?? instantiate(families[family].kernel(tiled(family, problem as Problem)));
    built.set(key, ready);
    return launch(ready, values, sizes, shapes);
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
