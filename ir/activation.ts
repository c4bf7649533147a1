// Activations of gated feed-forward layers: the one table. An entry is what `hidden_act` of a config calls it, its meaning in
// float64 and
// as element arithmetic of a tile program; every target prints, lowers or interprets the latter. Adding one is an entry here.
import { attr } from "./attr.ts";
import { f } from "./kernel/build.ts";
import type { MapExpr, Tile } from "./kernel/stmt.ts";

interface Activation {
  /** Other names that configs have for it. */
  also?: readonly string[];
  /** transformers' class. */
  module: string;
  flops: number;
  /** Of one number: the reference. */
  value: (x: number) => number;
  /** The same, rounded to f32 after each operation. */
  tile: (x: Tile) => MapExpr;
}

// 2 sqrt(2 / pi), and the cubic's weight: x (1 + tanh u) / 2 = x / (1 + exp(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3).
const GELU = { by: 2 * Math.sqrt(2 / Math.PI), cubic: 0.044715 };

const table = {
  silu: {
    also: ["swish"],
    module: "SiLUActivation",
    flops: 4,
    value: (x) => x / (1 + Math.exp(-x)),
    tile: (x) => f.div(x, f.add(1, f.exp(f.neg(x)))),
  },
  gelu_pytorch_tanh: {
    module: "GELUTanh",
    flops: 9,
    value: (x) => x / (1 + Math.exp(-GELU.by * (x + GELU.cubic * x ** 3))),
    tile(x) {
      const u = f.add(x, f.mul(f.mul(f.mul(x, x), x), GELU.cubic));
      return f.div(x, f.add(1, f.exp(f.mul(u, -GELU.by))));
    },
  },
} as const satisfies Readonly<Record<string, Activation>>;

export type ActivationName = keyof typeof table;
export const activations: Readonly<Record<ActivationName, Activation>> = table;
export const activationNames = Object.freeze(Object.keys(table) as ActivationName[]);

/** The activation that a config means by a name, or undefined. */
export const activationOf = (name: string): ActivationName | undefined =>
  activationNames.find((n) => n === name || activations[n].also?.includes(name));

/** What the gated ops have in common: act(min(gate, limit)) * clamp(up, -limit, limit), or act(gate) * up where limit is 0. */
export interface Gating {
  readonly act: ActivationName;
  readonly limit: number;
}

/** The attributes of gated ops. */
export const gating = { act: attr.word(activationNames, "silu"), limit: attr.f32(0) };

/** A gated value in float64. */
export function gatedValue(gate: number, up: number, { act, limit }: Gating): number {
  const { value } = activations[act];
  return limit === 0 ? value(gate) * up : value(Math.min(gate, limit)) * Math.min(Math.max(up, -limit), limit);
}

/** FLOPs of a gated value. */
export const gatingFlops = ({ act, limit }: Gating): number => activations[act].flops + 1 + (limit === 0 ? 0 : 3);
