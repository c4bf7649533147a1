// Which layouts of a model so many cards allow: every way to divide it over them, what a rank holds, how many sequences fit at each
// context, and what a step then takes at least.
import type { Machine } from "../../ir/machine.ts";
import { meshWords, type Mesh } from "../../ir/mesh.ts";
import { memoryOf, stepOf, type Planned } from "./roofline.ts";

/** Sequences that fit at a context; a step of so many. */
export interface Fitting {
  context: number;
  /** 0: not one. */
  batch: number;
  /** Of a step of `batch` sequences: the floor of a rank's own work, and of its collectives by estimate. */
  floor_ms: number | null;
  wire_ms: number | null;
}

export interface Layout {
  cards: number;
  mesh: Mesh;
  /** As --mesh takes it. */
  words: string;
  /** Bytes of a rank. */
  weights: number;
  fits: boolean;
  /** Of a step of the batch that was asked for, at the first context. */
  floor_ms: number;
  wire_ms: number | null;
  wire_bytes: number;
  at: Fitting[];
}

export interface Layouts {
  architecture: string;
  /** Sequences of the step that `floor_ms` is of. */
  batch: number;
  contexts: readonly number[];
  layouts: Layout[];
}

export interface Asked {
  cards: readonly number[];
  batch: number;
  contexts?: readonly number[];
}

const CONTEXTS = [4096, 32768, 131072];
/** Sequences of a step at most. */
const MOST_BATCH = 4096;

/** `plannedBy` gives one rank of the model divided over a mesh; undefined where the mesh does not divide it. */
export function layoutsOf(
  plannedBy: (mesh: Mesh) => Planned | undefined,
  machine: Machine,
  { cards, batch, contexts }: Asked,
): Layouts {
  let architecture = "";
  const layouts: Layout[] = [];
  let given: readonly number[] = contexts ?? CONTEXTS;
  for (const tp of cards)
    for (let ep = 1; ep <= tp; ep++) {
      if (tp % ep !== 0) continue;
      const mesh = { tp, ep };
      const planned = plannedBy(mesh);
      if (!planned) continue;
      architecture = planned.architecture;
      given = given.filter((c) => c <= planned.maxPositions);
      layouts.push(layoutOf(planned, machine, mesh, batch, given));
    }
  return { architecture, batch, contexts: given, layouts };
}

function layoutOf(p: Planned, machine: Machine, mesh: Mesh, batch: number, contexts: readonly number[]): Layout {
  const memory = memoryOf(p, machine);
  const decode = stepOf(p, machine, "decode", { batch, context: contexts[0] });
  const at = contexts.map((context): Fitting => {
    const most = largestBatch((n) => memory({ batch: n, context }).fits);
    if (most === 0) return { context, batch: 0, floor_ms: null, wire_ms: null };
    const step = stepOf(p, machine, "decode", { batch: most, context });
    return { context, batch: most, floor_ms: step.floor_ms, wire_ms: step.wire?.ms ?? null };
  });
  return {
    cards: mesh.tp,
    mesh,
    words: meshWords(mesh),
    weights: memory({ batch: 1, context: contexts[0] }).weights,
    fits: at.some((f) => f.batch > 0),
    floor_ms: decode.floor_ms,
    wire_ms: decode.wire?.ms ?? null,
    wire_bytes: decode.wire?.bytes ?? 0,
    at,
  };
}

/** The largest batch that fits, to a sequence; 0 where one does not. */
function largestBatch(fits: (n: number) => boolean): number {
  let [low, high] = [0, MOST_BATCH];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}
