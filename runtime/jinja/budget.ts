// What a template may cost. Rendering runs on the main thread, where nothing can interrupt it, and templates come with downloaded
// models: loops, texts and nesting have an end. One rendering runs at a time, so what it has spent is kept here.
import { Fault } from "./errors.ts";

export interface Limits {
  /** Nodes evaluated, and items and characters made, together. */
  steps: number;
  /** Characters of the rendered text. */
  output: number;
  /** Macros, loops and blocks inside each other. */
  depth: number;
}

/** A conversation of a million characters takes some hundred thousand steps; as many as this take a second or two. */
export const LIMITS: Limits = { steps: 20_000_000, output: 16 << 20, depth: 200 };

let limits = LIMITS;
let steps = 0;
let output = 0;
let depth = 0;

/** Runs a rendering under limits. */
export function limited<T>(within: Limits, run: () => T): T {
  [limits, steps, output, depth] = [within, 0, 0, 0];
  return run();
}

/** Called before work of that size is done. */
export function spend(work: number): void {
  steps += work;
  if (!(steps <= limits.steps)) throw new Fault("budget", `it takes more than ${limits.steps} steps`);
}

export function written(characters: number): void {
  spend(characters / 16);
  output += characters;
  if (output > limits.output) throw new Fault("budget", `it writes more than ${limits.output} characters`);
}

export function nested<T>(run: () => T): T {
  if (++depth > limits.depth) throw new Fault("budget", `it nests more than ${limits.depth} macros, loops and values`);
  try {
    return run();
  } finally {
    depth--;
  }
}
