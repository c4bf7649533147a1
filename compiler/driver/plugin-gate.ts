// What a plug-in may not do to a compile: throw a stack trace at its user, run without end, or leave a broken graph unexplained.
// Work of a plug-in's pass runs within a time budget; a failure names plug-in, rule and place, and leaves a .dsc that shows it.
import { writeFileSync } from "node:fs";
import path from "node:path";
import vm from "node:vm";
import { DiagnosticError, type Diagnostic } from "../../ir/diagnostic.ts";
import { callOf, everyNode, printModule, type Module } from "../../ir/index.ts";
import { pluginBroke, pluginSlow, pluginThrew, type Failure } from "../../passes/plugin-diagnostics.ts";
import type { PipelineOptions, Place } from "../../passes/index.ts";
import { readTextSync } from "../../runtime/files.ts";
import { makeFolder } from "../artifact/make-folder.ts";
import { kindAt } from "../artifact/ours.ts";
import { isPluginExit, thrownAt, withoutExit } from "./plugin-blame.ts";
import { variable } from "../../runtime/user-cache.ts";

/**
 * Seconds one pass of a plug-in may take for one model; all standard passes together take one for R1. The limit is of the clock,
 * the only one V8 can enforce: where a busy machine makes work wait, DSC_PLUGIN_SECONDS gives it more.
 */
export const BUDGET_S = Number(variable("DSC_PLUGIN_SECONDS")) || 10;

let work: (() => unknown) | undefined;

/** Runs `f`, ended by force when the budget is spent: the isolate stops wherever it is, in f or in what f calls. */
export function withinBudget<T>(f: () => T, seconds = BUDGET_S): T {
  const outer = work;
  work = f;
  Object.assign(globalThis, { dscWork: () => work!() });
  try {
    return vm.runInThisContext("dscWork()", { timeout: Math.round(seconds * 1000), displayErrors: false }) as T;
  } finally {
    work = outer;
    if (!outer) Reflect.deleteProperty(globalThis, "dscWork");
  }
}

export const timedOut = (e: unknown): boolean => (e as NodeJS.ErrnoException).code === "ERR_SCRIPT_EXECUTION_TIMEOUT";

/** The guard of a pipeline; texts that reproduce a failure go into `folder`. Passes of dsc itself run as they are. */
export const guardOf =
  (folder: string, seconds = BUDGET_S): PipelineOptions["guard"] =>
  (place, run) => {
    if (!place.pass.plugin) return run();
    try {
      return withoutExit(() => withinBudget(run, seconds));
    } catch (e) {
      throw new DiagnosticError(reported(place, e, folder, seconds));
    }
  };

function reported(place: Place, e: unknown, folder: string, seconds: number): Diagnostic[] {
  const { pass, func, rule, at } = place;
  const repro = reproduce(place, folder);
  const f = (notes: readonly string[]): Failure => ({
    file: pass.plugin!.file,
    pass: pass.name,
    notes,
    ...(rule === undefined ? {} : { rule }),
    ...(func === undefined ? {} : { site: at === undefined ? func : `${func}/${at}` }),
    ...(repro === undefined ? {} : { repro }),
  });
  const { notes, span } = thrownAt(e, pass.plugin!.file);
  const threw = (...said: string[]): Diagnostic => pluginThrew(f([...said, ...notes]), span);
  if (timedOut(e)) return [pluginSlow({ ...f([]), seconds })];
  if (e instanceof DiagnosticError) {
    const [first, ...rest] = e.diagnostics;
    if (first.code === "DSC3008") return [pluginThrew(f([first.title.slice(first.title.indexOf(": ") + 2), first.help ?? ""]))];
    // The pipeline's own word for a broken graph is that the pass is at fault: here it is the plug-in.
    return first.code === "DSC9001" ? [pluginBroke(f(first.notes)), ...rest] : [threw(), first, ...rest];
  }
  const readOnly =
    e instanceof TypeError &&
    /read.only|not extensible|Cannot delete property|Cannot add property|Cannot define property/i.test(e.message);
  const said = isPluginExit(e) ? "it calls process.exit" : e instanceof Error ? `${e.name}: ${e.message}` : String(e);
  return [
    threw(said, ...(readOnly ? ["graphs, ops, rules and options are values: make new ones with the builders and rebuild"] : [])),
  ];
}

/** Writes the module from before the pass, cut down to the function it was in; gives the file, or nothing where it cannot be written. */
function reproduce({ pass, func, before }: Place, folder: string): string | undefined {
  return writeBefore(pass.name, printModule(func === undefined ? before : only(before, func)), folder);
}

/**
 * Writes the text from before a pass into a folder, beside what is there; gives the file as seen from here, or nothing where
 * it cannot be written.
 */
export function writeBefore(pass: string, text: string, folder: string): string | undefined {
  try {
    makeFolder(folder);
    const file = place(path.join(folder, `${pass}-before`), text);
    return path.relative(process.cwd(), file).startsWith("..") ? file : path.relative(process.cwd(), file);
  } catch {
    return undefined;
  }
}

/** Writes a text under a name that is free, NAME.dsc or NAME-2.dsc and on; one that is there already is kept. */
function place(name: string, text: string): string {
  for (let i = 1; ; i++) {
    const file = `${name}${i === 1 ? "" : `-${i}`}.dsc`;
    try {
      writeFileSync(file, text, { flag: "wx" });
      return file;
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code !== "EEXIST") throw e;
      if (kindAt(file) === "file" && readTextSync(file) === text) return file;
    }
  }
}

/** One function and those it calls. */
function only(m: Module, name: string): Module {
  const keep = new Set<string>();
  const visit = (n: string): void => {
    const f = m.funcs.get(n);
    if (!f || keep.has(n)) return;
    for (const node of everyNode(f)) {
      const called = callOf(node);
      if (called) visit(called.func);
    }
    keep.add(n);
  };
  visit(name);
  return {
    ...m,
    funcs: new Map([...m.funcs].filter(([n]) => keep.has(n))),
    entries: { prefill: name, extend: name, decode: name },
    load: [],
  };
}
