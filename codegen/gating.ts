// What kernels of gated feed-forward layers share: the part of a problem that says how, its meaning as tiles, and why a kernel
// that knows
// one activation does not take another.
import { activationNamed, type ActivationName } from "../ir/activation.ts";
import type { Attrs } from "../ir/attr.ts";
import { f, type Body } from "../ir/kernel/build.ts";
import type { Tile } from "../ir/kernel/stmt.ts";
import { gatedPair } from "../ir/ops/index.ts";
import { refuse, type Refusal } from "./family.ts";
import { when } from "./text.ts";

/** Of a problem: the activation where it is not silu, and the limit where there is one. */
export interface GatingProblem {
  activation?: ActivationName;
  limit?: number;
}

/** The part of a problem that a gated op's attributes say. */
export function gatingOf(attrs: Attrs): GatingProblem {
  const { act, limit } = gatedPair.attrsOf(attrs);
  return { ...(act === "silu" ? {} : { activation: act }), ...(limit === 0 ? {} : { limit }) };
}

/** "silu_mul", "gelu_pytorch_tanh_mul_clamped": what names of kernels begin with. */
export const gatingName = ({ activation, limit }: GatingProblem): string =>
  `${activation ?? "silu"}_mul${when(limit !== undefined, "_clamped")}`;

/** "silu(gate) * up", in words. */
export const gatingWords = ({ activation, limit }: GatingProblem): string =>
  limit === undefined
    ? `${activation ?? "silu"}(gate) * up`
    : `${activation ?? "silu"}(min(gate, ${limit})) * clamp(up, -${limit}, ${limit})`;

/** The gated value of two tiles. */
export function gatedTile(k: Body, gate: Tile, up: Tile, { activation = "silu", limit }: GatingProblem): Tile {
  const { tile } = activationNamed(activation);
  if (limit === undefined) return k.map("act", f.mul(tile(gate), up));
  // By comparisons, which leave NaN what it is.
  const capped = k.map("capped", f.select(f.lt(limit, gate), limit, gate));
  const clamped = k.map("clamped", f.select(f.lt(limit, up), limit, f.select(f.lt(up, -limit), -limit, up)));
  return k.map("act", f.mul(tile(capped), clamped));
}

/** Why a kernel whose text says silu does not take a site, or null. */
export function onlySilu(attrs: Attrs): Refusal | null {
  const by = gatingOf(attrs);
  return by.activation || by.limit !== undefined
    ? refuse(`its text gates by silu(gate) * up, and this is ${gatingWords(by)}`)
    : null;
}
