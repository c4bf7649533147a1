// Fixtures through the interpreter: checkpoint tensors as interpreter tensors, a whole prefill, its results by name.
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { e4m3Values } from "../ir/numeric.ts";
import { interpret, sizeOf, tensorOf, type Caches, type DType, type Module, type Tensor } from "../ir/index.ts";
import { scalesShape } from "../runtime/weights.ts";
import type { WeightPlan } from "../ir/artifact.ts";

const folder = process.env.DSC_ROOT
  ? path.join(process.env.DSC_ROOT, "test/fixtures")
  : new URL("./fixtures", import.meta.url).pathname.replace("/dist/test/", "/test/");
export const fixtures: string[] = readdirSync(folder)
  .filter((n) => /^a\d/.test(n))
  .map((n) => path.join(folder, n));

export type Raw = Map<string, { dtype: string; shape: number[]; data: Float64Array }>;

/** A whole safetensors file as numbers; e4m3 as code values. */
export function readTensors(file: string): Raw {
  const bytes = readFileSync(file);
  const n = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + n).toString()) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const out: Raw = new Map();
  for (const [name, t] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const part = bytes.subarray(8 + n + t.data_offsets[0], 8 + n + t.data_offsets[1]);
    out.set(name, { dtype: t.dtype, shape: t.shape, data: decode(part, t.dtype) });
  }
  return out;
}

function decode(b: Buffer, dtype: string): Float64Array {
  const at = b.byteOffset;
  const copy = b.buffer.slice(at, at + b.byteLength);
  if (dtype === "F32") return Float64Array.from(new Float32Array(copy));
  if (dtype === "F64") return new Float64Array(copy);
  if (dtype === "I64") return Float64Array.from(new BigInt64Array(copy), Number);
  if (dtype === "F8_E4M3") return Float64Array.from(new Uint8Array(copy), (c) => e4m3Values[c]);
  if (dtype === "BF16") {
    const words = Uint32Array.from(new Uint16Array(copy), (w) => w << 16);
    return Float64Array.from(new Float32Array(words.buffer));
  }
  throw new RangeError(`no decoder for ${dtype}`);
}

/** Weight symbols of a module from a checkpoint, computed ones by interpreting their load function. */
export function weightsFrom(module: Module, raw: Raw): (name: string, layer: number | null) => Tensor {
  const done = new Map<string, Tensor>();
  const get = (name: string, layer: number | null): Tensor => {
    const key = `${name}@${layer}`;
    const had = done.get(key);
    if (had) return had;
    const decl = module.weights.get(name)!;
    const shape = decl.type.dims.map((d) => sizeOf(d, {}));
    const source = decl.source;
    let t: Tensor;
    if (source.kind === "rope") {
      const rows = Math.min(shape[0], 512);
      const half = shape[1] / 2;
      const data = new Float64Array(rows * shape[1]);
      for (let p = 0; p < rows; p++)
        for (let j = 0; j < half; j++) {
          const angle = Math.fround(p * source.invFreq[j]);
          data[p * shape[1] + j] = Math.cos(angle) * source.factor;
          data[p * shape[1] + half + j] = Math.sin(angle) * source.factor;
        }
      t = tensorOf([rows, shape[1]], data);
    } else if (source.kind === "computed")
      t = interpret(module, module.funcs.get(source.by)!, { weight: get }, layer)[source.result];
    else
      t = placed(
        decl.type.dtype,
        shape,
        { dtype: decl.type.dtype, shape, layers: decl.layers ? [...decl.layers] : null, source } as WeightPlan,
        layer,
        raw,
      );
    done.set(key, t);
    return t;
  };
  return get;
}

function placed(dtype: DType, shape: number[], plan: WeightPlan, layer: number | null, raw: Raw): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const pieces = plan.source.kind === "checkpoint" ? plan.source.pieces : [];
  const data = new Float64Array(size);
  const scales = dtype === "e4m3/128x128" ? new Float64Array(scalesShape(shape).reduce((a, b) => a * b, 1)) : undefined;
  const leading = shape.slice(0, shape.length - 2);
  for (const p of pieces) {
    const lead = p.at.length ? leading : [];
    const walk = (axis: number, index: number[]): void => {
      if (axis < lead.length) {
        const a = p.at[axis];
        const [from, to] = a === "*" ? [0, lead[axis]] : typeof a === "number" ? [a, a + 1] : a.split("..").map(Number);
        for (let i = from; i < to; i++) walk(axis + 1, [...index, i]);
        return;
      }
      const fill = (s: string): string =>
        s.replace("{layer}", String(layer)).replace(/\{(\d)\}/g, (_, i) => String(index[Number(i)]));
      const t = raw.get(fill(p.tensor));
      if (!t) throw new RangeError(`no tensor ${fill(p.tensor)}`);
      const flat = index.reduce((a, i, j) => a * lead[j] + i, 0);
      const per = shape.slice(lead.length).reduce((a, b) => a * b, 1);
      data.set(t.data, flat * per + (p.rows ? p.rows[0] * shape.at(-1)! : 0));
      if (scales) {
        const s = raw.get(fill(p.scales!))!;
        const columns = Math.ceil(shape.at(-1)! / 128);
        scales.set(s.data, flat * Math.ceil(shape.at(-2)! / 128) * columns + (p.rows ? (p.rows[0] / 128) * columns : 0));
      }
    };
    walk(0, []);
  }
  return tensorOf(shape, data, dtype, scales);
}

/** Prefill of one prompt; `taps` modules give hidden states and routes as well. */
export function prefill(
  module: Module,
  raw: Raw,
  ids: readonly number[],
  mode: "real" | "typed" = "real",
  entry: "prefill" | "decode" = "prefill",
): Record<string, Tensor> {
  const caches: Caches = { latent: Array.from({ length: 64 }, () => [new Float64Array()]) };
  return interpret(module, module.funcs.get(module.entries[entry])!, {
    mode,
    batch: { starts: [0, ids.length], lengths: [ids.length], ids: [...ids] },
    values: { ids: tensorOf([ids.length], ids, "i32") },
    weight: weightsFrom(module, raw),
    caches,
  });
}

export const worst = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let d = a.length === b.length ? 0 : Infinity;
  for (let i = 0; i < a.length; i++) d = Math.max(d, Number.isNaN(a[i]) ? Infinity : Math.abs(a[i] - b[i]));
  return d;
};
