// The report inside the file, and what panels ask of it.
import type { CallData, FunctionData, LaunchData, Report, StepData } from "../html/schema.ts";

export type { CallData, FunctionData, LaunchData, Report, StepData };

export async function readReport(): Promise<Report> {
  const packed = document.getElementById("report")!.textContent!;
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text()) as Report;
}

export const isCall = (l: LaunchData | CallData): l is CallData => "call" in l;

export const launchesOf = (f: FunctionData): LaunchData[] => f.launches.filter((l): l is LaunchData => !isCall(l));

/** "decode step of 8 rows, 1024 cached". */
export function stepName({ entry, rows, sequences, cached }: StepData): string {
  const many = `${rows} row${rows === 1 ? "" : "s"}`;
  if (entry === "prefill") return `prefill of ${many}${sequences > 1 ? `, ${sequences} sequences` : ""}`;
  return `${entry}${entry === "extend" ? "" : " step"} of ${many}, ${cached} cached`;
}

/** The phase of a profile that a step is of. */
export const phaseOf = (r: Report, { entry }: StepData): "prefill" | "decode" | undefined =>
  entry === r.entries.prefill ? "prefill" : entry === r.entries.decode ? "decode" : undefined;

/** Microseconds one call of a function takes at least, calls inside it included. */
export function floorOfFunction(step: StepData, name: string): number {
  const f = step.functions.find((x) => x.name === name);
  if (!f) return 0;
  return f.launches.reduce((n, l) => n + (isCall(l) ? l.layers.length * floorOfFunction(step, l.call) : l.times * l.floor), 0);
}

/** Launches of one call of a function, calls inside it included. */
export function launchCount(step: StepData, name: string): number {
  const f = step.functions.find((x) => x.name === name);
  if (!f) return 0;
  return f.launches.reduce((n, l) => n + (isCall(l) ? l.layers.length * launchCount(step, l.call) : l.times), 0);
}

/** The functions of the last pass, entries first, then what they call. */
export function functionNames(r: Report): string[] {
  const all = Object.keys(r.passes.at(-1)!.functions);
  const entries = Object.values(r.entries);
  const order = [r.entries.decode, r.entries.prefill, r.entries.extend, r.entries.draft].filter((e) => e !== undefined);
  const below = (e: string): string[] => all.filter((f) => f.startsWith(`${e}/`));
  return [
    ...order.flatMap((e) => [e, ...below(e)]),
    ...all.filter((f) => !entries.some((e) => f === e || f.startsWith(`${e}/`))),
  ];
}

/** The text of a function after a pass; the last where none is named. */
export function textAfter(r: Report, name: string, pass = r.passes.length - 1): string | undefined {
  const at = r.passes[pass]?.functions[name];
  return at === undefined ? undefined : r.texts[at];
}

/** The step to show a function at: the one chosen where it runs there, else the first in which it runs. */
export function stepFor(r: Report, chosen: number, name: string): StepData | undefined {
  const runs = (step: StepData | undefined): boolean => !!step?.functions.some((f) => f.name === name);
  return runs(r.steps[chosen]) ? r.steps[chosen] : r.steps.find(runs);
}
