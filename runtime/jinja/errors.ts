// What can go wrong with a template, with the place in its text. `Fault` has no place yet; the renderer adds that of the node at work.

/** What a template did: it does not parse, it fails, it raises by itself, it uses what this engine lacks, or it costs too much. */
export type FaultKind = "syntax" | "runtime" | "raised" | "unsupported" | "budget";

/** A place in a template, from 1. */
export interface At {
  line: number;
  column: number;
}

export class Fault extends Error {
  readonly kind: FaultKind;
  at: At | undefined;

  constructor(kind: FaultKind, message: string, at?: At) {
    super(message);
    this.name = "Fault";
    this.kind = kind;
    this.at = at;
  }
}

/** A failure Python's Jinja has as well. */
export const failure = (message: string): Fault => new Fault("runtime", message);

/** What Python's Jinja can do and this engine cannot. */
export const unsupported = (what: string): Fault => new Fault("unsupported", what);
