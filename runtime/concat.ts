// Calls that took one sequence each, as the result of one call: in an artifact compiled with --deterministic rows of a prompt never
// share a call with another sequence's. What each gave is copied before the next overwrites it.
import { whole } from "./arguments.ts";
import type { Result } from "./call.ts";
import * as diagnostics from "./diagnostics.ts";
import type { Tensor } from "./values.ts";

/** Everything a call of one sequence gave, good for as long as it is held. */
export function snapshot(result: Result): Result {
  const taps = Object.fromEntries(
    Object.entries(result.taps).map(([name, t]): [string, Tensor] => [name, { shape: t.shape, data: t.data.slice() }]),
  );
  const [sequence] = result.sequences;
  const [logits, next] = [result.logits(sequence).slice(), result.next(sequence)];
  const only = <T>(row: number, value: T): T => {
    if (row > 0) throw diagnostics.misuse({ what: `the call answers no row ${row} of sequence ${sequence}` });
    return value;
  };
  return {
    ...result,
    taps,
    logits: (_, row = 0) => only(row, logits),
    next: (_, row = 0) => only(row, next),
    hidden(_, rows) {
      whole("hidden", "rows", rows, 0, result.starts[1]);
      if (!taps.final) throw diagnostics.misuse({ what: "the call gives no final" });
      return taps.final.data.slice(0, rows * taps.final.shape[1]) as Float32Array;
    },
  };
}

/** Snapshots of different sequences, in order, as one. */
export function concat(parts: readonly Result[]): Result {
  const of = (sequence: number): Result => {
    const found = parts.find((p) => p.sequences[0] === sequence);
    if (!found) throw diagnostics.misuse({ what: "that sequence had no rows in this call" });
    return found;
  };
  const starts = [0];
  for (const p of parts) starts.push(starts.at(-1)! + p.starts[1]);
  return {
    sequences: parts.flatMap((p) => p.sequences),
    starts,
    drawn: parts.every((p) => p.drawn),
    logits: (sequence, row) => of(sequence).logits(sequence, row),
    next: (sequence, row) => of(sequence).next(sequence, row),
    hidden: (sequence, rows) => of(sequence).hidden(sequence, rows),
    taps: Object.fromEntries(Object.keys(parts[0].taps).map((name) => [name, stacked(parts.map((p) => p.taps[name]))])),
  };
}

/** Tensors above each other. */
function stacked(parts: readonly Tensor[]): Tensor {
  const shape = [parts.reduce((n, p) => n + p.shape[0], 0), ...parts[0].shape.slice(1)];
  const data = new (parts[0].data.constructor as Float32ArrayConstructor)(shape.reduce((a, b) => a * b, 1));
  let at = 0;
  for (const p of parts) {
    data.set(p.data, at);
    at += p.data.length;
  }
  return { shape, data };
}
