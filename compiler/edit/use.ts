// Puts an edited text in the place of a kernel: read, compiled, held to the kernel's op, and kept in the artifact.
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Edit } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { editUntested, editWrong } from "../diagnostics.ts";
import { faultOf } from "../report/edit.ts";
import { firstWrong, hold, proofOf, type Report } from "./hold.ts";
import type { Machine, Program } from "./machine.ts";
import { machineFor } from "./machines.ts";
import { sitesOfKernel, type Opened } from "./sites.ts";
import { originalOf, partsOf, replace, withEdit, withoutEdit } from "./store.ts";
import { programOf } from "./program.ts";
import { ownText } from "./text.ts";

/** What came of an edit. */
export interface Used {
  kernel: string;
  /** Absent where the text is that of the kernel as it was compiled: there is nothing to use. */
  edit?: Edit;
  report?: Report;
}

export interface Using {
  opened: Opened;
  kernel: string;
  /** The text, and where it stands. */
  text: string;
  file: string;
  force: boolean;
  /** Keep a refused text, for it was typed into a file that goes. */
  keep?: boolean;
  tell?: (doing: string) => void;
}

export async function use(u: Using): Promise<Used> {
  const { opened, kernel, text, file } = u;
  const base = originalOf(opened, kernel);
  if (ownText(text) === ownText(base.text)) return { kernel };
  const keeping = u.keep ? (): string => kept(kernel, text, base) : (): undefined => undefined;
  const program = await programOf(opened.manifest, base, text, file).catch((e: unknown) => {
    const at = keeping();
    if (e instanceof DiagnosticError && at !== undefined)
      throw new DiagnosticError(e.diagnostics.map((d) => ({ ...d, notes: [...d.notes, `your text is kept in ${at}`] })));
    throw e;
  });
  const { how, report } = await judged(u, program, keeping);
  replace(opened.folder, withEdit(partsOf(opened), program, how));
  return { kernel, edit: { original: base.record, ...how }, ...(report ? { report } : {}) };
}

/** A text whose file goes, in a file that stays. */
function kept(kernel: string, text: string, { record }: Program): string {
  const at = path.join(mkdtempSync(path.join(tmpdir(), "dsc-edit-")), `${kernel}${path.extname(record.text)}`);
  writeFileSync(at, text);
  return at;
}

/** What an edit is held to, or why it runs all the same. */
async function judged(
  { opened, kernel, force, tell }: Using,
  program: Program,
  keeping: () => string | undefined,
): Promise<{ how: Omit<Edit, "original">; report?: Report }> {
  const tried = await tryKernel(opened, kernel, program, tell);
  if ("untested" in tried) {
    if (!force) {
      const at = keeping();
      const [d] = tried.untested.diagnostics;
      throw new DiagnosticError(at === undefined ? d : { ...d, notes: [...d.notes, `your text is kept in ${at}`] });
    }
    return { how: { forced: `not tested: ${tried.untested.diagnostics[0].title}` } };
  }
  const { report } = tried;
  if (report.proved) {
    const held = proofOf(report);
    return { how: held.on === "host" && force ? { held, forced: "tested on no GPU" } : { held }, report };
  }
  if (!force) throw new DiagnosticError(wrongly(report, keeping()));
  return { how: { forced: faultOf(report) }, report };
}

/** A test that found a fault, as a diagnostic. */
export function wrongly(report: Report, keptIn?: string): ReturnType<typeof editWrong> {
  const { at, wrong } = firstWrong(report)!;
  const bad = report.cases.filter((c) => c.fault || c.results.some((x) => x.wrong)).length;
  const notes = [
    ...(wrong && at.fault
      ? [`besides, element ${wrong.index} of ${wrong.result} is ${wrong.value}, and ${wrong.expected} is expected`]
      : []),
    `${bad} of ${report.cases.length} cases are wrong, on ${report.where}`,
  ];
  const { kernel } = report;
  return editWrong({
    kernel,
    op: report.against.join(" and "),
    site: at.site,
    case: at.case,
    error: faultOf(report),
    notes,
    kept: keptIn,
  });
}

/** Tries a kernel as compiled, or a program in its place, on what there is here; or says why it cannot be tried. */
export async function tryKernel(
  opened: Opened,
  kernel: string,
  program: Program | undefined,
  tell?: (doing: string) => void,
): Promise<{ report: Report } | { untested: DiagnosticError }> {
  const machine = await machineFor(opened);
  if ("why" in machine) return { untested: new DiagnosticError(editUntested({ kernel, ...machine })) };
  try {
    return await onMachine(machine, opened, kernel, program, tell);
  } finally {
    machine.close?.();
  }
}

async function onMachine(
  machine: Machine,
  opened: Opened,
  kernel: string,
  program: Program | undefined,
  tell?: (doing: string) => void,
): Promise<{ report: Report } | { untested: DiagnosticError }> {
  let sites;
  try {
    sites = sitesOfKernel(opened, kernel);
  } catch (e) {
    if (e instanceof DiagnosticError) return { untested: e };
    throw e;
  }
  const report = await hold(kernel, program, {
    manifest: opened.manifest,
    machine,
    original: (name) => originalOf(opened, name),
    sites,
    ...(tell ? { tell } : {}),
  });
  if (report.cases.length) return { report };
  const needs = "dsc compile SRC --shrink makes the same kernels of a small model";
  return {
    untested: new DiagnosticError(editUntested({ kernel, why: report.left[0] ?? "it runs at no size that a test has", needs })),
  };
}

/** Takes an edit out; whether there was one. */
export function revert(opened: Opened, kernel: string): boolean {
  if (!opened.manifest.edits?.[kernel]) return false;
  replace(opened.folder, withoutEdit(partsOf(opened), kernel));
  return true;
}
