// The plug-in door: TypeScript passes from outside the tree, checked and placed in the pipeline. Their rules are proved before they
// run. The digest in the artifact is that of the file itself, not of what it imports.
import { readFileSync } from "node:fs";
import path from "node:path";
import { DiagnosticError, didYouMean } from "../../ir/diagnostic.ts";
import { unknownPass } from "../../passes/diagnostics.ts";
import { configPassedOver, pluginNotLoaded, pluginShape, ruleRefuted } from "../../passes/plugin-diagnostics.ts";
import { deepFreeze } from "../../ir/freeze.ts";
import { counterexample, insertAfter, insertBefore, standard, type Pass, type Rule } from "../../passes/index.ts";
import { sha256 } from "../../runtime/manifest-text.ts";
import { BUDGET_S, timedOut, withinBudget } from "./plugin-gate.ts";
import { ownConfig } from "./own-config.ts";
import { thrownAt, withoutExit } from "./plugin-blame.ts";
import { exported, reasonOf } from "./plugin-module.ts";
import { say } from "../tell.ts";

/** How plug-ins are loaded. */
export interface LoadHow {
  /** Seconds that reading one file may take. */
  seconds?: number;
  /** Whether the working directory's dsc.config is one of them. */
  config?: boolean;
}

/**
 * The pipeline with every plug-in in its place: the working directory's dsc.config first, then the files named, in order. `models`
 * are the places the command reads a model from: a dsc.config there is passed over. Both are said on stderr.
 */
export async function loadPlugins(
  models: string | readonly string[] | undefined,
  files: readonly string[],
  { seconds = BUDGET_S, config = true }: LoadHow = {},
): Promise<readonly Pass[]> {
  const { file: own, passed } = config ? ownConfig(typeof models === "string" ? [models] : (models ?? [])) : { passed: [] };
  const named = new Set(files.map((f) => path.resolve(f)));
  for (const { file, why } of passed) if (!named.has(path.resolve(file))) say(configPassedOver({ file, why }));
  if (own !== undefined) process.stderr.write(`plug-ins of the working directory: ${path.relative(process.cwd(), own)}\n`);
  let pipeline: readonly Pass[] = standard;
  for (const file of [...(own ? [own] : []), ...files]) pipeline = placed(file, await exported(file, seconds), pipeline);
  return pipeline;
}

/** The pipeline after a plug-in: a pass with its place, { pipeline }, or a function of the pipeline so far. */
function placed(file: string, from: unknown, pipeline: readonly Pass[]): readonly Pass[] {
  const record = typeof from === "object" && from !== null ? (from as Record<string, unknown>) : undefined;
  let next: unknown;
  if (typeof from === "function") next = called(file, from as (p: readonly Pass[]) => unknown, pipeline);
  else if (record && "pipeline" in record) next = record.pipeline;
  else if (record && !Array.isArray(from)) next = inPlace(file, from as Pass, pipeline);
  else
    throw new DiagnosticError(
      pluginShape({
        file,
        what: "exports no pass",
        problem:
          from === undefined
            ? "it has no default export"
            : `its default export is ${Array.isArray(from) ? "an array" : from === null ? "null" : typeof from}`,
      }),
    );
  if (typeof (next as { then?: unknown } | undefined)?.then === "function")
    throw new DiagnosticError(
      pluginShape({ file, what: "exports no pipeline", problem: "its function gave a Promise: a pipeline is a value" }),
    );
  if (!Array.isArray(next) || next.length === 0)
    throw new DiagnosticError(
      pluginShape({
        file,
        what: "exports no pipeline",
        problem: `the pipeline is ${Array.isArray(next) ? "empty" : next === null ? "null" : typeof next}, no list of passes`,
      }),
    );
  const bad = next.findIndex((p: unknown) => typeof p !== "object" || p === null || Array.isArray(p));
  if (bad >= 0)
    throw new DiagnosticError(
      pluginShape({ file, what: "exports no pipeline", problem: `number ${bad + 1} of the pipeline is no pass` }),
    );
  const digest = sha256(readFileSync(file));
  const known = next as Pass[];
  const own = known.map((p) => (pipeline.includes(p) ? p : checked(file, { ...p, plugin: { file, digest } }, known)));
  const twice = own.find((p, i) => own.findIndex((q) => q.name === p.name) !== i);
  if (twice)
    throw new DiagnosticError(
      pluginShape({
        file,
        what: `takes a name that is taken: ${twice.name}`,
        problem: `two passes are named ${twice.name}`,
        help: "give the pass another name; dsc passes lists those there are",
      }),
    );
  return own;
}

function called(file: string, f: (p: readonly Pass[]) => unknown, pipeline: readonly Pass[]): unknown {
  try {
    return withoutExit(() => withinBudget(() => f(Object.freeze([...pipeline]))));
  } catch (e) {
    const { notes, span } = thrownAt(e, file);
    throw new DiagnosticError(
      pluginNotLoaded(
        { file, problem: ["its default export, a function of the pipeline, threw", ...reasonOf(e), ...notes] },
        span,
      ),
    );
  }
}

function inPlace(file: string, p: Pass, pipeline: readonly Pass[]): Pass[] {
  named(file, p);
  const names = pipeline.map((x) => x.name);
  if (p.before !== undefined && p.after !== undefined)
    throw new DiagnosticError(
      pluginShape({
        file,
        what: `says two places for pass ${p.name}`,
        problem: `it goes before ${p.before} and after ${p.after}`,
        help: "keep one of the two",
      }),
    );
  const anchor = p.before ?? p.after;
  const help = "say before: NAME or after: NAME; dsc passes lists the names";
  if (anchor === undefined)
    throw new DiagnosticError(
      pluginShape({
        file,
        what: `gives pass ${p.name} no place`,
        problem: `pass ${p.name} does not say where it goes: before or after which pass`,
        help,
      }),
    );
  if (!names.includes(anchor)) {
    const shape = pluginShape({
      file,
      what: `gives pass ${p.name} a place that is not there`,
      problem: `pass ${p.name} goes ${p.before === undefined ? "after" : "before"} ${String(anchor)}`,
      help,
    });
    throw new DiagnosticError([shape, unknownPass({ name: String(anchor), near: didYouMean(String(anchor), names), names })]);
  }
  return p.before === undefined ? insertAfter(pipeline, anchor, p) : insertBefore(pipeline, anchor, p);
}

/** A pass has a name of its own, in kebab-case. */
function named(file: string, p: Pass): void {
  if (typeof p.name !== "string")
    throw new DiagnosticError(
      pluginShape({
        file,
        what: "exports no pass",
        problem: `its default export has ${p.name === undefined ? "no name" : `the name ${JSON.stringify(p.name)}`}`,
      }),
    );
  if (!/^[a-z][a-z0-9-]*$/.test(p.name))
    throw new DiagnosticError(
      pluginShape({
        file,
        what: `names a pass ${JSON.stringify(p.name)}`,
        problem: `the name ${JSON.stringify(p.name)} is not in kebab-case`,
        help: `write ${kebab(p.name)}`,
      }),
    );
}

const kebab = (name: string): string => {
  const word = name
    .replace(/([a-z0-9])([A-Z])/g, "$1-$2")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^[^a-z]+|-+$/g, "");
  return word === "" ? "my-pass" : word;
};

const keys = [
  "name",
  "summary",
  "rules",
  "equations",
  "steps",
  "options",
  "fire",
  "run",
  "whole",
  "promises",
  "before",
  "after",
  "hides",
  "plugin",
];

/** A pass as one is declared, its rules proved. */
function checked(file: string, p: Pass, pipeline: readonly Pass[]): Pass {
  named(file, p);
  const say = (problem: string, help?: string): never => {
    throw new DiagnosticError(
      pluginShape({
        file,
        what: `declares pass ${p.name} wrongly`,
        problem: `pass ${p.name} ${problem}`,
        help: help ?? "examples/plugin-pass/last-row-norm.ts is a whole one",
      }),
    );
  };
  for (const k of Object.keys(p)) {
    const near = didYouMean(k, keys);
    if (!keys.includes(k))
      say(
        `has a field ${k}${near ? `; did you mean ${near}?` : ""}`,
        `fields of a pass: ${keys.filter((x) => x !== "plugin").join(", ")}`,
      );
  }
  if (typeof p.summary !== "string") say("has no summary", "summary: a sentence that dsc passes shows");
  for (const k of ["rules", "equations", "promises"] as const)
    if (p[k] !== undefined && !Array.isArray(p[k])) say(`has ${k} that are no list`);
  for (const k of ["run", "whole"] as const)
    if (p[k] !== undefined && typeof p[k] !== "function") say(`has a ${k} that is no function`);
  for (const k of ["run", "whole"] as const)
    if (p[k]?.constructor.name === "AsyncFunction")
      say(`has an async ${k}: a pass gives its result, not a Promise`, `leave async out`);
  if (p.fire !== undefined && p.fire !== "always" && p.fire !== "when-cheaper")
    say(`has fire ${JSON.stringify(p.fire)}`, 'fire is "always" or "when-cheaper"');
  if (!p.rules?.length && !p.run && !p.whole) say("has neither rules nor run nor whole");
  if (p.hides !== undefined && !Array.isArray(p.hides)) say("has hides that are no list of names", 'hides: ["pack-gate-up"]');
  const names = pipeline.map((x) => x.name);
  for (const h of p.hides ?? [])
    if (!names.includes(h))
      throw new DiagnosticError([
        pluginShape({ file, what: `hides a pass that is not there`, problem: `pass ${p.name} hides ${JSON.stringify(h)}` }),
        unknownPass({ name: String(h), near: didYouMean(String(h), names), names }),
      ]);
  for (const rule of [...(p.rules ?? []), ...(p.equations ?? [])]) {
    if (typeof rule?.sides !== "function" || typeof rule.left !== "function") say("has a rule that was not made with rule(...)");
    proveRule(file, p, rule);
  }
  return deepFreeze(p);
}

function proveRule(file: string, p: Pass, rule: Rule): void {
  let found: ReturnType<typeof counterexample>;
  try {
    found = withoutExit(() => withinBudget(() => counterexample(rule)));
  } catch (e) {
    const { notes, span } = thrownAt(e, file);
    const reason = timedOut(e) ? [`proving it did not end in ${BUDGET_S} s`] : reasonOf(e);
    throw new DiagnosticError(
      ruleRefuted(
        {
          file,
          pass: p.name,
          rule: rule.name,
          seed: 1,
          holes: Object.entries(rule.vars).map(([k, t]) => `${k} ${t}`),
          problem: [...reason, ...notes].join("; "),
        },
        span,
      ),
    );
  }
  if (found)
    throw new DiagnosticError(
      ruleRefuted({ file, pass: p.name, rule: rule.name, seed: found.seed, holes: found.holes, problem: found.problem }),
    );
}
