// Small models derived from a large one. `shrink`: every mechanism stays (groups, ragged blocks, odd widths, ranks, the ramp of
// YaRN, the extra layer), only sizes go down; ratios that rules depend on are kept: r > n for absorption, experts per group.
// `keepLayers`: the first layers at full width, as the checkpoint has them.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { tooManyLayers } from "../diagnostics.ts";
import type { ModelSpec, MoeSpec } from "../frontend/spec.ts";

export interface Reduction {
  /** Keep this many of the first layers. */
  layers?: number;
  /** Make every width small. */
  shrink?: boolean;
}

/** Applies both, layers first. */
export function reduce(spec: ModelSpec, { layers, shrink: small }: Reduction): ModelSpec {
  const kept = layers === undefined ? spec : keepLayers(spec, layers);
  return small ? shrink(kept) : kept;
}

/** The first `count` layers. The extra prediction layer goes: it continues the last layer, which is not there. */
function keepLayers(s: ModelSpec, count: number): ModelSpec {
  if (count > s.layers.length) throw new DiagnosticError(tooManyLayers({ asked: count, has: s.layers.length }));
  return count === s.layers.length ? s : { ...s, layers: s.layers.slice(0, count), mtp: 0 };
}

/** Widths that a small model has to have, where it is divided over ranks (compiler/analysis/shrink-mesh.ts). */
export type Widths = Partial<
  Pick<ModelSpec, "heads" | "nope" | "rope" | "vDim" | "kvLora" | "intermediate" | "vocab"> & {
    experts: number;
    expertWidth: number;
  }
>;

export function shrink(s: ModelSpec, widths: Widths = {}): ModelSpec {
  const { experts, expertWidth, ...own } = widths;
  // Just over one block of 128, and not a multiple of anything: edges are where passes go wrong.
  const odd = (n: number, to: number): number => Math.min(n, to + (n % 2));
  const rope = Math.min(s.rope, own.rope ?? 8);
  const vocab = Math.min(s.vocab, own.vocab ?? 67);
  // One layer of each kind is no sequence of layers; two are.
  const kinds = [...new Set(s.layers)].flatMap((k) => [k, k].slice(0, s.layers.filter((l) => l === k).length));
  const every = s.rope / rope;
  return {
    ...s,
    values: {},
    hidden: Math.min(s.hidden, 160),
    vocab,
    heads: Math.min(s.heads, 4),
    qLora: s.qLora === null ? null : Math.min(s.qLora, 136),
    kvLora: Math.min(s.kvLora, 40),
    nope: Math.min(s.nope, 12),
    rope,
    vDim: Math.min(s.vDim, s.vDim > s.nope ? 16 : 12),
    intermediate: odd(s.intermediate, 140),
    layers: kinds,
    moe: s.moe && shrinkMoe(s.moe, expertWidth ?? odd(s.moe.intermediate, 72), experts),
    position: { ...s.position, invFreq: Array.from({ length: rope / 2 }, (_, j) => s.position.invFreq[Math.floor(j * every)]) },
    maxPositions: Math.min(s.maxPositions, 128),
    bos: s.bos !== null && s.bos < vocab ? s.bos : null,
    eos: s.eos.filter((id) => id < vocab),
    ...own,
  };
}

function shrinkMoe(m: MoeSpec, intermediate: number, most?: number): MoeSpec {
  const groups = Math.min(m.groups, most === undefined ? 4 : 2);
  const size = Math.min(m.experts / m.groups, most === undefined ? (m.groups > 1 ? 4 : 8) : most / groups);
  const kept = Math.min(m.kept, 2, groups);
  return { ...m, groups, kept, experts: groups * size, topk: Math.min(m.topk, 3, size * kept), intermediate };
}
