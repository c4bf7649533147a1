// dsc kernel OUT NAME --edit: the text in the person's own editor.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DiagnosticError } from "../../../ir/diagnostic.ts";
import { variable } from "../../../runtime/user-cache.ts";
import { noEditor } from "../../diagnostics.ts";
import { editOf, originalOf } from "../../edit/store.ts";
import { ownText } from "../../edit/text.ts";
import { taken, textAt, type Task } from "./actions.ts";

export async function edit(t: Task): Promise<void> {
  const { opened, kernel } = t;
  const editor = variable("VISUAL") ?? variable("EDITOR");
  if (editor === undefined) throw new DiagnosticError(noEditor({ problem: "no editor is named: VISUAL and EDITOR are not set" }));
  const { text, record } = editOf(opened, kernel) ?? originalOf(opened, kernel);
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-edit-"));
  const file = path.join(folder, `${kernel}${path.extname(record.text)}`);
  try {
    writeFileSync(file, ownText(text));
    open(editor, file);
    await taken(t, textAt(file), file, true);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** VISUAL and EDITOR are words of a shell: "code --wait". */
function open(editor: string, file: string): void {
  const shell = process.platform === "win32" ? ["cmd", "/c", `${editor} "${file}"`] : ["sh", "-c", `${editor} "$1"`, "sh", file];
  const { status, signal, error } = spawnSync(shell[0], shell.slice(1), { stdio: "inherit" });
  if (status === 0) return;
  const why = error?.message ?? (signal ? `it ended by ${signal}` : `it ended with ${status}`);
  throw new DiagnosticError(noEditor({ problem: `the editor ${editor} did not end well: ${why}` }));
}
