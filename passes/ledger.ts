// The ledger: a line for every rule at every candidate site, fired or refused, with the reason in words and the change
// in launches, bytes and FLOPs under the assumed sizes. The artifact keeps it whole; `dsc compile` prints it folded.
import type { Cost } from "../ir/cost.ts";

export interface Entry {
  pass: string;
  rule: string;
  /** "decode/moe_layer": the function the site is in. */
  site: string;
  outcome: "fired" | "refused";
  /** How many values of the function it replaced, or would have. */
  count: number;
  reason?: string;
  /** Set where the function computed changes, not only its rounding. */
  changes?: string;
  delta?: Cost;
}

export class Ledger {
  readonly entries: Entry[] = [];

  add(e: Entry): void {
    this.entries.push(e);
  }
}
