// Before a command answers about an artifact in which somebody edited kernels, it says so, whatever the command is.
import type { Manifest } from "../../ir/artifact.ts";
import type { Diagnostic } from "../../ir/diagnostic.ts";
import { editInUse } from "../diagnostics.ts";
import { editInWords, editsIn } from "./kept.ts";

/** Commands that say it in their own words. */
const own = new Set(["kernel", "compile", "explain", "completion", "help", "version"]);

/** Options whose value is a place to write to. */
const outputs = new Set(["-o", "--out"]);

/** What is said of the artifacts that the words of a command line name. */
export function editsNamed([command, ...words]: readonly string[]): Diagnostic[] {
  if (own.has(command)) return [];
  const places = words.filter((w, i) => !w.startsWith("-") && !outputs.has(words[i - 1]));
  return places.flatMap((w) => {
    const edits = editsIn(w);
    return edits ? said(w, edits) : [];
  });
}

/** Edits by whether they are proved on their target. */
function said(where: string, edits: NonNullable<Manifest["edits"]>): Diagnostic {
  const entries = Object.entries(edits);
  const isProved = ([, e]: (typeof entries)[number]): boolean => e.forced === undefined && e.held?.on !== "host";
  const inWords = (of: typeof entries): string[] => of.map(([name, e]) => editInWords(name, e));
  const [proved, others] = [entries.filter(isProved), entries.filter((e) => !isProved(e))].map(inWords);
  const d = editInUse({ where, proved, others });
  return others.length ? d : { ...d, severity: "note" };
}
