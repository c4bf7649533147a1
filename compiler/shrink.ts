// A small config derived from a large one: every mechanism stays (groups, ragged blocks, odd widths, ranks, the extra
// layer), only sizes go down. Ratios that rules depend on are kept: r > n for absorption, experts per group.
import { ropeSpec } from "./frontend/rope.ts";
import type { ModelSpec } from "./frontend/spec.ts";

export function shrink(s: ModelSpec): ModelSpec {
  const heads = Math.min(s.heads, 4);
  const rope = Math.min(s.rope, 8);
  // Just over one block of 128, and not a multiple of anything: edges are where passes go wrong.
  const odd = (n: number, to: number): number => Math.min(n, to + (n % 2));
  const kinds = [...new Set(s.layers)];
  const moe = s.moe && {
    ...s.moe,
    experts: Math.min(s.moe.experts, s.moe.groups > 1 ? 2 * Math.min(s.moe.groups, 4) * 2 : 8),
    groups: s.moe.groups > 1 ? Math.min(s.moe.groups, 4) : 1,
    kept: s.moe.groups > 1 ? Math.max(1, Math.min(s.moe.kept, 2)) : 1,
    topk: Math.min(s.moe.topk, 3),
    intermediate: odd(s.moe.intermediate, 72),
  };
  return {
    ...s,
    hidden: Math.min(s.hidden, 160),
    vocab: Math.min(s.vocab, 67),
    heads,
    qLora: s.qLora === null ? null : Math.min(s.qLora, 136),
    kvLora: Math.min(s.kvLora, 40),
    nope: Math.min(s.nope, 12),
    rope,
    vDim: Math.min(s.vDim, s.vDim > s.nope ? 16 : 12),
    intermediate: odd(s.intermediate, 140),
    layers: kinds.flatMap((k) => [k, k]),
    moe,
    position: ropeSpec(rope, s.position.theta, null, s.position.interleaved),
    maxPositions: Math.min(s.maxPositions, 128),
  };
}
