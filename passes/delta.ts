// What one firing changes in cost: nodes that nothing reads any more go, nodes made for it come. Inside a region a node
// counts once per slice; what depends on weights alone is free, for it runs when they are loaded.
import { ofWeights } from "../ir/index.ts";
import { costOf, type Assume, type Cost } from "../ir/cost.ts";
import type { Func, Node, Value } from "../ir/graph.ts";

/** The sizes a function's cost is judged at: its own, and those of a decode step for a text that states none. */
export const assumed = (f: Pick<Func, "assume">): Assume => ({
  T: 16,
  B: 16,
  t: 1,
  s: 4096,
  S: 4096,
  E: 1,
  m: 1,
  P: 64,
  ...f.assume,
});

const zero = (): Cost => ({ flops: 0, bytes: 0, launches: 0 });

export const difference = (after: Cost, before: Cost): Cost => ({
  flops: after.flops - before.flops,
  bytes: after.bytes - before.bytes,
  launches: after.launches - before.launches,
});

/** What a firing removed and made, and the difference in cost. */
export interface Change {
  delta: Cost;
  gone: readonly Node[];
  made: readonly Node[];
}

/** `matched` are the pattern's nodes, the root's first; `fresh` says whether a node is new to the function. */
export function changeOf(
  roots: readonly Value[],
  to: readonly Value[],
  matched: readonly Node[],
  uses: (v: Value) => number,
  fresh: (n: Node) => boolean,
  assume: Assume,
  times: number,
): Change {
  const delta = zero();
  const count = (n: Node, sign: number): void => {
    if (fromWeights(n)) return;
    const c = costOf(n, assume);
    delta.flops += sign * times * c.flops;
    delta.bytes += sign * times * c.bytes;
    delta.launches += sign * times * c.launches;
  };
  const gone = new Set<Node>();
  for (const n of matched) {
    const readers = [...gone].flatMap((g) => g.operands);
    const dead = n.results.every((r) => roots.includes(r) || uses(r) <= readers.filter((o) => o === r).length);
    if (!dead) continue;
    gone.add(n);
    count(n, -1);
  }
  const made = new Set<Node>();
  const walk = (v: Value): void => {
    if (made.has(v.node) || !fresh(v.node)) return;
    made.add(v.node);
    count(v.node, 1);
    for (const o of v.node.operands) walk(o);
  };
  for (const v of to) walk(v);
  return { delta, gone: [...gone], made: [...made] };
}

const fromWeights = (n: Node): boolean => ofWeights(n, fromWeights);
