// Activations of gated feed-forward layers: the one table. An entry is what `hidden_act` of a config calls it, its meaning in
// float64 and
// as element arithmetic of a tile program; every target prints, lowers or interprets the latter. Adding one is an entry here.
import { attr } from "./attr.ts";
import { f } from "./kernel/build.ts";
import { broughtWords, type Activation } from "./vocabulary.ts";

export type { Activation } from "./vocabulary.ts";

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
} as const satisfies Readonly<Record<string, Omit<Activation, "name">>>;

export type ActivationName = keyof typeof table;
export const activations: Readonly<Record<ActivationName, Omit<Activation, "name">>> = table;
export const activationNames = Object.freeze(Object.keys(table) as ActivationName[]);

/** dsc's own activations and those that plug-ins brought, by name. */
const everyActivation = (): Activation[] => [
  ...activationNames.map((name) => ({ name, ...activations[name] })),
  ...broughtWords().activations,
];

/** Names of all activations that are known here. */
export const knownActivations = (): string[] => everyActivation().map((a) => a.name);

/** The activation of that name. */
export function activationNamed(name: string): Activation {
  const found = everyActivation().find((a) => a.name === name);
  if (!found) throw new RangeError(`there is no activation ${name}: ${knownActivations().join(", ")}`);
  return found;
}

/** The activation that a config means by a name, or undefined. */
export const activationOf = (name: string): ActivationName | undefined =>
  everyActivation().find((a) => a.name === name || a.also?.includes(name))?.name as ActivationName | undefined;

/** Declares an activation of a plug-in; it is held to itself (its `value` and its `tile`) before it is used. */
export const activation = (a: Activation): Activation => Object.freeze({ ...a });

/** What the gated ops have in common: act(min(gate, limit)) * clamp(up, -limit, limit), or act(gate) * up where limit is 0. */
export interface Gating {
  readonly act: ActivationName;
  readonly limit: number;
}

/** The attributes of gated ops. */
export const gating = {
  act: {
    ...attr.word(activationNames, "silu"),
    get choices(): readonly ActivationName[] {
      return knownActivations() as ActivationName[];
    },
  },
  limit: attr.f32(0),
};

/** A gated value in float64. */
export function gatedValue(gate: number, up: number, { act, limit }: Gating): number {
  const { value } = activationNamed(act);
  return limit === 0 ? value(gate) * up : value(Math.min(gate, limit)) * Math.min(Math.max(up, -limit), limit);
}

/** FLOPs of a gated value. */
export const gatingFlops = ({ act, limit }: Gating): number => activationNamed(act).flops + 1 + (limit === 0 ? 0 : 3);
