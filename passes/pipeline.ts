// Runs passes in order: verify after each, keep the module after each, fill the ledger, hold every pass to its contract.
import { costOfFunc } from "../ir/cost.ts";
import { DiagnosticError, didYouMean, type Diagnostic } from "../ir/diagnostic.ts";
import { Graph, Value, frozenModule, type Func, type Module } from "../ir/graph.ts";
import type { Machine } from "../ir/machine.ts";
import { verify } from "../ir/verify.ts";
import { bodiesOf, checkContract, type Known } from "./contract.ts";
import { assumed, difference } from "./delta.ts";
import { noFunction, passBroke, unknownPass } from "./diagnostics.ts";
import { Ledger, type Entry } from "./ledger.ts";
import { optionsOf } from "./options.ts";
import type { At, Cx, Pass, Planned } from "./pass.ts";
import { saidProblem } from "./report.ts";
import { rewrite } from "./rewrite.ts";
import type { Left, Watch } from "./round.ts";
import { labelsOf } from "./site.ts";

/** The module as it was after a pass. */
export interface Snapshot {
  pass: string;
  module: Module;
}

/** What passes made of a module, and what they say of it. */
export interface Outcome {
  module: Module;
  ledger: Ledger;
  /** The module before any pass ("frontend"), then after each. */
  snapshots: Snapshot[];
  /** Contracts that did not hold, where they were only to be said, or a plug-in hides their patterns on purpose. */
  slower: Diagnostic[];
}

/** Where a pipeline is: what a failure is reported with. */
export interface Place {
  pass: Pass;
  func?: string;
  rule?: string;
  at?: string;
  /** The module before this pass. */
  before: Module;
}

/** How a pipeline is run. */
export interface PipelineOptions {
  /** What the model may be compiled for: passes weigh by all of them. */
  machines?: readonly Machine[];
  /**
   * Hold passes to their contracts; off for texts that are no whole model. "say": a model without plug-ins compiles, and the
   * outcome says so.
   */
  contracts?: boolean | "say";
  /** Runs the work of one pass: where a time budget and the reporting of plug-ins are. Told where the work is. */
  guard?: <T>(place: Place, work: () => T) => T;
}

/** Resolves "all", "none", "a,b" or "all,-a": names must exist; order is the pipeline's, never the user's. */
export function choosePasses(words: string, pipeline: readonly Pass[]): Pass[] {
  const names = pipeline.map((p) => p.name);
  const asked = words
    .split(",")
    .map((w) => w.trim())
    .filter((w) => w !== "");
  const unknown = asked.map((w) => w.replace(/^-/, "")).filter((w) => w !== "all" && w !== "none" && !names.includes(w));
  if (unknown.length) throw new DiagnosticError(unknown.map((u) => unknownPass({ name: u, near: didYouMean(u, names), names })));
  // A list that only leaves out leaves out of all.
  const chosen = new Set<string>(asked.length > 0 && asked.every((w) => w.startsWith("-")) ? names : []);
  for (const word of asked) {
    const named = word === "all" ? names : word === "none" ? [] : [word.replace(/^-/, "")];
    for (const name of named)
      if (word.startsWith("-")) chosen.delete(name);
      else chosen.add(name);
  }
  return pipeline.filter((p) => chosen.has(p.name));
}

/** Runs passes over a module in their order: verified after each, kept after each, held to their contracts. */
export function runPipeline(
  given: Module,
  passes: readonly Pass[],
  options: Readonly<Record<string, string>> = {},
  how: PipelineOptions = {},
): Outcome {
  // A pass is given what it cannot change: what was before it stays what it was.
  const module = frozenModule(given);
  const ledger = new Ledger();
  const snapshots: Snapshot[] = [{ pass: "frontend", module }];
  verify(module, snapshotName(0, "frontend"));
  const known: Known = {
    bodies: how.contracts === false || module.mixed ? [] : bodiesOf(module),
    ran: new Set(passes.map((p) => p.name)),
    ledger,
  };
  const guard = how.guard ?? ((_, work) => work());
  const slower: Diagnostic[] = [];
  const machines = Object.freeze((how.machines ?? []).map((m) => Object.freeze({ ...m, peaks: Object.freeze({ ...m.peaks }) })));
  let m = module;
  for (const p of passes) {
    const place: Place = { pass: p, before: m };
    const file = snapshotName(snapshots.length, p.name);
    m = guard(place, () => runPass(m, p, ledger, { options: Object.freeze(optionsOf(p, options)), machines }, place, file));
    checkContract(p, known, module.name, passes.slice(0, passes.indexOf(p)), (d) => slower.push(d), how.contracts === "say");
    snapshots.push({ pass: p.name, module: m });
  }
  return { module: m, ledger, snapshots, slower };
}

/** What a pass is told beside the module. */
type Given = Pick<Cx, "options" | "machines">;

/** The file of an artifact that holds the module after a pass. */
export const snapshotName = (i: number, pass: string): string => `graph/${String(i).padStart(2, "0")}-${pass}.dsc`;

function runPass(before: Module, p: Pass, ledger: Ledger, given: Given, place: Place, file: string): Module {
  const funcs = new Map<string, Func>();
  for (const f of before.funcs.values()) {
    place.func = f.name;
    funcs.set(f.name, runOn(f, before, p, ledger, given, place));
  }
  place.func = place.rule = place.at = undefined;
  let m: Module = { ...before, funcs };
  if (p.whole) m = checkedModule(p, p.whole(frozenModule(m), contextOf(m, p, "module", new Map(), ledger, given)));
  m = frozenModule(m);
  try {
    verify(m, file);
  } catch (e) {
    if (!(e instanceof DiagnosticError)) throw e;
    const fired = ledger.entries.filter((x) => x.pass === p.name && x.outcome === "fired");
    const rules = [...new Set(fired.map((x) => `"${x.rule}" fired in ${x.site}${x.at ? ` at %${x.at}` : ""}`))];
    throw new DiagnosticError([passBroke({ pass: p.name, where: rules.slice(-3) }), ...e.diagnostics]);
  }
  return m;
}

function contextOf(module: Module, p: Pass, site: string, labels: ReadonlyMap<Value, string>, ledger: Ledger, given: Given): Cx {
  const add = (rule: string, outcome: Entry["outcome"], at: At | undefined, count: number, rest: Partial<Entry>): void => {
    const label =
      at === undefined || typeof at === "string" ? at : (labels.get(at) ?? at.node.graph.nameOf(at) ?? at.node.op.name);
    ledger.add({
      pass: p.name,
      rule,
      site,
      ...(label === undefined ? {} : { at: label }),
      outcome,
      count,
      ...Object.fromEntries(Object.entries(rest).filter(([, v]) => v !== undefined)),
    });
  };
  return Object.freeze({
    module,
    ...given,
    fired: (rule, { at, count = 1, changes, within, delta, wire } = {}) =>
      add(rule, "fired", at, count, { changes, within, delta, wire }),
    declined: (rule, reason, at) => add(rule, "declined", at, 1, { reason }),
    refused: (rule, reason, at) => add(rule, "refused", at, 1, { reason }),
    unmatched: (rule, reason, at) => add(rule, "unmatched", at, 1, { reason }),
    report: reporter(p, site, ledger),
  } satisfies Cx);
}

/** Takes what a pass has to say of a function, or of the module. */
const reporter =
  (p: Pass, site: string, ledger: Ledger): Cx["report"] =>
  (said, title) => {
    const problem = saidProblem(said);
    if (problem !== null) throw new TypeError(problem);
    ledger.said.push({ pass: p.name, site, ...(title === undefined ? {} : { title: String(title) }), said });
  };

/** Shows every pass that asks for it the plan; what they say is kept with what they said before. */
export function showPlan(
  plan: Planned,
  passes: readonly Pass[],
  ledger: Ledger,
  options: Readonly<Record<string, string>> = {},
  guard: PipelineOptions["guard"] = (_, work) => work(),
): void {
  for (const p of passes)
    if (p.planned)
      guard({ pass: p, before: plan.module }, () =>
        p.planned!(plan, Object.freeze({ options: Object.freeze(optionsOf(p, options)), report: reporter(p, "plan", ledger) })),
      );
}

function runOn(f: Func, m: Module, p: Pass, ledger: Ledger, given: Given, place: Place): Func {
  const from = ledger.entries.length;
  let func = f;
  if (p.rules) {
    const watch: Watch = (rule, at) => {
      place.rule = rule.name;
      place.at = at;
    };
    const out = rewrite(f, m.graph, p.rules, p.name, watch);
    place.rule = place.at = undefined;
    const cx = contextOf(m, p, f.name, new Map(), ledger, given);
    const delta = p.fire === "when-cheaper" ? difference(costOfFunc(out.func, assumed(f)), costOfFunc(f, assumed(f))) : undefined;
    const keep = delta === undefined || out.firings.length === 0 || delta.flops < 0;
    for (const x of out.firings)
      if (keep) cx.fired(x.rule.name, { at: x.at, changes: x.rule.changes?.why, delta: x.delta });
      else cx.declined(x.rule.name, `costs ${(delta.flops / 1e9).toFixed(2)} GFLOP more at ${printAssume(f)}`, x.at);
    for (const x of out.missed) told(cx, x);
    if (keep) func = out.func;
  }
  if (p.run) {
    const [start, old] = [ledger.entries.length, func];
    func = checkedFunc(p, f, p.run(func, contextOf(m, p, f.name, labelsOf(func), ledger, given)));
    // A pass that rewrites a function itself is charged with the difference of the whole.
    const made = ledger.entries.slice(start).filter((e) => e.outcome === "fired" && !e.delta);
    if (made.length) {
      const delta = difference(costOfFunc(func, assumed(f)), costOfFunc(old, assumed(f)));
      for (const e of made) Object.assign(e, { delta, ...(made.length > 1 ? { together: true } : {}) });
    }
  }
  noCandidates(f, p, ledger, from);
  return func;
}

/** The line of the ledger for a candidate that was left. */
function told(cx: Cx, { rule, at, why }: Left): void {
  if ("refused" in why) cx.refused(rule.name, why.refused, at);
  else if ("declined" in why) cx.declined(rule.name, why.declined, at);
  else cx.unmatched(rule.name, why.unmatched, at);
}

/** What a pass gave back, in words, where it is no record. */
const kindOf = (v: unknown): string =>
  v === undefined
    ? "nothing"
    : v === null
      ? "null"
      : typeof (v as { then?: unknown }).then === "function"
        ? "a Promise: a pass is not async"
        : Array.isArray(v)
          ? "an array"
          : typeof v;

/** What `run` gave, which has to be the function with its results, still under its name. */
function checkedFunc(p: Pass, f: Func, made: unknown): Func {
  const g = made as Partial<Func> | null | undefined;
  const say = (what: string): never => {
    throw new DiagnosticError(noFunction({ pass: p.name, func: f.name, what }));
  };
  if (typeof g !== "object" || g === null || typeof (g as { then?: unknown }).then === "function" || Array.isArray(g))
    return say(`run gave ${kindOf(made)}`);
  if (g.name !== f.name) return say(`run gave a function named ${JSON.stringify(g.name)}`);
  for (const list of ["params", "results"] as const) {
    const values = g[list];
    if (!Array.isArray(values)) return say(`run gave a function without ${list}`);
    const bad = values.findIndex((n: unknown) => !((n as { value?: unknown } | null)?.value instanceof Value));
    if (bad >= 0) return say(`${list}[${bad}] of what run gave is no { name, value } with a value of a graph`);
  }
  if (typeof g.assume !== "object") return say("run gave a function without the sizes it assumes");
  return g as Func;
}

/** What `whole` gave, which has to be the module with its functions and weights. */
function checkedModule(p: Pass, made: unknown): Module {
  const m = made as Partial<Module> | null | undefined;
  const say = (what: string): never => {
    throw new DiagnosticError(noFunction({ pass: p.name, func: undefined, what }));
  };
  if (typeof m !== "object" || m === null || typeof (m as { then?: unknown }).then === "function" || Array.isArray(m))
    return say(`whole gave ${kindOf(made)}`);
  for (const map of ["funcs", "weights"] as const)
    if (!(m[map] instanceof Map)) return say(`whole gave a module without a map of ${map}`);
  if (typeof m.entries !== "object" || !Array.isArray(m.load) || !(m.graph instanceof Graph))
    return say("whole gave a module without entries, load or graph");
  for (const [name, f] of m.funcs!) checkedFunc(p, { name } as Func, f);
  return m as Module;
}

/** A line for every rule that found nothing to try: what it looked for. */
function noCandidates(f: Func, p: Pass, ledger: Ledger, from: number): void {
  const seen = new Set(ledger.entries.slice(from).map((e) => e.rule));
  const looked: [string, string][] = [
    ...[...(p.rules ?? []), ...(p.equations ?? [])].map((r): [string, string] => [r.name, r.lookedFor()]),
    ...(p.run ? Object.entries(p.steps ?? {}) : []),
  ];
  for (const [rule, what] of looked)
    if (!seen.has(rule))
      ledger.add({ pass: p.name, rule, site: f.name, outcome: "none", count: 0, reason: `no candidate: looked for ${what}` });
}

export const printAssume = (f: Func): string =>
  Object.entries(f.assume)
    .map(([k, v]) => `${k} = ${v}`)
    .join(", ");
