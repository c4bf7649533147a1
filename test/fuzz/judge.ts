// Runs the cases of a kind. A case ends in success, or in diagnostics that each say what (code and title), where, and what to try.
// Anything else is a finding: another exception, a diagnostic without place or help, a broken contract of a pass, a case that
// takes too long.
import { DiagnosticError, render, type Diagnostic } from "../../ir/diagnostic.ts";
import { Finding, type Accepted, type Kind } from "./kind.ts";

/** Longest a case may take, in seconds of this process: machines differ and are shared, hangs are for ever. */
const BUDGET_S = 10;
/** Findings kept of one kind; the first few of a fault say what the hundredth would. */
const MOST_FINDINGS = 20;

export interface Tally {
  kind: string;
  first: number;
  cases: number;
  accepted: number;
  /** By code. */
  refused: Map<string, number>;
  /** By note of what was accepted. */
  notes: Map<string, number>;
  findings: string[];
  slowest: { seed: number; seconds: number };
}

/** A fault of dsc whatever the input was; a contract that does not hold, said of a whole model that compiled, blames dsc's own passes. */
const isFault = ({ code, severity }: Diagnostic): boolean => !/^DSC[1-6]\d{3}$/.test(code) || (code === "DSC3003" && severity === "warning");

/** What is wrong with a diagnostic, or nothing. */
export function faultOf(d: Diagnostic): string | undefined {
  if (isFault(d)) return "a code that means a fault of dsc";
  if (d.title.trim() === "" || /\bundefined\b|\[object /.test(d.title)) return "a title that says nothing";
  if (d.spans.length === 0 || d.spans.some((s) => s.file === "")) return "no place";
  if (d.spans.some((s) => s.text !== undefined && (s.line === undefined || s.column === undefined || s.line < 1 || s.column < 1 || s.column > s.text.length + 1))) return "a place outside its line";
  if (!d.help?.trim()) return "no help";
  const text = render(d);
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/.test(text)) return "control characters, raw";
  return /\n\s+at .+:\d+:\d+/.test(text) ? "a stack trace" : undefined;
}

/** Runs seeds from `first` on, all of them whatever they find. */
export async function judge(kind: Kind, first: number, cases: number): Promise<Tally> {
  const tally: Tally = { kind: kind.name, first, cases, accepted: 0, refused: new Map(), notes: new Map(), findings: [], slowest: { seed: first, seconds: 0 } };
  for (let seed = first; seed < first + cases; seed++) {
    const from = process.cpuUsage();
    const problem = await one(kind, seed, tally);
    const { user, system } = process.cpuUsage(from);
    const seconds = (user + system) / 1e6;
    if (seconds > tally.slowest.seconds) tally.slowest = { seed, seconds };
    const found = problem ?? (seconds > BUDGET_S ? `took ${seconds.toFixed(1)} s` : undefined);
    if (found !== undefined) tally.findings.push(tally.findings.length < MOST_FINDINGS ? `${kind.name}, seed ${seed}: ${found}\n${kind.show(seed)}` : "");
  }
  return tally;
}

/** What is wrong with how a case ended. */
async function one(kind: Kind, seed: number, tally: Tally): Promise<string | undefined> {
  const count = (of: Map<string, number>, key: string): void => void of.set(key, (of.get(key) ?? 0) + 1);
  const judged = (all: readonly Diagnostic[]): string | undefined => all.map((d) => faultOf(d) && `${faultOf(d)}\n${render(d)}`).find((f) => f);
  try {
    const { warnings = [], note } = ((await kind.run(seed)) ?? {}) as Accepted;
    tally.accepted++;
    if (note !== undefined) count(tally.notes, note);
    return judged(warnings);
  } catch (e) {
    if (e instanceof Finding) return e.message;
    if (!(e instanceof DiagnosticError)) return `not a diagnostic: ${(e as Error).stack ?? String(e)}`;
    count(tally.refused, e.diagnostics[0].code);
    return judged(e.diagnostics);
  }
}

/** A line of the table, and below it what was found. */
export function printTally(t: Tally): string {
  const sum = [...t.refused.values()].reduce((a, b) => a + b, 0);
  const by = (of: Map<string, number>): string => [...of].toSorted().map(([key, n]) => `${n} ${key}`).join(", ");
  const refused = sum ? `${sum} (${by(t.refused)})` : "0";
  const notes = t.notes.size ? ` (${by(t.notes)})` : "";
  const line = `${t.kind}: ${t.cases} cases, seeds ${t.first} to ${t.first + t.cases - 1}; accepted ${t.accepted}${notes}, refused ${refused}, findings ${t.findings.length}; slowest ${t.slowest.seconds.toFixed(2)} s (seed ${t.slowest.seed})`;
  return `${[line, ...t.findings.filter((f) => f)].join("\n")}\n`;
}
