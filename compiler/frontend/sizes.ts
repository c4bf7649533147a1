// The sizes of a model as numbers that know what they are: every axis that the frontend declares is put together from these, so that
// each axis of every graph and each field of every kernel leads back to the keys of the config (ir/term.ts).
import { productOf, sumOf, type Quantities, type Term } from "../../ir/term.ts";
import type { ModelSpec } from "./spec.ts";

/** A number and what it is. */
export interface Sized {
  readonly n: number;
  readonly term: Term;
}

/** Side by side: the first of them comes first in memory. */
export const plus = (...of: readonly Sized[]): Sized => ({
  n: of.reduce((a, s) => a + s.n, 0),
  term: sumOf(of.map((s) => s.term)),
});

/** The first of them is the outer one. */
export const times = (...of: readonly Sized[]): Sized => ({
  n: of.reduce((a, s) => a * s.n, 1),
  term: productOf(of.map((s) => s.term)),
});

/** A number that no config says. */
export const always = (n: number): Sized => ({ n, term: n });

/** Every size of a config by the name of its field. */
export function quantitiesOf(spec: ModelSpec): Quantities {
  const { hidden, vocab, heads, qLora, kvLora, nope, rope, vDim, intermediate, maxPositions, moe } = spec;
  return {
    hidden,
    vocab,
    heads,
    ...(qLora === null ? {} : { qLora }),
    kvLora,
    nope,
    rope,
    vDim,
    intermediate,
    maxPositions,
    ...(moe
      ? {
          experts: moe.experts,
          topk: moe.topk,
          groups: moe.groups,
          kept: moe.kept,
          shared: moe.shared,
          moeIntermediate: moe.intermediate,
        }
      : {}),
  };
}

export type Sizes = Readonly<Record<string, Sized>>;

/** The same as sizes to declare axes with. */
export const sizesOf = (spec: ModelSpec): Sizes =>
  Object.fromEntries(Object.entries(quantitiesOf(spec)).map(([term, n]) => [term, { n, term }]));
