// Graphs, ops and rules are values: what a pass is given cannot be changed in place, by a plug-in least of all. Assigning to a
// frozen field throws a TypeError where it is done, instead of changing the graph of passes that have already run.

/** Freezes plain objects and arrays all the way down; stops at what is frozen already, at maps, functions and classes. */
export function deepFreeze<T>(x: T): T {
  if (typeof x !== "object" || x === null || Object.isFrozen(x)) return x;
  const plain = Array.isArray(x) || Object.getPrototypeOf(x) === Object.prototype || Object.getPrototypeOf(x) === null;
  if (!plain) return x;
  Object.freeze(x);
  for (const v of Object.values(x)) deepFreeze(v);
  return x;
}

/** A map that cannot be written to; entries as they are. */
export function frozenMap<K, V>(entries: Iterable<readonly [K, V]>): ReadonlyMap<K, V> {
  const map = new Map<K, V>(entries);
  const refuse = (): never => {
    throw new TypeError("Cannot write to a map of the graph: it is read only");
  };
  for (const name of ["set", "delete", "clear"]) Object.defineProperty(map, name, { value: refuse });
  return Object.freeze(map);
}
