// Puts weights where they belong: from a checkpoint, or generated in place from a seed.
// Every tensor is checked (there, its shape, its dtype, its scales) before the first byte moves. Widening is exact (bf16 and f16
// to f32, e8m0 scales to f32); what would round is refused. How bytes reach their place is the device's.
import type { Diagnostic } from "../ir/diagnostic.ts";
import { DiagnosticError } from "../ir/diagnostic.ts";
import type { FillJob, StoredArray, WeightPlace } from "./device.ts";
import * as diagnostics from "./diagnostics.ts";
import type { TensorInfo } from "./safetensors.ts";
import { Checkpoint } from "./safetensors.ts";
import { undivided } from "./fused-experts.ts";
import { formatOf, isAdapter } from "./stored-format.ts";
import type { Form } from "./synthetic.ts";
import { describe, formBytes } from "./synthetic.ts";
import { elementBytes, type Placement } from "./weights.ts";

/** Gives weights their values. `check` throws one DiagnosticError with all that is wrong; `place` fills memory. */
export interface WeightSource {
  check(all: readonly Placement[]): void;
  place(device: WeightPlace, placements: readonly Placement[]): Promise<void>;
  close(): Promise<void>;
  /** Values come from files: they can be anything. */
  stored: boolean;
}

/** "synthetic:SEED", or a folder or file with a checkpoint. `ue8m0` picks power-of-two scales for synthetic FP8 weights. */
export async function openWeights(spec: string, ue8m0 = false): Promise<WeightSource> {
  if (!spec.startsWith("synthetic:")) return checkpointSource(await Checkpoint.open(spec), ue8m0);
  const seed = Number(spec.slice("synthetic:".length));
  if (!/^synthetic:\d+$/.test(spec) || seed >= 2 ** 32) throw diagnostics.badWeights({ spec });
  return syntheticSource(seed, ue8m0);
}

function syntheticSource(seed: number, ue8m0: boolean): WeightSource {
  const jobs = (p: Placement): FillJob[] => {
    if (p.from) return cut(p);
    const job = (at: number, count: number, form: Form): FillJob => ({
      at,
      count,
      start: 0,
      bytes: formBytes(form),
      recipe: describe(seed, p.tensor, p.shape, form),
    });
    const { pitch } = p;
    if (pitch) {
      const [width, size, form] = [
        p.shape[p.shape.length - 1],
        elementBytes[p.dtype],
        p.dtype === "f32" ? ("bf16-in-f32" as const) : ("bf16" as const),
      ];
      return Array.from({ length: p.count / width }, (_, r) => ({
        ...job(p.data + r * pitch * size, width, form),
        start: r * width,
      }));
    }
    if (p.scales) return [job(p.data, p.count, "e4m3"), job(p.scales.at, p.scales.count, ue8m0 ? "scale-ue8m0" : "scale")];
    if (p.dtype === "bf16") return [job(p.data, p.count, "bf16")];
    // A checkpoint keeps everything in bf16 but the router's bias; f32 plans hold those values widened.
    return [job(p.data, p.count, p.tensor.endsWith("e_score_correction_bias") ? "f32" : "bf16-in-f32")];
  };
  const cut = ({ from, pitch, ...p }: Placement): FillJob[] => {
    const [values, scales] = jobs({ ...p, count: p.count });
    const part = (job: FillJob, at: number, count: number, { first, width, pitch }: Part, apart = width): FillJob => ({
      ...job,
      at,
      start: first,
      count,
      ...(count > width ? { runs: { width, pitch, apart } } : {}),
    });
    const own = part(values, p.data, p.count, from!, pitch);
    if (!p.scales) return [own];
    const recipe = describe(seed, p.scales.tensor, p.scales.shape, ue8m0 ? "scale-ue8m0" : "scale");
    return [own, { ...part(scales, p.scales.at, p.scales.count, p.scales.from!), recipe }];
  };
  return {
    check: (all) => collect(all, (p) => void jobs(p)),
    place: (device, all) => device.fill(all.flatMap(jobs)),
    close: () => Promise.resolve(),
    stored: false,
  };
}

type Part = NonNullable<Placement["from"]>;

/** Runs of neighbouring elements that a part of a tensor is made of: where each goes, and where it begins in the tensor. */
function runsOf(
  at: number,
  count: number,
  bytes: number,
  { first, width, pitch }: Part,
  apart = width,
): { at: number; first: number; count: number }[] {
  return Array.from({ length: count / width }, (_, r) => ({
    at: at + r * apart * bytes,
    first: first + r * pitch,
    count: width,
  }));
}

function checkpointSource(checkpoint: Checkpoint, ue8m0: boolean): WeightSource {
  const { tensors } = checkpoint;
  return {
    check(all) {
      checkFormat(checkpoint, all);
      const missing = [...new Set(all.map((p) => p.tensor).filter((t) => !tensors.has(t)))];
      if (missing.length) throw diagnostics.missingTensors(checkpoint, missing, lastLayerOnly(all, missing));
      checkMixed(all, tensors);
      collect(all, (p) => checkTensor(p, tensors, ue8m0));
    },
    async place(device, all) {
      await device.place(all.flatMap((p) => arraysOf(checkpoint, p)));
      await checkpoint.unchanged();
    },
    close: () => checkpoint.close(),
    stored: true,
  };
}

const layerOf = (name: string): number => Number(/\.layers\.(\d+)\./.exec(name)?.[1] ?? -1);

/** Whether all that is missing is of the last layer, of which nothing is there: an extra prediction layer that was left out. */
function lastLayerOnly(all: readonly Placement[], missing: readonly string[]): boolean {
  const last = all.reduce((most, p) => Math.max(most, layerOf(p.tensor)), 0);
  const gone = new Set(missing);
  return (
    last > 0 &&
    missing.every((t) => layerOf(t) === last) &&
    all.every((p) => layerOf(p.tensor) !== last || gone.has(p.tensor)) &&
    missing.some((t) => t.endsWith(".eh_proj.weight"))
  );
}

/** Says what a checkpoint is, where its weights are stored in a format that is not read. */
function checkFormat({ where, tensors }: Checkpoint, all: readonly Placement[]): void {
  const read = (p: Placement): boolean =>
    tensors.get(p.tensor)?.dtype === "F8_E4M3"
      ? p.scales !== undefined && tensors.has(p.scales.tensor)
      : ["BF16", "F16", "F32"].includes(tensors.get(p.tensor)?.dtype ?? "");
  const foreign = all.flatMap((p) => {
    const what = read(p) ? undefined : formatOf(p.tensor, tensors);
    return what === undefined ? [] : [{ tensor: p.tensor, what }];
  });
  if (foreign.length)
    throw diagnostics.foreignStorage({ tensor: foreign[0].tensor, what: foreign[0].what, others: foreign.length - 1 });
  if (all.some((p) => !tensors.has(p.tensor)) && isAdapter(tensors.keys())) throw diagnostics.adapterOnly({ where });
}

/** Matrices that FP8 checkpoints of the family code. */
const CODED = /\.(?:\w+_proj|kv_a_proj_with_mqa)\.weight$/;

/** Refuses weights of which only some are FP8 codes in other words than those for a whole checkpoint of the other kind. */
function checkMixed(all: readonly Placement[], tensors: ReadonlyMap<string, TensorInfo>): void {
  const matrices = [
    ...new Map(all.filter((p) => CODED.test(p.tensor) && p.shape.length === 2).map((p) => [p.tensor, p])).values(),
  ];
  const coded = matrices.filter((p) => tensors.get(p.tensor)!.dtype === "F8_E4M3");
  if (coded.length === 0 || coded.length === matrices.length) return;
  if (matrices.every((p) => (tensors.get(p.tensor)!.dtype === "F8_E4M3") === (p.scales !== undefined))) return;
  const names = (of: readonly Placement[]): string[] => of.map((p) => p.tensor);
  throw diagnostics.mixedStorage({ coded: names(coded), plain: names(matrices.filter((p) => !coded.includes(p))) });
}

/** Runs a check on each, gathering up to ten diagnostics. */
function collect(all: readonly Placement[], check: (p: Placement) => void): void {
  const found: Diagnostic[] = [];
  for (const p of all) {
    if (found.length >= 10) break;
    try {
      check(p);
    } catch (e) {
      if (!(e instanceof DiagnosticError)) throw e;
      found.push(...e.diagnostics);
    }
  }
  if (found.length) throw new DiagnosticError(found);
}

const same = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((n, i) => n === b[i]);

function checkTensor(p: Placement, tensors: ReadonlyMap<string, TensorInfo>, ue8m0: boolean): void {
  const t = tensors.get(p.tensor) as TensorInfo;
  const partner = `${p.tensor}_scale_inv`;
  if (!same(t.shape, p.shape))
    throw diagnostics.wrongShape({ tensor: p.tensor, seen: t.shape, wanted: p.shape, symbol: p.symbol });
  const fits = p.dtype === "f32" ? ["F32", "BF16", "F16"] : p.dtype === "bf16" ? ["BF16"] : ["F8_E4M3"];
  if (!fits.includes(t.dtype))
    throw diagnostics.wrongDType({ tensor: p.tensor, seen: t.dtype, wanted: p.dtype, hasScales: tensors.has(partner) });
  if (!p.scales) return;
  const s = tensors.get(p.scales.tensor);
  if (!s) throw diagnostics.missingScales({ tensor: p.tensor, scales: p.scales.tensor, undivided: undivided(p.tensor, tensors) });
  if (!same(s.shape, p.scales.shape))
    throw diagnostics.wrongShape({
      tensor: s.name,
      seen: s.shape,
      wanted: p.scales.shape,
      symbol: `${p.symbol}, in blocks of 128 x 128,`,
    });
  // Exponents, as writers stored them before safetensors had a dtype for them.
  if (s.dtype === "U8" && !ue8m0) throw diagnostics.scalesAsBytes({ tensor: s.name });
  if (!["F32", "BF16", "F16", "F8_E8M0", "U8"].includes(s.dtype))
    throw diagnostics.wrongDType({ tensor: s.name, seen: s.dtype, wanted: "f32", hasScales: false });
}

/** The arrays of a tensor: its values, and the scales of an e4m3 one. */
function arraysOf(checkpoint: Checkpoint, p: Placement): StoredArray[] {
  const array = (name: string, at: number, count: number, toF32: boolean): StoredArray => {
    const t = checkpoint.tensors.get(name) as TensorInfo;
    return {
      at,
      count,
      form: toF32 ? forms[t.dtype] : "same",
      bytes: t.end - t.begin,
      read: (target, from) => checkpoint.read(t, target, from),
      file: { path: checkpoint.path(t), begin: t.begin, tensor: name, identity: checkpoint.identity(t) },
      dtype: t.dtype,
    };
  };
  /** Runs that follow each other in memory, as one array: matrices cut by columns have thousands, and R1 a hundred million. */
  const together = (
    whole: StoredArray,
    at: number,
    count: number,
    { first, width, pitch }: Part,
    stored: number,
  ): StoredArray => {
    const begin = first * stored;
    return {
      ...whole,
      at,
      count,
      bytes: count * stored,
      rows: { bytes: width * stored, pitch: width * stored, stored: pitch * stored },
      file: { ...whole.file, begin: whole.file.begin + begin },
      read: (target: Uint8Array, from: number) => whole.read(target, begin + from),
    };
  };
  /** Runs of a tensor, one array each; `bytes`: of an element in memory, `apart`: elements from one run to the next there. */
  const cut = (whole: StoredArray, shape: readonly number[], bytes: number, from: Part, apart = from.width): StoredArray[] => {
    const { at, count } = whole;
    const stored = whole.bytes / shape.reduce((a, b) => a * b, 1);
    if (count > from.width && whole.form === "same" && apart === from.width) return [together(whole, at, count, from, stored)];
    return runsOf(at, count, bytes, from, apart).map(({ at, first, count }) => ({
      ...whole,
      at,
      count,
      bytes: count * stored,
      file: { ...whole.file, begin: whole.file.begin + first * stored },
      read: (target: Uint8Array, from: number) => whole.read(target, first * stored + from),
    }));
  };
  if (p.from) {
    const values = array(p.tensor, p.data, p.count, p.dtype === "f32");
    const runs = cut(values, p.shape, elementBytes[p.dtype], p.from, p.pitch);
    if (!p.scales) return runs;
    const { tensor, at, count, shape, from } = p.scales;
    return [...runs, ...cut(array(tensor, at, count, true), shape, 4, from!)];
  }
  const { pitch } = p;
  if (pitch) {
    const [width, size] = [p.shape[p.shape.length - 1], elementBytes[p.dtype]];
    const whole = array(p.tensor, p.data, p.count, p.dtype === "f32");
    if (whole.form === "same") return [{ ...whole, rows: { bytes: width * size, pitch: pitch * size, stored: width * size } }];
    // Widened rows go one by one.
    const stored = whole.bytes / p.count;
    return Array.from({ length: p.count / width }, (_, r) => ({
      ...whole,
      at: p.data + r * pitch * size,
      count: width,
      bytes: width * stored,
      file: { ...whole.file, begin: whole.file.begin + r * width * stored },
      read: (target: Uint8Array, from: number) => whole.read(target, r * width * stored + from),
    }));
  }
  return [
    array(p.tensor, p.data, p.count, p.dtype === "f32"),
    ...(p.scales ? [array(p.scales.tensor, p.scales.at, p.scales.count, true)] : []),
  ];
}

const forms: Readonly<Record<string, StoredArray["form"]>> = {
  F32: "same",
  BF16: "bf16",
  F16: "f16",
  F8_E8M0: "e8m0",
  U8: "e8m0",
};
