// The plug-in door: TypeScript passes from outside the tree, loaded through jiti and placed in the pipeline. A plug-in sees the
// running dsc by the names "dsc/ir", "dsc/passes" and "dsc/codegen", wherever it lies and whatever is installed beside it. Its
// rules are proved before they run. The digest in the artifact is that of the file itself, not of what it imports.
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { DiagnosticError, didYouMean, render } from "../ir/diagnostic.ts";
import { configPassedOver, pluginNotLoaded, pluginShape, ruleRefuted, unknownPass } from "../passes/diagnostics.ts";
import { counterexample, insertAfter, insertBefore, standard, type Pass } from "../passes/index.ts";
import { BUDGET_S, timedOut, withinBudget } from "./guard.ts";
import { ownConfig } from "./own-config.ts";

/**
 * The pipeline with every plug-in in its place: the working directory's dsc.config first, then the files named, in order. `models`
 * are the places the command reads a model from: a dsc.config there is passed over. Both are said on stderr.
 */
export async function loadPlugins(models: string | readonly string[] | undefined, files: readonly string[], seconds = BUDGET_S): Promise<readonly Pass[]> {
  const { file: own, passed } = ownConfig(typeof models === "string" ? [models] : (models ?? []));
  const named = new Set(files.map((f) => path.resolve(f)));
  for (const { file, why } of passed) if (!named.has(path.resolve(file))) process.stderr.write(render(configPassedOver(file, why)) + "\n");
  if (own !== undefined) process.stderr.write(`plug-ins of the working directory: ${path.relative(process.cwd(), own)}\n`);
  let pipeline: readonly Pass[] = standard;
  for (const file of [...(own ? [own] : []), ...files]) pipeline = placed(file, await exported(file, seconds), pipeline);
  return pipeline;
}

async function exported(file: string, seconds: number): Promise<unknown> {
  const full = path.resolve(file);
  if (!existsSync(full)) throw new DiagnosticError(pluginNotLoaded(file, ["there is no such file"]));
  // Only who has a plug-in pays for what plug-ins may import. The plug-in's ops and passes are the objects of this process.
  const [{ createJiti }, ir, passes, codegen] = await Promise.all([import("jiti"), import("../ir/index.ts"), import("../passes/index.ts"), import("../codegen/index.ts")]);
  // Nothing is cached: a file is loaded as it is now.
  const jiti = createJiti(import.meta.url, { fsCache: false, moduleCache: false, interopDefault: false, virtualModules: { "dsc/ir": ir, "dsc/passes": passes, "dsc/codegen": codegen } });
  try {
    return withinBudget(() => (jiti(full) as { default?: unknown }).default, seconds);
  } catch (e) {
    if (timedOut(e)) throw new DiagnosticError(pluginNotLoaded(file, [`it did not end in ${seconds} s`]));
    if (e instanceof DiagnosticError) throw new DiagnosticError([pluginNotLoaded(file, ["declaring its rules or passes failed"]), ...e.diagnostics]);
    throw new DiagnosticError(pluginNotLoaded(file, reasonOf(e)));
  }
}

/** The first lines of what went wrong, without stack. */
const reasonOf = (e: unknown): string[] => (e instanceof Error ? e.message : String(e)).split("\n").filter((l) => l.trim() !== "" && !/^\s+at /.test(l)).slice(0, 3);

/** The pipeline after a plug-in: a pass with its place, { pipeline }, or a function of the pipeline so far. */
function placed(file: string, from: unknown, pipeline: readonly Pass[]): readonly Pass[] {
  const record = typeof from === "object" && from !== null ? (from as Record<string, unknown>) : undefined;
  let next: unknown;
  if (typeof from === "function") next = called(file, from as (p: readonly Pass[]) => unknown, pipeline);
  else if (record && "pipeline" in record) next = record.pipeline;
  else if (record && "name" in record) next = inPlace(file, record as unknown as Pass, pipeline);
  else throw new DiagnosticError(pluginShape(file, from === undefined ? "it has no default export" : `its default export is ${Array.isArray(from) ? "an array" : typeof from}`));
  if (!Array.isArray(next) || next.length === 0) throw new DiagnosticError(pluginShape(file, "the pipeline is no list of passes"));
  const digest = createHash("sha256").update(readFileSync(file)).digest("hex");
  const own = (next as Pass[]).map((p) => (pipeline.includes(p) ? p : checked(file, { ...p, plugin: { file, digest } })));
  const twice = own.find((p, i) => own.findIndex((q) => q.name === p.name) !== i);
  if (twice) throw new DiagnosticError(pluginShape(file, `two passes are named ${twice.name}`));
  return own;
}

function called(file: string, f: (p: readonly Pass[]) => unknown, pipeline: readonly Pass[]): unknown {
  try {
    return withinBudget(() => f(pipeline));
  } catch (e) {
    throw new DiagnosticError(pluginNotLoaded(file, ["its default export, a function of the pipeline, threw", ...reasonOf(e)]));
  }
}

function inPlace(file: string, p: Pass, pipeline: readonly Pass[]): Pass[] {
  const names = pipeline.map((x) => x.name);
  const anchor = p.before ?? p.after;
  if (anchor === undefined) throw new DiagnosticError(pluginShape(file, `pass ${p.name} does not say where it goes: before or after which pass`));
  if (!names.includes(anchor)) throw new DiagnosticError([pluginShape(file, `pass ${p.name} goes ${p.before === undefined ? "after" : "before"} ${anchor}`), unknownPass(anchor, didYouMean(anchor, names), names)]);
  return p.before === undefined ? insertAfter(pipeline, anchor, p) : insertBefore(pipeline, anchor, p);
}

const keys = ["name", "summary", "rules", "equations", "steps", "options", "fire", "run", "whole", "expect", "before", "after", "plugin"];

/** A pass as one is declared, its rules proved. */
function checked(file: string, p: Pass): Pass {
  const say = (problem: string): never => {
    throw new DiagnosticError(pluginShape(file, problem));
  };
  if (typeof p.name !== "string" || !/^[a-z][a-z0-9-]*$/.test(p.name)) say(`the name ${JSON.stringify(p.name)} is not in kebab-case`);
  if (typeof p.summary !== "string") say(`pass ${p.name} has no summary`);
  for (const k of Object.keys(p)) if (!keys.includes(k)) say(`pass ${p.name} has a field ${k}${didYouMean(k, keys) ? `; did you mean ${didYouMean(k, keys)}?` : ""}`);
  if (!p.rules?.length && !p.run && !p.whole) say(`pass ${p.name} has neither rules nor run nor whole`);
  for (const rule of [...(p.rules ?? []), ...(p.equations ?? [])]) {
    if (typeof rule?.sides !== "function") say(`pass ${p.name} has a rule that was not made with rule(...)`);
    const found = withinBudget(() => counterexample(rule));
    if (found) throw new DiagnosticError(ruleRefuted(file, p.name, rule.name, found.seed, found.holes, found.problem));
  }
  return p;
}
