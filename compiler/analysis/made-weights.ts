// Weights of a small model, made of the names that a checkpoint has for them: packing, placing and dividing do not change them.
import type { Piece } from "../../ir/artifact.ts";
import type { WeightDecl } from "../../ir/graph.ts";
import { interpret, partOf, sizeOf, tensorOf, type Module, type Tensor } from "../../ir/index.ts";
import { partOfRank, partsAlong, type Mesh, type MeshAxis } from "../../ir/mesh.ts";
import { e4m3Values } from "../../ir/numeric.ts";

/** Whether a weight is the gain of a norm, whose elements are about 1. */
export const isNorm = ({ name, type }: WeightDecl): boolean => type.dims.length === 1 && /norm/.test(name);

/** A weight is a function of its checkpoint names, so that packing and placing do not change it. */
export function weightOf(
  m: Module,
  decl: WeightDecl,
  layer: number | null,
  weight: (n: string, l: number | null) => Tensor,
  rank = 0,
): Tensor {
  const shape = decl.type.dims.map((d) => sizeOf(d, {}));
  const { source } = decl;
  if (source.kind === "computed") return interpret(m, m.funcs.get(source.by)!, { weight }, layer)[source.result];
  if (source.kind === "rope") return ropeTable(shape, source);
  const per = shape.slice(-2).reduce((a, b) => a * b, 1);
  const leading = shape.slice(0, -2);
  const scaled = decl.type.dtype === "e4m3/128x128";
  const perScale = scaled ? Math.ceil(shape.at(-1)! / 128) * Math.ceil(shape.at(-2)! / 128) : 0;
  const count = leading.reduce((a, b) => a * b, 1);
  const data = new Float64Array(count * per);
  const scales = new Float64Array(count * perScale);
  const norm = isNorm(decl);
  for (const p of source.pieces) {
    const fill = (index: number[]): void => {
      if (index.length < (p.at.length ? leading.length : 0)) {
        const a = p.at[index.length];
        const [from, to] =
          a === "*" ? [0, leading[index.length]] : typeof a === "number" ? [a, a + 1] : a.split("..").map(Number);
        for (let i = from; i < to; i++) fill([...index, i]);
        return;
      }
      if (p.share)
        return void sharedPiece(p, index, { mesh: m.mesh!, rank, layer, shape, leading, scaled, data, scales, per, perScale });
      const flat = index.reduce((a, i, j) => a * leading[j] + i, 0);
      const name = `${p.tensor.replace(/\{(\d)\}/g, (_, i) => String(index[Number(i)]))} ${layer}`;
      // A piece of two joined matrices: so many rows from this one on.
      const [from, to] = p.rows ?? [0, shape.at(-2) ?? 1];
      const width = shape.length > 1 ? shape.at(-1)! : per;
      if (p.part) {
        const { of, index: at, count: parts } = p.part;
        const all = noise(name, per * parts);
        for (let i = 0; i < per; i++)
          data[flat * per + i] =
            all[of === "rows" ? at * per + i : (Math.floor(i / width) * parts + at) * width + (i % width)] / 6;
        return;
      }
      const columns = Math.ceil(width / 128);
      const raw = noise(name, (shape.length > 1 ? to - from : 1) * (p.columns ? p.columns[1] - p.columns[0] : width));
      if (p.columns) {
        const [own, start] = [p.columns[1] - p.columns[0], flat * per + from * width + p.columns[0]];
        small(raw);
        for (let r = 0; r < to - from; r++) data.set(raw.subarray(r * own, (r + 1) * own), start + r * width);
        return;
      }
      data.set(scaled ? codes(raw) : norm ? gains(raw) : small(raw), flat * per + from * width);
      if (scaled)
        scales.set(
          factors(noise(`${name} scales`, Math.ceil((to - from) / 128) * columns)),
          flat * perScale + (from / 128) * columns,
        );
    };
    fill([]);
  }
  return tensorOf(shape, data, decl.type.dtype, scaled ? scales : undefined);
}

/** cos | sin rows by position. */
function ropeTable(shape: number[], source: { invFreq: readonly number[]; factor: number }): Tensor {
  const half = shape[1] / 2;
  return tensorOf(
    shape,
    Array.from({ length: shape[0] * shape[1] }, (_, i) => {
      const [p, j] = [Math.floor(i / shape[1]), i % shape[1]];
      const angle = p * source.invFreq[j % half];
      return (j < half ? Math.cos(angle) : Math.sin(angle)) * source.factor;
    }),
  );
}

/** The weight that pieces are put into, and the rank whose share they are. */
interface Shared {
  mesh: Mesh;
  rank: number;
  layer: number | null;
  shape: readonly number[];
  leading: readonly number[];
  scaled: boolean;
  data: Float64Array;
  scales: Float64Array;
  per: number;
  perScale: number;
}

/** A rank's share of a tensor: the whole of it is made, and cut. */
function sharedPiece(p: Piece, index: readonly number[], to: Shared): void {
  const { mesh, rank, layer, shape, leading, scaled, data, scales, per, perScale } = to;
  const along = (axis: MeshAxis | undefined): [parts: number, at: number] =>
    axis === undefined ? [1, 0] : [partsAlong(mesh, axis), partOfRank(mesh, axis, rank)];
  const [, group] = along(p.share!.experts);
  const begins = typeof p.at[0] === "string" && p.at[0] !== "*" ? p.at[0].split("..").map(Number) : [0, leading[0] ?? 1];
  const named = p.tensor.replace(/\{(\d)\}/g, (_, i) =>
    String(index[Number(i)] + (Number(i) === 0 ? group * (begins[1] - begins[0]) : 0)),
  );
  const name = `${named} ${layer}`;
  const cut = { rows: along(p.share!.rows), columns: along(p.share!.columns) };
  if (p.part) cut[p.part.of] = [cut[p.part.of][0] * p.part.count, cut[p.part.of][1] * p.part.count + p.part.index];
  const width = shape.at(-1)!;
  const [n, k] = [p.rows ? p.rows[1] - p.rows[0] : shape.at(-2)!, p.columns ? p.columns[1] - p.columns[0] : width];
  const mine = (of: Float64Array, rows: number, columns: number): Float64Array => {
    const whole = tensorOf([rows * cut.rows[0], columns * cut.columns[0]], of);
    return partOf(partOf(whole, -2, cut.rows[1], cut.rows[0]), -1, cut.columns[1], cut.columns[0]).data;
  };
  const raw = noise(name, n * cut.rows[0] * k * cut.columns[0]);
  const made = mine(scaled ? codes(raw) : small(raw), n, k);
  const flat = index.reduce((a, i, j) => a * leading[j] + i, 0);
  const start = flat * per + (p.rows?.[0] ?? 0) * width + (p.columns?.[0] ?? 0);
  for (let r = 0; r < n; r++) data.set(made.subarray(r * k, (r + 1) * k), start + r * width);
  if (!scaled) return;
  const blocks = [n * cut.rows[0], k * cut.columns[0]].map((d) => Math.ceil(d / 128));
  const all = factors(noise(`${name} scales`, blocks[0] * blocks[1]));
  scales.set(mine(all, blocks[0] / cut.rows[0], blocks[1] / cut.columns[0]), flat * perScale);
}

/** Numbers in [-1, 1) that depend on a name alone. */
export function noise(name: string, n: number): Float64Array {
  let x = 2166136261;
  for (const c of name) x = Math.imul(x ^ c.charCodeAt(0), 16777619);
  const out = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    out[i] = (x >>> 8) / 2 ** 23 - 1;
  }
  return out;
}

// What noise becomes, in its own place: elements of a matrix, codes of one and their scales, gains of a norm. Written as loops, for
// these are most of what the proofs of a compile compute.
function small(noise: Float64Array): Float64Array {
  for (let i = 0; i < noise.length; i++) noise[i] /= 6;
  return noise;
}

const eighths = Float64Array.from(e4m3Values, (v) => v / 8);

function codes(noise: Float64Array): Float64Array {
  for (let i = 0; i < noise.length; i++) noise[i] = eighths[Math.floor((noise[i] + 1) * 59)];
  return noise;
}

function factors(noise: Float64Array): Float64Array {
  for (let i = 0; i < noise.length; i++) noise[i] = 0.02 + noise[i] / 100;
  return noise;
}

function gains(noise: Float64Array): Float64Array {
  for (let i = 0; i < noise.length; i++) noise[i] = 1 + noise[i] / 4;
  return noise;
}
