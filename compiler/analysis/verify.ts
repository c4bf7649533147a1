// Translation validation: one step of a small model through the interpreter, in float64, before any pass and after each.
// A pass that declares a change of the function (a rounding left out) must still be exact where nothing is quantised.
import { cachesOf } from "../../ir/caches.ts";
import { LATENT } from "../../ir/types.ts";
import type { WeightDecl } from "../../ir/graph.ts";
import { interpret, sizeOf, tensorOf, type Caches, type Module, type Tensor } from "../../ir/index.ts";
import { e4m3Values } from "../../ir/numeric.ts";
import { runPipeline, standard, type Pass, type PipelineOptions } from "../../passes/index.ts";
import { modelModule } from "../frontend/model.ts";
import type { ModelSpec } from "../frontend/spec.ts";

export interface Proof {
  entry: string;
  attention: "expanded" | "absorbed";
  pass: string;
  holds: boolean;
  /** Largest difference of any logit to the unoptimised graph's. */
  difference: number;
  change?: string;
  /** The same difference on the graph without activation quantisation, where a change is declared. */
  unquantised?: number;
}

/** Above rounding of float64 sums in another order, far below a wrong term. */
export const EXACT = 1e-8;

export function prove(
  spec: ModelSpec,
  pipeline: readonly Pass[] = standard,
  given: Readonly<Record<string, string>> = {},
  how: PipelineOptions = {},
  tell: (doing: string) => void = () => {},
): Proof[] {
  const options = { activations: "f32", taps: false } as const;
  const module = modelModule(spec, { ...options, actQuant: "dynamic" });
  const plain = modelModule(spec, { ...options, actQuant: "none" });
  const proofs: Proof[] = [];
  for (const attention of ["expanded", "absorbed"] as const) {
    const { snapshots, ledger } = runPipeline(module, pipeline, { ...given, attention }, how);
    const changes = new Map(ledger.entries.filter((e) => e.outcome === "fired" && e.changes).map((e) => [e.pass, e.changes!]));
    const exact = changes.size ? runPipeline(plain, pipeline, { ...given, attention }, how).snapshots : [];
    for (const entry of ["prefill", "extend", ...(spec.mtp ? (["draft"] as const) : [])] as const) {
      let before = step(module, spec, entry);
      for (const [i, { pass, module: m }] of snapshots.entries()) {
        if (i === 0) continue;
        tell(`${attention} attention, ${entry}: pass ${i} of ${snapshots.length - 1}, ${pass}`);
        const after = step(m, spec, entry);
        const difference = largest(after, before);
        before = after;
        const change = difference < EXACT ? undefined : changes.get(pass);
        const unquantised =
          change === undefined ? undefined : largest(step(exact[i].module, spec, entry), step(exact[i - 1].module, spec, entry));
        const holds = difference < EXACT || (Number.isFinite(difference) && unquantised !== undefined && unquantised < EXACT);
        proofs.push({ entry, attention, pass, difference, holds, ...(change === undefined ? {} : { change, unquantised }) });
      }
    }
  }
  return proofs;
}

/** Logits of two sequences of 3 and 2 rows; extend and draft run on a prefix of 4 and 0 cached rows. */
export function step(m: Module, spec: ModelSpec, entry: "prefill" | "extend" | "decode" | "draft"): Float64Array {
  const prefix = entry === "prefill" ? [0, 0] : [4, 0];
  const layers = Array.from({ length: spec.layers.length + spec.mtp }, (_, l) => l);
  const caches: Caches = Object.fromEntries(
    [...cachesOf(m)].map(([name, { width }]) => [
      name,
      layers.map((l) => prefix.map((n, b) => noise(`${name === LATENT ? "cache" : name} ${l} ${b}`, n * width))),
    ]),
  );
  const ids = Array.from({ length: 5 }, (_, i) => (i * 29 + 7) % spec.vocab);
  const values: Record<string, Tensor> = { ids: tensorOf([5], ids, "i32") };
  if (entry === "draft") values.hidden = tensorOf([5, spec.hidden], noise("hidden", 5 * spec.hidden));
  const made = new Map<string, Tensor>();
  const weight = (name: string, layer: number | null): Tensor => {
    const key = `${name} ${layer}`;
    if (!made.has(key)) made.set(key, weightOf(m, m.weights.get(name)!, layer, weight));
    return made.get(key)!;
  };
  return interpret(m, m.funcs.get(m.entries[entry]!)!, {
    batch: { starts: [0, 3, 5], lengths: [prefix[0] + 3, prefix[1] + 2], ids },
    values,
    weight,
    caches,
  }).logits.data;
}

/** A weight is a function of its checkpoint names, so that packing and placing do not change it. */
function weightOf(m: Module, decl: WeightDecl, layer: number | null, weight: (n: string, l: number | null) => Tensor): Tensor {
  const shape = decl.type.dims.map((d) => sizeOf(d, {}));
  const { source } = decl;
  if (source.kind === "computed") return interpret(m, m.funcs.get(source.by)!, { weight }, layer)[source.result];
  if (source.kind === "rope") {
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
  const per = shape.slice(-2).reduce((a, b) => a * b, 1);
  const leading = shape.slice(0, -2);
  const scaled = decl.type.dtype === "e4m3/128x128";
  const perScale = scaled ? Math.ceil(shape.at(-1)! / 128) * Math.ceil(shape.at(-2)! / 128) : 0;
  const count = leading.reduce((a, b) => a * b, 1);
  const data = new Float64Array(count * per);
  const scales = new Float64Array(count * perScale);
  const norm = shape.length === 1 && /norm/.test(decl.name);
  for (const p of source.pieces) {
    const fill = (index: number[]): void => {
      if (index.length < (p.at.length ? leading.length : 0)) {
        const a = p.at[index.length];
        const [from, to] =
          a === "*" ? [0, leading[index.length]] : typeof a === "number" ? [a, a + 1] : a.split("..").map(Number);
        for (let i = from; i < to; i++) fill([...index, i]);
        return;
      }
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
        for (let r = 0; r < to - from; r++)
          data.set(
            raw.subarray(r * own, (r + 1) * own).map((v) => v / 6),
            start + r * width,
          );
        return;
      }
      data.set(
        scaled
          ? raw.map((v) => e4m3Values[Math.floor((v + 1) * 59)] / 8)
          : norm
            ? raw.map((v) => 1 + v / 4)
            : raw.map((v) => v / 6),
        flat * per + from * width,
      );
      if (scaled)
        scales.set(
          noise(`${name} scales`, Math.ceil((to - from) / 128) * columns).map((v) => 0.02 + v / 100),
          flat * perScale + (from / 128) * columns,
        );
    };
    fill([]);
  }
  return tensorOf(shape, data, decl.type.dtype, scaled ? scales : undefined);
}

/** Numbers in [-1, 1) that depend on a name alone. */
function noise(name: string, n: number): Float64Array {
  let x = 2166136261;
  for (const c of name) x = Math.imul(x ^ c.charCodeAt(0), 16777619);
  return Float64Array.from({ length: n }, () => {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    return (x >>> 8) / 2 ** 23 - 1;
  });
}

/** The largest difference of two lists; Infinity where a number is NaN or infinite, or one list is longer. */
export function largest(a: Float64Array, b: Float64Array): number {
  let d = a.length === b.length ? 0 : Infinity;
  for (let i = 0; i < a.length; i++) {
    const apart = Math.abs(a[i] - b[i]);
    d = Math.max(d, Number.isNaN(apart) ? Infinity : apart);
  }
  return d;
}
