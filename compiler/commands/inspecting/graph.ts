// dsc inspect OUT FUNCTION, --ir, --after PASS: the graph after a pass, or one function of it.
import { DiagnosticError } from "../../../ir/diagnostic.ts";
import { everyKernel, type Manifest } from "../../../ir/artifact.ts";
import { notFound } from "../../diagnostics.ts";
import { functionsOf } from "../../report/graph.ts";
import type { Options, Read } from "./artifact.ts";

export const passOf = (file: string): string => file.replace(/^graph\/\d+-|\.dsc$/g, "");

/** Graphs of an artifact in the order of passes, by the name of the pass that each is after. */
export const graphsOf = ({ files }: Pick<Manifest, "files">): Map<string, string> =>
  new Map(
    Object.keys(files)
      .filter((f) => f.startsWith("graph/"))
      .map((f) => [passOf(f), f]),
  );

/** The graph after a pass, or one function of it. */
export function graphOf(
  { out, name, after }: Pick<Options, "out" | "name" | "after">,
  { manifest, text }: Pick<Read, "manifest" | "text">,
): { after: string; function?: string; text: string } {
  const graphs = [...graphsOf(manifest).values()];
  const names = graphs.map(passOf);
  const at = after === undefined ? graphs.length - 1 : names.indexOf(after);
  if (at < 0) throw new DiagnosticError(notFound({ what: `graph after ${after}`, where: out, word: after!, known: names }));
  const whole = text(graphs[at]);
  if (name === undefined) return { after: names[at], text: whole };
  const functions = functionsOf(whole);
  const found = functions.get(name.replace(/^@/, ""));
  if (found === undefined)
    throw new DiagnosticError(
      notFound({
        what: `kernel or function ${name}`,
        where: out,
        word: name,
        known: [...(after === undefined ? Object.keys(everyKernel(manifest)) : []), ...functions.keys()],
      }),
    );
  return { after: names[at], function: name, text: `${found}\n` };
}
