// The caches of a module: what its functions take as state, by name. One name is one cache wherever it stands.
import type { Func, Module, NamedValue } from "./graph.ts";
import { printType, type CacheType } from "./types.ts";

type Differs = (f: Func, param: NamedValue, problem: string) => void;

/** By name, the first type that a function has for it; `differs` hears of others. */
export function cachesOf(m: Pick<Module, "funcs">, differs: Differs = () => {}): ReadonlyMap<string, CacheType> {
  const found = new Map<string, CacheType>();
  for (const f of m.funcs.values())
    for (const p of f.params) {
      const { type } = p.value;
      if (type.kind !== "cache") continue;
      const known = found.get(type.name);
      if (!known) found.set(type.name, type);
      else if (printType(known) !== printType(type))
        differs(f, p, `takes %${p.name} as ${printType(type)}, and another function has ${printType(known)}`);
    }
  return found;
}
