// A compile into an artifact with edits takes them along: as they are where the kernel's text is what it was, merged and tested
// again where it is another. What cannot be merged, or fails, is kept in a file beside; the new kernel runs then.
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import type { Edit } from "../../ir/artifact.ts";
import { DiagnosticError, type Diagnostic } from "../../ir/diagnostic.ts";
import { writeWhole } from "../../runtime/files.ts";
import { MANIFEST, sha256 } from "../../runtime/manifest-text.ts";
import { writeArtifact } from "../artifact/write.ts";
import type { Compiled } from "../driver/pack.ts";
import { editCarried, editConflict } from "../diagnostics.ts";
import { faultOf } from "../report/edit.ts";
import { proofOf } from "./hold.ts";
import type { Program } from "./machine.ts";
import { merge } from "./merge.ts";
import type { Opened } from "./sites.ts";
import { editOf, openArtifact, originalOf, withEdit } from "./store.ts";
import { programOf } from "./program.ts";
import { ownText } from "./text.ts";
import { tryKernel } from "./use.ts";

type Parts = Pick<Compiled, "manifest" | "files">;

/** Writes an artifact in the place of an older one, with the older one's edits; gives what is to be said of them. */
export async function writeWithEdits<C extends Parts>(c: C, folder: string): Promise<{ written: C; said: Diagnostic[] }> {
  const old = await edited(folder);
  const said: Diagnostic[] = [];
  const beside: [file: string, text: string][] = [];
  let parts: Parts = c;
  for (const [name, edit] of Object.entries(old?.manifest.edits ?? {})) {
    const carried = await carry(old!, name, edit, parts, folder);
    said.push(carried.said);
    if ("parts" in carried) parts = carried.parts;
    else if (carried.beside) beside.push(carried.beside);
  }
  const written = { ...c, ...parts };
  writeArtifact(written, folder);
  for (const [file, text] of beside) {
    mkdirSync(path.dirname(file), { recursive: true });
    writeWhole(file, text);
  }
  return { written, said };
}

/** The artifact of a folder where it has edits; one that cannot be read has none to carry. */
async function edited(folder: string): Promise<Opened | undefined> {
  if (!existsSync(path.join(folder, MANIFEST))) return undefined;
  try {
    const opened = await openArtifact(folder);
    return opened.manifest.edits && opened;
  } catch (e) {
    if (e instanceof DiagnosticError) return undefined;
    throw e;
  }
}

type Carried = { said: Diagnostic; parts: Parts } | { said: Diagnostic; beside?: [file: string, text: string] };

async function carry(old: Opened, name: string, edit: Edit, parts: Parts, folder: string): Promise<Carried> {
  const [mine, base] = [ownText(editOf(old, name)!.text), ownText(originalOf(old, name).text)];
  const extension = path.extname(edit.original.text);
  const refused = (why: string, text: string): Carried => {
    const file = freeFile(path.join(folder, "edits", `${name}.conflict`), extension, text);
    return { said: editConflict({ kernel: name, why, beside: file }), beside: [file, text] };
  };
  const { manifest } = parts;
  if (manifest.target !== old.manifest.target) return refused(`the kernels are for ${manifest.target} now`, mine);
  if (!Object.hasOwn(manifest.kernels, name)) return refused("no kernel has its name now", mine);
  const now = originalOf({ manifest, files: bytesOf(parts.files) }, name);
  const theirs = ownText(now.text);
  if (theirs === mine) return { said: editCarried({ kernel: name, how: "what is compiled now is its text" }), parts };
  const same = theirs === base && JSON.stringify(now.record.launch) === JSON.stringify(edit.original.launch);
  const merged = merge(mine, base, theirs, {
    mine: "your edit",
    base: "as it was compiled before",
    theirs: "as it is compiled now",
  });
  if (merged.conflicts) return refused(inConflict(merged.conflicts), merged.text);
  try {
    const program = await programOf(manifest, now, merged.text, path.join(folder, edit.original.text));
    return same
      ? kept(parts, program, edit, "its kernel's text is what it was")
      : await tried({ folder, manifest, files: bytesOf(parts.files) }, parts, program, edit, (why) => refused(why, merged.text));
  } catch (e) {
    if (e instanceof DiagnosticError) return refused(e.diagnostics[0].title, merged.text);
    throw e;
  }
}

const inConflict = (n: number): string =>
  n === 1 ? "1 place that it changes is other than before" : `${n} places that it changes are other than before`;

function kept(parts: Parts, program: Program, { held, forced }: Omit<Edit, "original">, how: string): Carried {
  const proof = { ...(held ? { held } : {}), ...(forced === undefined ? {} : { forced }) };
  return {
    said: editCarried({ kernel: program.name, how }),
    parts: withEdit({ ...parts, files: new Map(parts.files) }, program, proof),
  };
}

/** A merged text is another one: it is tested again. What was forced stays so. */
async function tried(
  opened: Opened,
  parts: Parts,
  program: Program,
  edit: Edit,
  refused: (why: string) => Carried,
): Promise<Carried> {
  const found = await tryKernel(opened, program.name, program);
  if ("report" in found && found.report.proved) {
    const { report } = found;
    return kept(
      parts,
      program,
      { held: proofOf(report) },
      `merged with what is compiled now, and tested again at ${report.cases.length} cases`,
    );
  }
  const why = "report" in found ? faultOf(found.report) : found.untested.diagnostics[0].title;
  return edit.forced === undefined
    ? refused(`merged with what is compiled now, ${why}`)
    : kept(parts, program, { forced: why }, "merged with what is compiled now, and forced as before");
}

const bytesOf = (files: Compiled["files"]): Map<string, Uint8Array> =>
  new Map([...files].map(([name, data]) => [name, typeof data === "string" ? Buffer.from(data) : data]));

/** A name beside, which holds nothing else: of a file with the same text, or the next that is free. */
function freeFile(base: string, extension: string, text: string): string {
  for (let n = 1; ; n++) {
    const file = `${base}${n === 1 ? "" : `-${n}`}${extension}`;
    if (!existsSync(file) || sha256(readFileSync(file)) === sha256(text)) return file;
  }
}
