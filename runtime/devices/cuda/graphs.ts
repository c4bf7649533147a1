// Decode steps as CUDA graphs: one for each batch size and set of addresses, replayed for every length, because no launch of
// theirs depends on lengths. The first step of a kind runs launch by launch, which lets workspaces grow; the next is captured.
import type { Call } from "../../device.ts";
import type { CudaGraph } from "./index.ts";

/** Graphs kept: batch sizes seen lately. */
const MOST = 96;

export class Graphs {
  private readonly graphs = new Map<string, CudaGraph | "seen">();
  /** The graph given last. */
  last: CudaGraph | undefined;

  /** The graph of a call, made by `capture` at its second sight; undefined at its first. */
  of(key: string, capture: () => CudaGraph): CudaGraph | undefined {
    const known = this.graphs.get(key);
    if (known === undefined) {
      this.makeRoom();
      this.graphs.set(key, "seen");
      return undefined;
    }
    const graph = known === "seen" ? capture() : known;
    // Last used is last forgotten.
    this.graphs.delete(key);
    this.graphs.set(key, graph);
    this.last = graph;
    return graph;
  }

  private makeRoom(): void {
    for (const [key, graph] of this.graphs) {
      if (this.graphs.size < MOST) return;
      if (graph !== "seen") graph.destroy();
      if (graph === this.last) this.last = undefined;
      this.graphs.delete(key);
    }
  }

  /** Forgets all: an address inside them has moved. */
  clear(): void {
    for (const graph of this.graphs.values()) if (graph !== "seen") graph.destroy();
    this.graphs.clear();
    this.last = undefined;
  }
}

/** What a graph holds fixed: the function, the batch's sizes and every address. */
export function graphKey({ function: name, layer, batch, args, arena, places, sampling }: Call): string {
  const tables = (["positions", "sequence", "starts", "lengths", "pages", "ids"] as const).map((t) => places.batch(t));
  return [name, layer ?? "", batch!.lengths.length, batch!.pages, arena, places.cache(0), ...tables, ...[...args].flat(), sampling?.choices, sampling?.seen].join(" ");
}
