// Edits that lie in an artifact's folder: looked for by every command and every compile, so that this reads little and loads
// nothing.
import { existsSync } from "node:fs";
import path from "node:path";
import type { Edit, Manifest } from "../../ir/artifact.ts";
import type { Diagnostic } from "../../ir/diagnostic.ts";
import { readTextSync } from "../../runtime/files.ts";
import { MANIFEST } from "../../runtime/manifest-text.ts";
import { writeArtifact } from "../artifact/write.ts";
import type { Compiled } from "../driver/pack.ts";

type Edits = NonNullable<Manifest["edits"]>;

/** The edits of an artifact; none of what is no artifact. Whether its manifest holds is for others to see. */
export function editsIn(folder: string): Edits | undefined {
  const file = path.join(folder, MANIFEST);
  if (!existsSync(file)) return undefined;
  try {
    const text = readTextSync(file);
    return text.includes('\n "edits": {') ? (JSON.parse(text) as Partial<Manifest>).edits : undefined;
  } catch {
    return undefined;
  }
}

/** Writes an artifact, with the edits of one that lay there; gives what is to be said of them. */
export async function writeKeepingEdits<C extends Pick<Compiled, "manifest" | "files">>(
  c: C,
  folder: string,
): Promise<{ written: C; said: Diagnostic[] }> {
  if (editsIn(folder)) return (await import("./carry.ts")).writeWithEdits(c, folder);
  writeArtifact(c, folder);
  return { written: c, said: [] };
}

/** What is known of an edit, in one line. */
export function editInWords(name: string, { held, forced }: Omit<Edit, "original">): string {
  if (forced !== undefined) return `${name}: not proved (${forced}), and forced`;
  const { on, where, trials } = held!;
  return on === "host"
    ? `${name}: tested at ${trials} cases on ${where}, and on no GPU`
    : `${name}: proved at ${trials} cases on ${where}`;
}
