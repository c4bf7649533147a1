// The caches of a graph: inputs and outputs of their own for every layer.
import { topological, type Func } from "../../ir/graph.ts";
import { callOf } from "../../ir/ops/index.ts";
import { LATENT, type CacheType } from "../../ir/types.ts";

/** A cache of a layer: what its rows are called on the way in and out. */
export interface Kept {
  key: string;
  past: string;
  present: string;
  type: CacheType;
}

export const keyOf = (layer: number, { name }: CacheType): string => `${layer} ${name}`;

/** Caches of every layer: past.N is that of latents, others have their name behind it. */
export const keptOf = (main: Func): Kept[] =>
  layersOf(main).flatMap((layer) =>
    main.params.flatMap(({ value: { type } }): Kept[] => {
      if (type.kind !== "cache") return [];
      const of = type.name === LATENT ? String(layer) : `${layer}.${type.name}`;
      return [{ key: keyOf(layer, type), past: `past.${of}`, present: `present.${of}`, type }];
    }),
  );

/** The layers that a main function calls, in order. */
const layersOf = (main: Func): number[] =>
  topological(main.results.map((r) => r.value))
    .flatMap((n) => callOf(n)?.layer ?? [])
    .filter((l) => l >= 0)
    .toSorted((a, b) => a - b);
