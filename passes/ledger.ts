// The ledger: a line for every rule at every candidate site, with the reason in words and the change in FLOPs, bytes and
// launches under the assumed sizes. The artifact keeps it whole, `dsc why` answers from it, `dsc compile` prints it folded.
import type { Cost } from "../ir/cost.ts";
import type { Said } from "./report.ts";

/**
 * fired: rewritten. declined: the whole pattern is there, and leaving it is cheaper, asked for or required. refused: the pattern
 * is there, and a guard says no. unmatched: the root is there, the rest is not. none: nothing in the function begins the pattern.
 */
export type Verdict = "fired" | "declined" | "refused" | "unmatched" | "none";

/** One line of the ledger. */
export interface Entry {
  pass: string;
  rule: string;
  /** The function the site is in, "decode/moe_layer"; "module" for what concerns weights. */
  site: string;
  /** The value at the site, by its printed name, or its op where it has none. */
  at?: string;
  outcome: Verdict;
  /** How many values it replaced, or would have. */
  count: number;
  reason?: string;
  /** Set where the function computed changes, not only its rounding. */
  changes?: string;
  /** By how much it may change logits, where the pass says so. */
  within?: number;
  delta?: Cost;
  /** Where ranks meet: collectives of the function, and bytes that a rank sends for them. */
  wire?: { bytes: number; collectives: number };
  /** The delta is that of all firings of the pass in this function: they were judged, or made, together. */
  together?: boolean;
}

/** What every rule did at every place it was tried. */
export class Ledger {
  readonly entries: Entry[] = [];
  /** What analyses said, in order. */
  readonly said: Said[] = [];

  add(e: Entry): void {
    this.entries.push(e);
  }

  /** How often any of these rules fired in a function. */
  fired(rules: readonly string[], site: string): number {
    return this.#count(rules, site, (o) => o === "fired");
  }

  /** The same, counting sites that were declined: found whole, and left for a reason. */
  met(rules: readonly string[], site: string): number {
    return this.#count(rules, site, (o) => o === "fired" || o === "declined");
  }

  #count(rules: readonly string[], site: string, which: (o: Verdict) => boolean): number {
    return this.entries.reduce((n, e) => (e.site === site && rules.includes(e.rule) && which(e.outcome) ? n + e.count : n), 0);
  }
}
