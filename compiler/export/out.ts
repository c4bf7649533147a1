// The file that an export goes to: a name that is free, or an export from before.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { writeWhole } from "../../runtime/files.ts";
import { kindAt } from "../artifact/ours.ts";
import { checkFolder } from "../artifact/make-folder.ts";
import { cannotWrite, notOurs } from "../diagnostics.ts";

/** Says before the work whether the file may be written. `ours` knows whether dsc wrote what is there. Throws DSC6002. */
export function checkOut(out: string, ours: (file: string) => boolean): void {
  const kind = kindAt(out);
  if (kind === undefined) return checkFolder(out);
  if (kind !== "file")
    throw new DiagnosticError(
      cannotWrite({ where: out, problem: kind === "folder" ? "it is a folder" : "it is a link or a device, not a file" }),
    );
  if (!ours(out)) throw new DiagnosticError(notOurs(out, "it is there already, and no export of dsc"));
}

/** Writes it whole or not at all. */
export function writeFile(out: string, bytes: Uint8Array): void {
  try {
    writeWhole(out, bytes);
  } catch (e) {
    throw new DiagnosticError(cannotWrite({ where: out, problem: (e as Error).message }));
  }
}
