// What dsc doctor asks of a machine: one probe for each tool, library or property of it. A new tool is one more probe in a list.
import { DiagnosticError } from "../../ir/diagnostic.ts";

/** What a look has found. */
export interface Seen {
  /** Whether it can be used. */
  good: boolean;
  /** What was found, or why it cannot be used. */
  found: string;
  /** Of what has one. */
  version?: string;
}

/** One thing that dsc can use. */
export interface Probe {
  /** Its name, and the key that tests and scripts know it by. */
  readonly part: string;
  /** What of dsc needs it. */
  readonly needed: string | (() => Promise<string>);
  /** Where it is looked for, in order; absent where it is part of this process. */
  readonly looked?: string;
  /** Whether nothing runs without it. */
  readonly required?: true;
  /** Never throws for what is merely not there. */
  look(): Seen | Promise<Seen>;
}

/** A probe's answer: a row of the table, and an entry of the JSON. */
export interface Check {
  part: string;
  /** ok: found and good; missing: not there, or not usable; optional parts may be missing. */
  state: "ok" | "missing";
  found: string;
  version?: string;
  looked_for?: string;
  needed_for: string;
  required: boolean;
}

export async function ask({ part, needed, looked, required, look }: Probe): Promise<Check> {
  const { good, found, version } = await answer(look);
  return {
    part,
    state: good ? "ok" : "missing",
    found,
    ...(version === undefined ? {} : { version }),
    ...(looked === undefined ? {} : { looked_for: looked }),
    needed_for: typeof needed === "string" ? needed : await needed(),
    required: required === true,
  };
}

async function answer(look: Probe["look"]): Promise<Seen> {
  try {
    return await look();
  } catch (e) {
    return { good: false, found: firstLine(e) };
  }
}

/** What an error says, in a line. */
export const firstLine = (e: unknown): string =>
  (e instanceof DiagnosticError ? e.diagnostics[0].title : String((e as Error).message ?? e)).split("\n")[0];
