// What a case may end in: success, or diagnostics that each say what (code and title), where, and what to try. Anything else is
// a finding: another exception, a diagnostic without place or help, a case that takes too long.
import { DiagnosticError, render, type Diagnostic } from "../../ir/diagnostic.ts";

/** Longest a case may take, in seconds of this process: machines differ and are shared, hangs are for ever. */
const BUDGET_S = 10;

export interface Verdict {
  codes: string[];
  seconds: number;
}

export interface Tally {
  cases: number;
  succeeded: number;
  refused: Map<string, number>;
  slowest: { seed: number; seconds: number };
}

/** What is wrong with a diagnostic, or nothing. */
export function faultOf(d: Diagnostic): string | undefined {
  // A contract that does not hold, said of a whole model that compiled: dsc's own passes are to blame.
  if (!/^DSC[1-6]\d{3}$/.test(d.code) || (d.code === "DSC3003" && d.severity === "warning")) return "a code that means a fault of dsc";
  if (d.title.trim() === "" || /\bundefined\b|\[object /.test(d.title)) return "a title that says nothing";
  if (d.spans.length === 0 || d.spans.some((s) => s.file === "")) return "no place";
  if (d.spans.some((s) => s.text !== undefined && (s.line === undefined || s.column === undefined || s.line < 1 || s.column < 1 || s.column > s.text.length + 1))) return "a place outside its line";
  if (!d.help?.trim()) return "no help";
  return /\n\s+at .+:\d+:\d+/.test(render(d)) ? "a stack trace" : undefined;
}

/** Runs seeds from `first`; throws at the first finding with all that reproduces it. */
export async function judge(what: string, first: number, cases: number, run: (seed: number) => unknown, show: (seed: number) => string): Promise<Tally> {
  const tally: Tally = { cases, succeeded: 0, refused: new Map(), slowest: { seed: first, seconds: 0 } };
  for (let seed = first; seed < first + cases; seed++) {
    const from = process.cpuUsage();
    const finding = (problem: string): Error => new Error(`${what}, seed ${seed}: ${problem}\n${show(seed)}`);
    try {
      const warnings = (await run(seed)) as Diagnostic[] | undefined;
      for (const d of warnings ?? []) if (faultOf(d)) throw finding(`${faultOf(d)}\n${render(d)}`);
      tally.succeeded++;
    } catch (e) {
      if (!(e instanceof DiagnosticError)) throw e instanceof Error && e.message.startsWith(`${what}, seed`) ? e : finding(`not a diagnostic: ${(e as Error).stack ?? String(e)}`);
      for (const d of e.diagnostics) if (faultOf(d)) throw finding(`${faultOf(d)}\n${render(d)}`);
      const code = e.diagnostics[0].code;
      tally.refused.set(code, (tally.refused.get(code) ?? 0) + 1);
    }
    const { user, system } = process.cpuUsage(from);
    const seconds = (user + system) / 1e6;
    if (seconds > tally.slowest.seconds) tally.slowest = { seed, seconds };
    if (seconds > BUDGET_S) throw finding(`took ${seconds.toFixed(1)} s`);
  }
  return tally;
}

export const printTally = (what: string, t: Tally): string =>
  `${what}: ${t.cases} cases, ${t.succeeded} succeeded, ${[...t.refused].toSorted().map(([c, n]) => `${n} ${c}`).join(", ")}; slowest ${t.slowest.seconds.toFixed(2)} s (seed ${t.slowest.seed})\n`;
