// What plug-ins add to the language of graphs while they are at work: ops that a text may name, activations that a config may ask
// for. dsc's own are in ops/index.ts and activation.ts; nothing here outlives the compile that it was brought to.
import type { Op } from "./graph.ts";
import type { MapExpr, Tile } from "./kernel/stmt.ts";

/** An activation: its names, its meaning in float64, and the same as element arithmetic of a tile program. */
export interface Activation {
  /** What `hidden_act` of a config calls it. */
  readonly name: string;
  /** Other names that configs have for it. */
  readonly also?: readonly string[];
  /** transformers' class. */
  readonly module: string;
  readonly flops: number;
  /** Of one number: the reference. */
  readonly value: (x: number) => number;
  /** The same, rounded to f32 after each operation. */
  readonly tile: (x: Tile) => MapExpr;
}

export interface Vocabulary {
  readonly ops: readonly Op[];
  readonly activations: readonly Activation[];
}

export const noWords: Vocabulary = Object.freeze({ ops: Object.freeze([]), activations: Object.freeze([]) });

let brought = noWords;

/** What plug-ins have brought to the work under way. */
export const broughtWords = (): Vocabulary => brought;

/** Makes these names known for the rest of the process: of a program that does one thing, as the command line is. */
export const know = (words: Vocabulary): void => void (brought = words);

/** Does synchronous work in which these names are known. */
export function knowing<T>(words: Vocabulary, work: () => T): T {
  const before = brought;
  brought = words;
  try {
    return work();
  } finally {
    brought = before;
  }
}
