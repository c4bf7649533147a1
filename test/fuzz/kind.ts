// A kind of damaged input: what a seed makes of it, and what is then done with it. One file a kind; kinds.ts lists them, and
// judge.ts runs any of them.
import type { Diagnostic } from "../../ir/diagnostic.ts";

export interface Kind {
  name: string;
  /** Cases of `npm test`, and of `npm run fuzz`. */
  cases: { few: number; many: number };
  /** Makes what cases are damages of. */
  open?(): Promise<void>;
  /**
   * One case, a function of its seed alone. A DiagnosticError refuses it, and is looked at; any other exception is a finding, and
   * so is a `Finding`, thrown where the case ends in what it should not.
   */
  run(seed: number): Promise<Accepted | void> | Accepted | void;
  /** The case as a person can repeat it. */
  show(seed: number): string;
  close?(): Promise<void> | void;
  /** Codes that blame dsc's own passes elsewhere, and may be said of this kind's input: a module that was damaged breaks their contracts. */
  blameless?: readonly string[];
  /** Damage that only ever fails at the door tests little: least share accepted, and least number of codes it is refused with. */
  least: { accepted: number; codes: number };
}

/** What an accepted case gave. */
export interface Accepted {
  warnings?: readonly Diagnostic[];
  /** Counted by its text, e.g. "other ids". */
  note?: string;
}

/** What should not have happened, in words. */
export class Finding extends Error {}
