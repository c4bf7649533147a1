// Weights that are computed from stored ones once, when weights are loaded: a function of the module writes each, layer by layer.
import { DiagnosticError } from "../ir/diagnostic.ts";
import { isWeight, weightName, type Func, type Module, type Value, type WeightDecl } from "../ir/graph.ts";
import { weight } from "../ir/ops/index.ts";
import { Terms } from "../ir/terms.ts";
import { asTensor } from "../ir/types.ts";
import { noFunction } from "./diagnostics.ts";

/** What the axes of a value that is made of weights are in terms of the config. */
export const sizesIn = ({ quantities }: Module, v: Value): Pick<WeightDecl, "sizes"> =>
  quantities ? { sizes: new Terms(quantities).axes(v) } : {};

/** Collects the weights that a pass wants computed, and gives the module that has them. */
export interface AtLoad {
  /**
   * The weight of that name, computed from others; asked for again, the same. `from` are the stored weights that it is made of, of
   * the same layers, and `value` builds what it is from them.
   */
  weight(name: string, from: readonly Value[], value: (from: readonly Value[]) => Value): Value;
  /** The module with these functions, its new weights, and the functions that compute them. */
  module(funcs: ReadonlyMap<string, Func>): Module;
}

/** For a pass over the module: `whole(m, cx) { const loaded = atLoad(m); ... return loaded.module(funcs); }` */
export function atLoad(m: Module): AtLoad {
  const weights = new Map(m.weights);
  const writes: { by: string; decl: WeightDecl; value: Value }[] = [];
  return {
    weight(name, from, value) {
      const known = weights.get(name);
      if (known) return weight(m.graph, known);
      const decls = from.map((v) => declOf(m, v));
      const made = value(from);
      const layers = decls.map((d) => d.layers).find((l) => l !== undefined) ?? decls[0].layers;
      const by = `load/${name}`;
      const decl: WeightDecl = {
        name,
        type: asTensor(made.type),
        layers,
        source: { kind: "computed", by, result: "w" },
        origin: decls.flatMap((d) => d.origin),
        ...sizesIn(m, made),
      };
      weights.set(name, decl);
      writes.push({ by, decl, value: made });
      return weight(m.graph, decl);
    },
    module: (funcs) => ({
      ...m,
      weights,
      funcs: new Map([
        ...writes.map(({ by, value }): [string, Func] => [
          by,
          { name: by, params: [], results: [{ name: "w", value }], assume: {} },
        ]),
        ...funcs,
      ]),
      load: [...m.load, ...writes.map(({ by, decl }) => ({ func: by, layers: decl.layers ?? [0], writes: { w: decl.name } }))],
    }),
  };
}

/** The declaration of a stored weight; what is none cannot be computed from when weights are loaded. */
function declOf(m: Module, v: Value): WeightDecl {
  const decl = isWeight(v) ? m.weights.get(weightName(v)!) : undefined;
  if (decl) return decl;
  throw new DiagnosticError(
    noFunction({
      pass: "at load",
      func: undefined,
      what: `a weight is computed from ${v.node.op.name}, which is no stored weight`,
    }),
  );
}
