// SRC to a Python file that holds the model as a module of Relax, with the script that builds and runs it.
import { readSync, openSync, closeSync } from "node:fs";
import { relaxModule, type RelaxModule } from "../../codegen/relax/export.ts";
import { HEAD } from "../../codegen/relax/script.ts";
import { version } from "../artifact/version.ts";
import type { Graphed } from "./graph.ts";

/** The file's text of a graph that no pass has changed. Throws DSC4141. */
export const exportRelax = ({ module }: Pick<Graphed, "module">): RelaxModule => relaxModule(module, { version });

/** Whether a file is such an export from before. */
export function isRelaxExport(out: string): boolean {
  const head = Buffer.alloc(HEAD.length);
  const file = openSync(out, "r");
  try {
    readSync(file, head, 0, head.length, 0);
  } finally {
    closeSync(file);
  }
  return head.equals(Buffer.from(HEAD));
}
