// Where the types of yargs end: it infers strings where options are words, and keeps what it read of them to itself.
import yargs, { type Argv } from "yargs";

/** A command line whose handler takes these options: what `option` declares, with words in place of strings. */
export const taking = <T>(line: object): Argv<T> => line as Argv<T>;

/** What yargs keeps of the options of a command. */
export interface Declared {
  key: Record<string, unknown>;
  alias: Record<string, string[]>;
  choices: Record<string, readonly unknown[]>;
  boolean: string[];
  array: string[];
  number: string[];
}

interface Inside {
  getOptions(): Declared;
  getInternalMethods(): { getUsageInstance(): { getDescriptions(): Record<string, string> } };
}

/** The options of a command, and what it says of each. */
export function declaredBy(builder: (y: Argv) => object): { options: Declared; descriptions: Record<string, string> } {
  const line = builder(yargs([])) as Inside;
  return { options: line.getOptions(), descriptions: line.getInternalMethods().getUsageInstance().getDescriptions() };
}
