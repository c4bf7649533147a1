// Synthetic weights: every value is a pure function of (seed, tensor name, flat row-major index), in 32-bit arithmetic.
// The rules go by tensor name; each value is exact in f32. bf16 tensors round to nearest even, FP8 ones have codes and scales.
// fill() writes a range of one tensor, so that threads can share a tensor without a second copy of it.
import type { FILL_FORMS } from "../ir/system.ts";
import * as diagnostics from "./diagnostics.ts";

export type Kind = "linear" | "router" | "head" | "embed" | "norm" | "bias" | "router_bias";

/** How values are stored. "bf16-in-f32" is a bf16 checkpoint widened to f32 exactly. */
export type Form = (typeof FILL_FORMS)[number];

/** A range of one tensor's elements to generate. `key` and `exponent` come from `describe`. */
export interface Recipe {
  key: number;
  exponent: number;
  /** 1 for norms, else 0: added to the scaled value. */
  plus: number;
  form: Form;
}

const LINEAR = /\.(q_proj|q_a_proj|q_b_proj|kv_a_proj_with_mqa|kv_b_proj|o_proj|gate_proj|up_proj|down_proj|eh_proj)\.weight$/;
const PRIME = 0x01000193;

/** The rule a tensor falls under. Throws DSC5024 for a name with none. */
export function kindOf(name: string): Kind {
  if (name.endsWith("e_score_correction_bias")) return "router_bias";
  if (name.endsWith(".bias")) return "bias";
  if (name.endsWith("embed_tokens.weight")) return "embed";
  if (name === "lm_head.weight" || name.endsWith("shared_head.head.weight")) return "head";
  if (name.endsWith(".mlp.gate.weight")) return "router";
  if (name.endsWith("norm.weight")) return "norm";
  if (LINEAR.test(name)) return "linear";
  throw diagnostics.noSyntheticKind({ tensor: name });
}

/** Whether FP8 checkpoints store the tensor as codes and scales: linears, but for eh_proj. */
export const isFp8Name = (name: string): boolean => LINEAR.test(name) && !name.endsWith("eh_proj.weight");

export function fnv1a32(name: string): number {
  let h = 0x811c9dc5;
  for (const b of new TextEncoder().encode(name)) h = Math.imul(h ^ b, PRIME);
  return h >>> 0;
}

function fmix32(x: number): number {
  x ^= x >>> 16;
  x = Math.imul(x, 0x85ebca6b);
  x ^= x >>> 13;
  x = Math.imul(x, 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

export const keyOf = (seed: number, name: string): number => fmix32(fnv1a32(name) ^ Math.imul(seed, 0x9e3779b1));

/** The 32-bit hash of element i (0 <= i < 2^32). */
export const hashAt = (key: number, i: number): number => fmix32(fmix32(i) ^ key);

/** log2 of the bound a: values lie in [-a, a). `columns` is the last dim, the fan-in of linears. */
export function exponentOf(kind: Kind, columns: number): number {
  if (kind === "embed" || kind === "norm") return -2;
  if (kind === "bias") return -4;
  if (kind === "router_bias") return -3;
  return -Math.floor(Math.floor(Math.log2(columns)) / 2);
}

/** The recipe of a tensor of a checkpoint; for scales give the weight's own name and shape. */
export function describe(seed: number, name: string, shape: readonly number[], form: Form): Recipe {
  const kind = kindOf(name);
  const scale = form === "scale" || form === "scale-ue8m0";
  return {
    key: keyOf(seed, scale ? `${name}_scale_inv` : name),
    exponent: exponentOf(kind, shape[shape.length - 1] ?? 1),
    plus: kind === "norm" ? 1 : 0,
    form,
  };
}

/** Prompt ids of the oracle: hash(key(seed, "prompt"), i) mod vocab. */
export const promptIds = (seed: number, count: number, vocab: number): number[] =>
  Array.from({ length: count }, (_, i) => hashAt(keyOf(seed, "prompt"), i) % vocab);

/** Bytes per element of a form. */
export const formBytes = (form: Form): number => (form === "bf16" ? 2 : form === "e4m3" ? 1 : 4);

/** Writes elements [start, start + count) at byte `at` of `buffer` (aligned to the element). */
export function fill(buffer: ArrayBufferLike, at: number, r: Recipe, start: number, count: number): void {
  switch (r.form) {
    case "bf16":
      return fillTable(new Uint16Array(buffer, at, count), bf16Table(r), r.key, start);
    case "bf16-in-f32":
      return fillTable(
        new Uint32Array(buffer, at, count),
        Uint32Array.from(bf16Table(r), (b) => b << 16),
        r.key,
        start,
      );
    case "e4m3":
      return fillTable(new Uint8Array(buffer, at, count), codes(), r.key, start);
    case "f32": {
      const out = new Float32Array(buffer, at, count);
      const step = 2 ** (r.exponent - 15);
      for (let j = 0; j < count; j++) out[j] = r.plus + ((hashAt(r.key, start + j) >>> 16) - 32768) * step;
      return;
    }
    case "scale":
    case "scale-ue8m0": {
      const out = new Float32Array(buffer, at, count);
      const base = 2 ** (r.exponent - 8);
      for (let j = 0; j < count; j++) {
        const h = hashAt(r.key, start + j);
        out[j] = r.form === "scale" ? base * (1 + (h >>> 16) * 2 ** -18) : base * (h >>> 31 ? 0.5 : 1);
      }
    }
  }
}

/** The hot loop: two hash rounds and one look-up per element. Written out, for calls cost more than the arithmetic. */
function fillTable(out: Uint8Array | Uint16Array | Uint32Array, table: typeof out, key: number, start: number): void {
  const n = out.length;
  for (let j = 0; j < n; j++) {
    let x = (start + j) | 0;
    x ^= x >>> 16;
    x = Math.imul(x, 0x85ebca6b);
    x ^= x >>> 13;
    x = Math.imul(x, 0xc2b2ae35);
    x ^= (x >>> 16) ^ key;
    x ^= x >>> 16;
    x = Math.imul(x, 0x85ebca6b);
    x ^= x >>> 13;
    x = Math.imul(x, 0xc2b2ae35);
    out[j] = table[x >>> 16];
  }
}

const tables = new Map<string, Uint16Array>();

/** bf16 bits by the top 16 bits of the hash. */
function bf16Table(r: Recipe): Uint16Array {
  const name = `${r.exponent} ${r.plus}`;
  let table = tables.get(name);
  if (!table) {
    const value = new Float32Array(1);
    const bits = new Uint32Array(value.buffer);
    table = Uint16Array.from({ length: 65536 }, (_, u) => {
      value[0] = r.plus + (u - 32768) * 2 ** (r.exponent - 15);
      return (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) >>> 16;
    });
    tables.set(name, table);
  }
  return table;
}

let codeTable: Uint8Array | undefined;

/** e4m3 codes of s16 / 128 by the top 16 bits of the hash: nearest even on a grid of 8 steps an octave, 2^-9 below 2^-6. */
function codes(): Uint8Array {
  return (codeTable ??= Uint8Array.from({ length: 65536 }, (_, u) => {
    const x = (u - 32768) / 128;
    const a = Math.abs(x);
    const e = a < 2 ** -6 ? -6 : Math.floor(Math.log2(a));
    const scaled = a / 2 ** (e - 3);
    const down = Math.floor(scaled);
    const rest = scaled - down;
    const m = rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
    return (x < 0 ? 0x80 : 0) | (a < 2 ** -6 ? m : ((e + 7) << 3) + m - 8);
  }));
}
