// The small model that a divided one is proved on: what the mesh divides of the whole model it divides of the small one too, in whole
// heads, whole experts and, of FP8 weights, whole blocks of 128. What stays whole keeps the odd widths of any small model.
import type { Module } from "../../ir/index.ts";
import type { Mesh } from "../../ir/mesh.ts";
import { choicesOf, type Group } from "../../passes/shard/table.ts";
import { modelModule } from "../frontend/model.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import { shrink, type Widths } from "./shrink.ts";

/** Heads of a rank, and their widths, that give whole blocks: 4 x (32 + 32) rows of q, 4 x (32 + v) of kv, 4 x v columns of o. */
const HEADS = 4;
const WIDTH = 32;

/** A model as it is written, where nobody has it. */
const written = (spec: ModelSpec): Module => modelModule(spec, { activations: "f32", actQuant: "dynamic", taps: false });

/** Groups of weights that a mesh divides in some layer of a model. */
export function dividedGroups(spec: ModelSpec, mesh: Mesh, module = written(spec)): Set<Group> {
  const choices = choicesOf(module, mesh);
  return new Set(choices.flatMap((c) => (c.why === undefined ? [c.group] : [])));
}

/** The small model for a mesh; `module` is the whole one, where it is at hand. */
export function shrinkFor(s: ModelSpec, mesh: Mesh, module?: Module): ModelSpec {
  const groups = dividedGroups(s, mesh, module);
  const { tp, ep } = mesh;
  /** The least multiple of the parts, and of blocks in each, that is not below `from`. */
  const parts = (n: number, from: number): number => n * (s.fp8 ? 128 : Math.ceil(from / n));
  const widths: Widths = {
    ...(groups.has("heads") ? headsOf(s, tp) : {}),
    ...(groups.has("dense") ? { intermediate: parts(tp, 141) } : {}),
    ...(groups.has("vocabulary") ? { vocab: tp * Math.ceil(67 / tp) } : {}),
    // Experts are as wide as the shared one, which all ranks divide.
    ...(groups.has("experts") || groups.has("shared")
      ? { expertWidth: parts(groups.has("shared") ? tp : tp / ep, 73), experts: Math.max(8, ep) }
      : {}),
  };
  return shrink(s, widths);
}

function headsOf(s: ModelSpec, tp: number): Widths {
  if (!s.fp8) return { heads: tp * Math.max(1, Math.floor(HEADS / tp)) };
  const vDim = s.vDim > s.nope ? 2 * WIDTH : WIDTH;
  return { heads: HEADS * tp, nope: WIDTH, rope: WIDTH, vDim, kvLora: WIDTH + 8 };
}
