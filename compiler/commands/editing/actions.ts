// The actions of `dsc kernel` that change an artifact or test it.
import type { Edit } from "../../../ir/artifact.ts";
import { DiagnosticError } from "../../../ir/diagnostic.ts";
import { readRegularSync } from "../../../runtime/files.ts";
import { cannotReadText, shellWord } from "../../diagnostics.ts";
import { proofOf } from "../../edit/hold.ts";
import type { Opened } from "../../edit/sites.ts";
import { editOf, originalOf, partsOf, replace, withEdit } from "../../edit/store.ts";
import { revert, tryKernel, use, wrongly, type Used } from "../../edit/use.ts";
import { progressLine } from "../../progress.ts";
import { editInWords } from "../../edit/kept.ts";
import { printReport, verdict } from "../../report/edit.ts";

export interface Options {
  out: string;
  name?: string;
  edit: boolean;
  use?: string;
  test: boolean;
  bench: boolean;
  revert: boolean;
  rows?: number;
  force: boolean;
  json: boolean;
}

/** A kernel of an artifact, and what is asked of it. */
export interface Task {
  a: Options;
  opened: Opened;
  kernel: string;
}

const MOST_TEXT = 16 << 20;

/** The text of a file that a person wrote. */
export function textAt(file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(readRegularSync(file, MOST_TEXT));
  } catch (e) {
    throw new DiagnosticError(
      cannotReadText({ file, problem: e instanceof TypeError ? "it is no UTF-8 text" : (e as Error).message }),
    );
  }
}

export const print = ({ a }: Task, value: object, lines: () => string): void =>
  void process.stdout.write(a.json ? `${JSON.stringify(value)}\n` : lines());

export const tellUse = async (t: Task, file: string): Promise<void> => taken(t, textAt(file), file, false);

/** Uses a text and says what came of it. */
export async function taken(t: Task, text: string, file: string, keep: boolean): Promise<void> {
  const { a, opened, kernel } = t;
  const line = progressLine();
  const used = await use({ opened, kernel, text, file, force: a.force, keep, tell: line.show }).finally(line.end);
  print(t, { out: a.out, ...used }, () => usedInWords(used, a.out));
}

function usedInWords({ kernel, edit, report }: Used, out: string): string {
  if (!edit) return `the text is that of ${kernel} as it was compiled: nothing is changed\n`;
  const lines = [
    ...(report?.proved ? [verdict(report)] : [editInWords(kernel, edit)]),
    `it runs in the place of ${kernel} now; dsc kernel ${shellWord(out)} ${kernel} --revert takes it back`,
  ];
  if (edit.held?.on === "host" && edit.forced === undefined)
    lines[1] = `it is kept in ${out}; prove it on a GPU before it runs: dsc kernel ${shellWord(out)} ${kernel} --test`;
  return `${lines.join("\n")}\n`;
}

/** Tests the edit, or the kernel as compiled; what is newly known of an edit is kept. */
export async function tellTest(t: Task): Promise<void> {
  const { opened, kernel } = t;
  const edit = editOf(opened, kernel);
  const line = progressLine();
  const tried = await tryKernel(opened, kernel, edit, line.show).finally(line.end);
  if ("untested" in tried) throw tried.untested;
  const { report } = tried;
  print(t, report, () => printReport(report, edit !== undefined));
  if (!report.proved) {
    // The report is the answer under --json; in words the fault is said besides.
    if (!t.a.json) throw new DiagnosticError(wrongly(report));
    process.exitCode = 1;
    return;
  }
  if (!edit) return;
  const held = proofOf(report);
  const known = opened.manifest.edits![kernel];
  // A test on what stands in for a GPU takes nothing from one on a GPU.
  if (held.on === "host" && known.held?.on === "gpu") return;
  const how: Omit<Edit, "original"> = { held };
  if (JSON.stringify(known) !== JSON.stringify({ original: known.original, ...how }))
    replace(opened.folder, withEdit(partsOf(opened), edit, how));
}

export function tellRevert(t: Task): void {
  const { opened, kernel } = t;
  const reverted = revert(opened, kernel);
  print(t, { out: opened.folder, kernel, reverted }, () =>
    reverted ? `${kernel} is as it was compiled\n` : `${kernel} is as it was compiled: there was no edit of it\n`,
  );
}

/** What is known of a kernel and its edit. */
export function tellShow(t: Task): void {
  const { opened, kernel, a } = t;
  const edit = opened.manifest.edits?.[kernel];
  const { record } = editOf(opened, kernel) ?? originalOf(opened, kernel);
  print(t, { out: opened.folder, kernel, text: record.text, ...(edit ? { edit } : {}) }, () =>
    [
      edit ? editInWords(kernel, edit) : `${kernel}: as it was compiled`,
      `its text is ${record.text}${edit ? `; as compiled, ${edit.original.text}` : ""}`,
      `dsc kernel ${shellWord(a.out)} ${kernel} --edit opens it, --use FILE takes another`,
      "",
    ].join("\n"),
  );
}
