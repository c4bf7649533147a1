// Where every weight lives: one instance per (symbol, layer), data then scales, each at a multiple of 64 bytes.
// Expands pieces to the tensors they name. Knows sizes before anything is allocated, so that loading can be refused first.
import { partOfRank, partsAlong, type Mesh, type MeshAxis } from "../ir/mesh.ts";
import { inside, type Manifest, type Piece, type Step, type WeightPlan } from "../ir/artifact.ts";
import { functionOf } from "./plan/dims.ts";
import { align } from "./plan/align.ts";
import { brokenManifest } from "./diagnostics.ts";

export const elementBytes = { f32: 4, bf16: 2, "e4m3/128x128": 1 } as const;

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
const blocks = (n: number): number => Math.ceil(n / 128);

/** Shape of the f32 block scales of an e4m3 weight: one per 128x128 block of the last two axes, edges ragged. */
export const scalesShape = (shape: readonly number[]): number[] => [
  ...shape.slice(0, -2),
  blocks(shape[shape.length - 2] ?? 1),
  blocks(shape[shape.length - 1]),
];

/** Bytes of an instance's two parts; the scales are empty but for e4m3. */
export function partBytes(plan: WeightPlan): { data: number; scales: number } {
  const scaled = plan.dtype === "e4m3/128x128";
  return { data: product(plan.shape) * elementBytes[plan.dtype], scales: scaled ? product(scalesShape(plan.shape)) * 4 : 0 };
}

/** Bytes an instance takes with its alignment. */
export function instanceBytes(plan: WeightPlan): number {
  const { data, scales } = partBytes(plan);
  return align(data) + align(scales);
}

/** Bytes of all weights that stay. */
export function residentBytes(manifest: Manifest): number {
  let bytes = 0;
  for (const plan of Object.values(manifest.weights))
    if (!plan.staging && plan.source.kind !== "rope") bytes += instanceBytes(plan) * layersOf(plan).length;
  return bytes;
}

/** How many of the first layers fit `room`, none of whose weights may be larger than `largest`; the extra prediction layer is left out. */
export function layersThatFit(
  { weights, model }: Pick<Manifest, "weights"> & { model: Pick<Manifest["model"], "layers"> },
  room: number,
  largest = Infinity,
): number {
  const plans = Object.entries(weights).filter(
    ([symbol, w]) => !w.staging && w.source.kind !== "rope" && !symbol.startsWith("mtp."),
  );
  let bytes = 0;
  for (const [, w] of plans) if (w.layers === null) bytes += instanceBytes(w);
  for (let layer = 0; layer < model.layers; layer++) {
    for (const [, w] of plans) {
      if (!w.layers?.includes(layer)) continue;
      if (instanceBytes(w) > largest) return layer;
      bytes += instanceBytes(w);
    }
    if (bytes > room) return layer;
  }
  return model.layers;
}

/** Layers that have an instance; undefined stands for the one shared instance. */
export const layersOf = (plan: WeightPlan): (number | undefined)[] => plan.layers ?? [undefined];

/** One tensor to place: its name, shape, and where it goes in the instance. */
export interface Placement {
  symbol: string;
  tensor: string;
  shape: number[];
  dtype: WeightPlan["dtype"];
  data: number;
  count: number;
  /** Elements from one row to the next where the weight is wider than the tensor. */
  pitch?: number;
  /**
   * Where only a part of the tensor is placed: rows of so many elements, the first of which begins at element \`first\`,
   * \`pitch\` apart.
   */
  from?: { first: number; width: number; pitch: number };
  /** e4m3 only. `from` as above, in scales. */
  scales?: { tensor: string; shape: number[]; at: number; count: number; from?: Runs };
}

/** Rows of so many elements, the first of which begins at element `first`, `pitch` apart. */
interface Runs {
  first: number;
  width: number;
  pitch: number;
}

/** Which of the ranks of a mesh reads. */
export interface Reader {
  mesh: Mesh;
  rank: number;
}
const ALONE: Reader = { mesh: { tp: 1, ep: 1 }, rank: 0 };

/** The tensors of one instance that lies at `data` (and `scales`). Computed and rope weights have none. */
export function placements(
  symbol: string,
  plan: WeightPlan,
  layer: number | undefined,
  at: { data: number; scales: number },
  reader: Reader = ALONE,
): Placement[] {
  if (plan.source.kind !== "checkpoint") return [];
  const out: Placement[] = [];
  for (const piece of plan.source.pieces) {
    const axes = piece.at.length;
    const whole = plan.shape.slice(axes);
    const shape = piece.rows ? [piece.rows[1] - piece.rows[0], ...whole.slice(1)] : [...whole];
    if (piece.columns) shape[shape.length - 1] = piece.columns[1] - piece.columns[0];
    const scaled = plan.dtype === "e4m3/128x128";
    if (axes > plan.shape.length || (scaled && shape.length < 2))
      throw brokenManifest({ why: `a piece of ${symbol} has ${axes} leading indices; its shape is [${plan.shape.join(", ")}]` });
    const count = product(shape);
    const blockShape = scalesShape(shape);
    // Elements, and scales, before the first row of the tensor within its matrix.
    const first = (piece.rows ? piece.rows[0] * product(whole.slice(1)) : 0) + (piece.columns?.[0] ?? 0);
    const firstBlock = piece.rows ? blocks(piece.rows[0]) * blocks(whole[1] ?? 1) : 0;
    const cut = cutOf(piece, reader);
    const behind = expertsBefore(piece, plan.shape, reader);
    for (const index of indices(piece.at, plan.shape)) {
      const fill = (name: string): string =>
        name.replace(/\{(layer|\d+)\}/g, (_, k: string) =>
          String(k === "layer" ? layer : index[Number(k)] + (k === "0" ? behind : 0)),
        );
      const flat = index.reduce((a, i, axis) => a * plan.shape[axis] + i, 0);
      const tensor = fill(piece.tensor);
      out.push({
        symbol,
        tensor,
        shape: cut ? wholeOf(shape, cut) : shape,
        dtype: plan.dtype,
        data: at.data + (flat * product(whole) + first) * elementBytes[plan.dtype],
        count,
        ...(piece.columns ? { pitch: whole[whole.length - 1] } : {}),
        ...(cut ? { from: partOf(shape, cut, piece.columns !== undefined) } : {}),
        scales: scaled
          ? {
              tensor: piece.scales ? fill(piece.scales) : `${tensor}_scale_inv`,
              shape: cut ? wholeOf(blockShape, cut) : blockShape,
              ...(cut ? { from: partOf(blockShape, cut) } : {}),
              count: product(blockShape),
              at: at.scales + (flat * product(scalesShape(whole)) + firstBlock) * 4,
            }
          : undefined,
      });
    }
  }
  return out;
}

/** Parts of a matrix along its two axes, and which of them is read. */
interface Cut {
  rows: Along;
  columns: Along;
}
type Along = readonly [parts: number, index: number];

/** The part of a tensor that a piece reads: its part of the reader's share. Undefined where it is all of it. */
function cutOf({ share, part }: Piece, { mesh, rank }: Reader): Cut | undefined {
  if (!part && !share?.rows && !share?.columns) return undefined;
  const along = (of: "rows" | "columns"): Along => {
    const axis = share?.[of];
    const [parts, index] = axis === undefined ? [1, 0] : partAlong(axis, mesh, rank);
    return part?.of === of ? [parts * part.count, index * part.count + part.index] : [parts, index];
  };
  return { rows: along("rows"), columns: along("columns") };
}

const partAlong = (axis: MeshAxis, mesh: Mesh, rank: number): Along => [partsAlong(mesh, axis), partOfRank(mesh, axis, rank)];

/** Experts that ranks before this one have, where they are divided. */
function expertsBefore({ share, at }: Piece, shape: readonly number[], { mesh, rank }: Reader): number {
  if (!share?.experts) return 0;
  const [from, to] = at[0] === "*" ? [0, shape[0]] : String(at[0]).split("..").map(Number);
  return partAlong(share.experts, mesh, rank)[1] * (to - from);
}

/** Shape of the tensor of which a matrix is a part. */
const wholeOf = ([n, k]: readonly number[], { rows, columns }: Cut): number[] => [n * rows[0], k * columns[0]];

/** Where a part lies in its tensor: rows of it follow each other, unless columns are cut or go apart. */
function partOf([n, k]: readonly number[], { rows, columns }: Cut, apart = false): Runs {
  const pitch = k * columns[0];
  const first = rows[1] * n * pitch + columns[1] * k;
  return columns[0] === 1 && !apart ? { first, width: n * k, pitch: n * k } : { first, width: k, pitch };
}

/** Whether elements of a weight lie outside all of its tensors: they are zeros, and loading writes them first. */
export function hasGaps(plan: WeightPlan): boolean {
  if (plan.source.kind !== "checkpoint") return false;
  const read = placements("", plan, 0, { data: 0, scales: 0 }).reduce((n, p) => n + p.count, 0);
  return read < product(plan.shape);
}

function indices(at: Piece["at"], shape: readonly number[]): number[][] {
  let out: number[][] = [[]];
  at.forEach((a, axis) => {
    const [from, to] = a === "*" ? [0, shape[axis]] : typeof a === "number" ? [a, a + 1] : a.split("..").map(Number);
    const values = Array.from({ length: to - from }, (_, i) => from + i);
    out = out.flatMap((o) => values.map((v) => [...o, v]));
  });
  return out;
}

/** Addresses of the instances that are in memory now. */
export class WeightStore {
  private readonly plans: Manifest["weights"];
  private readonly instances = new Map<string, Map<number | undefined, { data: number; scales: number }>>();

  constructor(plans: Manifest["weights"]) {
    this.plans = plans;
  }

  /** Notes where an instance lies; its scales follow its data. */
  put(symbol: string, layer: number | undefined, data: number): { data: number; scales: number } {
    const place = { data, scales: data + align(partBytes(this.plans[symbol]).data) };
    let of = this.instances.get(symbol);
    if (!of) this.instances.set(symbol, (of = new Map()));
    of.set(layer, place);
    return place;
  }

  /** The address of some weight of a layer: what the layer's cache should lie near. */
  near(layer: number): number | undefined {
    for (const [symbol, of] of this.instances) {
      const place = this.plans[symbol].source.kind === "rope" ? undefined : of.get(layer);
      if (place) return place.data;
    }
    return undefined;
  }

  drop(symbol: string, layer: number | undefined): void {
    this.instances.get(symbol)?.delete(layer);
  }

  /** Address of a part. A symbol shared by all layers, or with one instance only, is found whatever the layer. */
  address(symbol: string, part: "data" | "scales", layer: number | undefined): number {
    const of = this.instances.get(symbol);
    const place = of?.get(layer) ?? of?.get(undefined) ?? (of?.size === 1 ? [...of.values()][0] : undefined);
    if (!place)
      throw brokenManifest({
        why: `it uses ${symbol}${layer === undefined ? "" : ` of layer ${layer}`}, which has no place in memory`,
      });
    return place[part];
  }
}

/** Symbols a function and all it calls read. */
export function weightsUsed(manifest: Manifest, name: string): Set<string> {
  const used = new Set<string>();
  const seen = new Set<string>();
  const visit = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    const walk = (steps: readonly Step[]): void => {
      for (const s of steps) {
        const refs = s.kind === "kernel" || s.kind === "collective" ? s.args : s.kind === "call" ? Object.values(s.args) : [];
        for (const r of refs) if ("weight" in r) used.add(r.weight);
        if (s.kind === "call") visit(s.function);
        walk(inside(s));
      }
    };
    walk(functionOf(manifest, name).steps);
  };
  visit(name);
  return used;
}
