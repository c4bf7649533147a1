// Runs the cases of a kind. A case ends in success, or in diagnostics that each say what (code and title), where, and what to try.
// Anything else is a finding: another exception, a diagnostic without place or help, a broken contract of a pass, a case that
// takes too long, memory that grows with the cases, a file that stays behind or lies where nobody asked for it.
import { DiagnosticError, render, type Diagnostic } from "../../ir/diagnostic.ts";
import { Finding, type Accepted, type Kind } from "./kind.ts";
import { Surroundings, memoryUsed } from "./surroundings.ts";

/** Longest a case may take, in seconds of this process: machines differ and are shared, hangs are for ever. */
const BUDGET_S = 10;
/** Bytes a case may leave in memory, on average, once it is through: what is kept on purpose is a few numbers or words. */
const MOST_GROWTH = 4096;
/** Growth is not looked at below: tables that fill once, code that is compiled. */
const LEAST_GROWTH = 32 << 20;
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
  /** Bytes that a case of the second half left in memory. */
  growth: number;
}

/** A fault of dsc whatever the input was: a broken contract of its own passes, a rule that gives another type or never ends, what is "a fault of dsc" by name. */
const isFault = ({ code }: Diagnostic, blameless: readonly string[]): boolean =>
  !/^DSC[1-6]\d{3}$/.test(code) || (/^DSC300[3-7]$/.test(code) && !blameless.includes(code));

/** What is wrong with a diagnostic, or nothing. */
function faultOf(d: Diagnostic, blameless: readonly string[] = []): string | undefined {
  if (isFault(d, blameless)) return "a code that means a fault of dsc";
  if (d.title.trim() === "" || /\bundefined\b|\[object /.test(d.title)) return "a title that says nothing";
  if (d.spans.length === 0 || d.spans.some((s) => s.file === "")) return "no place";
  if (
    d.spans.some(
      (s) =>
        s.text !== undefined &&
        (s.line === undefined || s.column === undefined || s.line < 1 || s.column < 1 || s.column > s.text.length + 1),
    )
  )
    return "a place outside its line";
  if (!d.help?.trim()) return "no help";
  const text = render(d);
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/.test(text)) return "control characters, raw";
  return /\n\s+at .+:\d+:\d+/.test(text) ? "a stack trace" : undefined;
}

/** Opens a kind, runs seeds from `first` on, all of them whatever they find, and closes it. */
export async function judge(kind: Kind, first: number, cases: number): Promise<Tally> {
  const around = new Surroundings();
  try {
    await kind.open?.();
    let tally: Tally;
    try {
      tally = await all(kind, first, cases);
    } finally {
      await kind.close?.();
    }
    for (const file of around.strays()) tally.findings.push(`${kind.name}: ${file}`);
    return tally;
  } finally {
    around.leave();
  }
}

async function all(kind: Kind, first: number, cases: number): Promise<Tally> {
  const tally: Tally = {
    kind: kind.name,
    first,
    cases,
    accepted: 0,
    refused: new Map(),
    notes: new Map(),
    findings: [],
    slowest: { seed: first, seconds: 0 },
    growth: 0,
  };
  const half = first + Math.ceil(cases / 2);
  let before = 0;
  for (let seed = first; seed < first + cases; seed++) {
    if (seed === half) before = memoryUsed();
    const from = process.cpuUsage();
    const problem = await one(kind, seed, tally);
    const { user, system } = process.cpuUsage(from);
    const seconds = (user + system) / 1e6;
    if (seconds > tally.slowest.seconds) tally.slowest = { seed, seconds };
    const found = problem ?? (seconds > BUDGET_S ? `took ${seconds.toFixed(1)} s` : undefined);
    if (found !== undefined)
      tally.findings.push(
        tally.findings.length < MOST_FINDINGS ? `${kind.name}, seed ${seed}: ${found}\n${kind.show(seed)}` : "",
      );
  }
  const grown = before ? memoryUsed() - before : 0;
  tally.growth = Math.max(0, grown / Math.max(1, first + cases - half));
  if (grown > LEAST_GROWTH && tally.growth > MOST_GROWTH)
    tally.findings.push(
      `${kind.name}: ${(grown / 2 ** 20).toFixed(0)} MiB more in memory after the second half of the cases, ${tally.growth.toFixed(0)} bytes a case`,
    );
  return tally;
}

/** What is wrong with how a case ended. */
async function one(kind: Kind, seed: number, tally: Tally): Promise<string | undefined> {
  const count = (of: Map<string, number>, key: string): void => void of.set(key, (of.get(key) ?? 0) + 1);
  const judged = (all: readonly Diagnostic[]): string | undefined =>
    all
      .map((d) => [faultOf(d, kind.blameless), d] as const)
      .map(([fault, d]) => fault && `${fault}\n${render(d)}`)
      .find((f) => f);
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
  const by = (of: Map<string, number>): string =>
    [...of]
      .toSorted()
      .map(([key, n]) => `${n} ${key}`)
      .join(", ");
  const refused = sum ? `${sum} (${by(t.refused)})` : "0";
  const notes = t.notes.size ? ` (${by(t.notes)})` : "";
  const line = `${t.kind}: ${t.cases} cases, seeds ${t.first} to ${t.first + t.cases - 1}; accepted ${t.accepted}${notes}, refused ${refused}, findings ${t.findings.length}; slowest ${t.slowest.seconds.toFixed(2)} s (seed ${t.slowest.seed}); ${t.growth.toFixed(0)} bytes kept a case`;
  return `${[line, ...t.findings.filter((f) => f)].join("\n")}\n`;
}
