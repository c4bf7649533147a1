// What lines of a printed text are of.
import { partsOf } from "./parts.ts";
import { printStatement } from "./print.ts";
import type { Stmt } from "./stmt.ts";

/** The statements of a tile program that lines have come of: their text, and the ops of a fused op's graph that they compute. */
export interface Owner {
  name: string;
  ops: readonly string[];
}

/** The owner of lines that these statements have become. */
export const ownerOf = (...of: readonly Stmt[]): Owner => ({ name: of.map(printStatement).join("; "), ops: partsOf(of) });
