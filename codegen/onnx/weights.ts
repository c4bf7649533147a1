// Weights of an ONNX graph: initializers whose bytes stay in the checkpoint's own files. A weight of several tensors is put together
// from them in the graph, which runtimes do once, when they load it.
import type { Piece } from "../../ir/artifact.ts";
import type { WeightDecl } from "../../ir/graph.ts";
import { fixed } from "../../ir/types.ts";
import { cannotHold, otherShape } from "./diagnostics.ts";
import { joined, type Emitted, type Lowering } from "./lowering.ts";
import { elem, externalTensor, type Elem, type Place, type TensorProto } from "./proto.ts";
import { zerosAfter } from "./views.ts";

/** A tensor of the checkpoint: what it is in safetensors' words, and where its bytes lie. */
export interface Stored extends Place {
  dtype: string;
  shape: readonly number[];
}

/** Finds a tensor of the checkpoint; throws a diagnostic where it has none of that name. */
export type Find = (tensor: string) => Stored;

const stored: Readonly<Record<string, Elem>> = {
  F32: elem.FLOAT,
  F16: elem.FLOAT16,
  BF16: elem.BFLOAT16,
  F8_E4M3: elem.FLOAT8E4M3FN,
};

const BLOCK = 128;
const blocks = (n: number): number => Math.ceil(n / BLOCK);

/** A tensor of a piece and where it lies in its matrix: rows and columns from .. to. */
interface Part {
  tensor: string;
  scales?: string;
  rows: readonly [number, number];
  columns: readonly [number, number];
  /** Which of several equal parts of the tensor it is. */
  part: Piece["part"];
}

/** Initializers of one model. */
export class Weights {
  readonly initializers: TensorProto[] = [];
  readonly #find: Find;
  readonly #made = new Map<string, Emitted>();

  constructor(find: Find) {
    this.#find = find;
  }

  /** The weight of a layer (null: the one of all layers), as ONNX has it. */
  of(at: Lowering, decl: WeightDecl, layer: number | null): Emitted {
    if (decl.source.kind !== "checkpoint") throw new TypeError(`${decl.name} is not read from a checkpoint`);
    const shape = decl.type.dims.map(fixed);
    const leading = shape.length > 2 ? shape.slice(0, -2) : [];
    const matrices = matricesOf(decl.source.pieces, shape, leading, layer);
    const [n, k] = shape.length === 1 ? [1, shape[0]] : shape.slice(-2);
    const data = matrices.map((parts) => this.#matrix(at, parts, shape, n, k, (p) => p.tensor));
    const whole = this.#stacked(at, decl, data, leading.length ? shape : undefined);
    if (matrices[0][0].scales === undefined) return whole;
    const [sn, sk] = [blocks(n), blocks(k)];
    const scales = matrices.map((parts) => this.#matrix(at, parts.map(inBlocks), [sn, sk], sn, sk, (p) => p.scales!));
    return { ...whole, scales: this.#stacked(at, decl, scales, leading.length ? [...leading, sn, sk] : undefined).name };
  }

  /** Matrices of all leading indices under their axes. */
  #stacked(at: Lowering, decl: WeightDecl, list: readonly Emitted[], shape: readonly number[] | undefined): Emitted {
    if (!shape) return list[0];
    const one = joined(at, list, 0, decl.name);
    return { ...one, name: at.s.op("Reshape", [one.name, at.s.ints(shape)], {}, decl.name) };
  }

  /** One matrix [n, k] of its parts; what no part covers is zero, and lies after them. */
  #matrix(
    at: Lowering,
    parts: readonly Part[],
    shape: readonly number[],
    n: number,
    k: number,
    of: (p: Part) => string,
  ): Emitted {
    const rows = parts.toSorted((a, b) => a.rows[0] - b.rows[0]);
    const list = rows.map((p) => {
      const [height, width] = [p.rows[1] - p.rows[0], p.columns[1] - p.columns[0]];
      const tensor = p.part
        ? this.#cut(at, of(p), height, width, p.part)
        : this.#tensor(of(p), shape.length === 1 ? shape : [height, width]);
      return width === k ? tensor : this.#padded(at, tensor, 1, k - width);
    });
    const whole = list.length === 1 ? list[0] : joined(at, list, 0, "rows");
    const height = rows.at(-1)!.rows[1];
    return height === n ? whole : this.#padded(at, whole, 0, n - height);
  }

  /** Rows or columns of a larger tensor. */
  #cut(at: Lowering, name: string, n: number, k: number, { of, index, count }: NonNullable<Piece["part"]>): Emitted {
    const whole = this.#tensor(name, of === "rows" ? [n * count, k] : [n, k * count]);
    const [axis, size] = of === "rows" ? [0, n] : [1, k];
    const { s } = at;
    const from = index * size;
    return { ...whole, name: s.op("Slice", [whole.name, s.ints([from]), s.ints([from + size]), s.ints([axis])], {}, "part") };
  }

  #padded(at: Lowering, v: Emitted, axis: number, more: number): Emitted {
    return { name: zerosAfter(at, at.s.cast(v.name, v.elem, elem.FLOAT), 2, axis, more), elem: elem.FLOAT };
  }

  /** A tensor of the checkpoint, under its own name. */
  #tensor(name: string, shape: readonly number[]): Emitted {
    const known = this.#made.get(name);
    if (known) return known;
    const found = this.#find(name);
    const type = stored[found.dtype];
    if (type === undefined) throw cannotHold({ tensor: name, dtype: found.dtype });
    if (found.shape.join() !== shape.join()) throw otherShape({ tensor: name, seen: found.shape, expected: shape });
    const { location, offset, length } = found;
    this.initializers.push(externalTensor(name, type, shape, { location, offset, length }));
    const made = { name, elem: type };
    this.#made.set(name, made);
    return made;
  }
}

/** For every leading index, in order, the parts of its matrix. */
function matricesOf(
  pieces: readonly Piece[],
  shape: readonly number[],
  leading: readonly number[],
  layer: number | null,
): Part[][] {
  const count = leading.reduce((a, b) => a * b, 1);
  const out: Part[][] = Array.from({ length: count }, () => []);
  for (const p of pieces) {
    const rows = p.rows ?? ([0, shape.at(-2) ?? 1] as const);
    const columns = p.columns ?? ([0, shape.at(-1)!] as const);
    for (const index of indicesOf(p.at, leading)) {
      const named = (t: string): string =>
        t.replace("{layer}", String(layer)).replace(/\{(\d)\}/g, (_, i) => String(index[Number(i)]));
      out[index.reduce((a, i, axis) => a * leading[axis] + i, 0)].push({
        tensor: named(p.tensor),
        ...(p.scales === undefined ? {} : { scales: named(p.scales) }),
        rows,
        columns,
        part: p.part,
      });
    }
  }
  return out;
}

/** Every index that a piece fills. */
function indicesOf(at: Piece["at"], leading: readonly number[]): number[][] {
  let all: number[][] = [[]];
  for (const [axis, a] of at.entries()) {
    const [from, to] = typeof a === "number" ? [a, a + 1] : a === "*" ? [0, leading[axis]] : a.split("..").map(Number);
    all = all.flatMap((head) => Array.from({ length: to - from }, (_, i) => [...head, from + i]));
  }
  return all;
}

/** The same part counted in blocks of scales. */
const inBlocks = (p: Part): Part => ({
  ...p,
  rows: [p.rows[0] / BLOCK, blocks(p.rows[1])],
  columns: [p.columns[0] / BLOCK, blocks(p.columns[1])],
});
