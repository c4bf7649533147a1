// What a command does that may be one of several processes of a launcher: it asks which rank it is, and ends as soon as the ranks do.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { meshWords, type Mesh } from "../../ir/mesh.ts";
import { placeOf, type Place } from "../../runtime/index.ts";
import { internal, usage } from "../diagnostics.ts";
import { tell } from "../tell.ts";

/** The place that a launcher gave this process; undefined where it runs alone. Refuses processes without a mesh to divide. */
export function rankHere(mesh: Mesh | undefined, processes: boolean): Place | undefined {
  if (processes && !mesh)
    throw new DiagnosticError(
      usage({
        problem: "--processes is for a model that is divided over ranks",
        help: "give --tp 2 as well, or compile with --mesh tp=2",
        word: "--processes",
      }),
    );
  return mesh ? placeOf(process.env, meshWords(mesh), mesh.tp) : placeOf(process.env, "of a model that is not divided", 1);
}

/** Ends this process with what ended the ranks: at once, for what it waits for will not come. */
export const endRank =
  (json: boolean) =>
  (e: unknown): never => {
    const message = e instanceof Error ? e.message : String(e);
    tell(e instanceof DiagnosticError ? e.diagnostics : [internal({ message })], json);
    return process.exit(process.exitCode ?? 1);
  };
