// Decode steps as CUDA graphs: one or two for each batch size and set of addresses, replayed for every length, because no launch of
// theirs depends on lengths. The first step of a kind runs launch by launch, which lets workspaces grow; the next is captured.
import type { Call } from "../../device.ts";
import type { CudaGraph } from "./index.ts";

/** Keys whose graphs are kept: batch sizes seen lately. */
const MOST = 96;

/** A step that follows the last moves its tables on by itself; another has them sent. */
export type Kind = "advanced" | "uploaded";

export class Graphs {
  /** By key; an empty record is one that has been seen. */
  private readonly graphs = new Map<string, Partial<Record<Kind, CudaGraph>>>();
  /** The graph given last. */
  last: { kind: Kind; graph: CudaGraph } | undefined;

  /** The graph of a call, made by `capture`; undefined at the first sight of its key. */
  of(key: string, kind: Kind, capture: () => CudaGraph): CudaGraph | undefined {
    const known = this.graphs.get(key);
    if (known === undefined) {
      this.makeRoom();
      this.graphs.set(key, {});
      return undefined;
    }
    const graph = (known[kind] ??= capture());
    // Last used is last forgotten.
    this.graphs.delete(key);
    this.graphs.set(key, known);
    this.last = { kind, graph };
    return graph;
  }

  private makeRoom(): void {
    for (const key of this.graphs.keys()) {
      if (this.graphs.size < MOST) return;
      this.drop(key);
    }
  }

  private drop(key: string): void {
    for (const graph of Object.values(this.graphs.get(key)!)) {
      graph.destroy();
      if (graph === this.last?.graph) this.last = undefined;
    }
    this.graphs.delete(key);
  }

  /** Forgets all: an address inside them has moved. */
  clear(): void {
    for (const key of this.graphs.keys()) this.drop(key);
  }
}

/** What a graph holds fixed: the function, the batch's sizes and every address. */
/** `caches`: the names of the caches that a layer has. */
export function graphKey(
  { function: name, layer, batch, args, arena, places, sampling }: Call,
  caches: readonly string[],
): string {
  const tables = (["positions", "sequence", "starts", "lengths", "pages", "ids"] as const).map((t) => places.batch(t));
  return [
    name,
    layer ?? "",
    batch!.lengths.length,
    batch!.pages,
    arena,
    ...caches.map((c) => places.cache(c, 0)),
    ...tables,
    ...[...args].flat(),
    sampling?.choices,
    sampling?.seen,
  ].join(" ");
}
