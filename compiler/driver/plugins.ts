// The plug-in door: what TypeScript from outside the tree brings, checked, held to what it says of itself, its passes placed in
// the pipeline. Rules are proved before they run. The digest in the artifact is that of the file itself, not of what it
// imports.
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { DiagnosticError, didYouMean } from "../../ir/diagnostic.ts";
import { knowing } from "../../ir/vocabulary.ts";
import { unknownPass } from "../../passes/diagnostics.ts";
import { configPassedOver, pluginNotLoaded, pluginShape } from "../../passes/plugin-diagnostics.ts";
import { insertAfter, insertBefore, standard, type Pass } from "../../passes/index.ts";
import { sha256 } from "../../runtime/manifest-text.ts";
import { noBrings, type Brings } from "../plugin/brings.ts";
import { hold } from "../plugin/held.ts";
import { passOf, type Plugin } from "../plugin/plugin.ts";
import { BUDGET_S, withinBudget } from "./plugin-gate.ts";
import { ownConfig } from "./own-config.ts";
import { joined, pluginShapes } from "./plugin-brings.ts";
import { thrownAt, withoutExit } from "./plugin-blame.ts";
import { exported, reasonOf } from "./plugin-module.ts";
import { checked, named } from "./plugin-shape.ts";
import { say } from "../tell.ts";

/** How plug-ins are loaded. */
export interface LoadHow {
  /** Seconds that reading one file may take. */
  seconds?: number;
  /** Whether the working directory's dsc.config is one of them. */
  config?: boolean;
  /** Whether kernels are tried on the card that is here, too. */
  cards?: boolean;
}

/** What is compiled with: the pipeline with every pass in its place, and what else plug-ins brought. */
export interface Loaded {
  pipeline: readonly Pass[];
  brings: Brings;
}

/** A passes-only plug-in, or several, or one that brings more. */
type Given = { passes: unknown } | { plugins: readonly Plugin[] };

/**
 * Every plug-in in its place: the working directory's dsc.config first, then the files or packages named, in order. `models` are the
 * places the command reads a model from: a dsc.config there is passed over. Both are said on stderr.
 */
export async function loadPlugins(
  models: string | readonly string[] | undefined,
  files: readonly string[],
  { seconds = BUDGET_S, config = true, cards = false }: LoadHow = {},
): Promise<Loaded> {
  const { file: own, passed } = config ? ownConfig(typeof models === "string" ? [models] : (models ?? [])) : { passed: [] };
  const named = new Set(files.map((f) => path.resolve(f)));
  for (const { file, why } of passed) if (!named.has(path.resolve(file))) say(configPassedOver({ file, why }));
  if (own !== undefined) process.stderr.write(`plug-ins of the working directory: ${path.relative(process.cwd(), own)}\n`);
  let loaded: Loaded = { pipeline: standard, brings: noBrings };
  for (const word of [...(own ? [own] : []), ...files]) {
    const file = fileOf(word);
    loaded = await withPlugin(file, given(await exported(file, seconds)), loaded, cards, seconds);
  }
  return loaded;
}

/** The file of a plug-in: itself, or the entry of a package that is installed where one works. */
function fileOf(word: string): string {
  if (existsSync(word) || /^[./]|\.[cm]?[jt]s$/.test(word)) return word;
  try {
    return createRequire(path.join(process.cwd(), "plugin.js")).resolve(word);
  } catch {
    return word;
  }
}

/** What a default export is. */
function given(from: unknown): Given {
  const isPlugin = (v: unknown): v is Plugin => typeof v === "object" && v !== null && "api" in v;
  if (isPlugin(from)) return { plugins: [from] };
  if (Array.isArray(from) && from.length > 0 && from.every(isPlugin)) return { plugins: from };
  return { passes: from };
}

async function withPlugin(
  file: string,
  from: Given,
  { pipeline, brings }: Loaded,
  cards: boolean,
  seconds: number,
): Promise<Loaded> {
  if ("passes" in from) return { pipeline: knowing(brings.words, () => placed(file, from.passes, pipeline)), brings };
  let now: Loaded = { pipeline, brings };
  for (const p of from.plugins) {
    pluginShapes(file, p);
    const more = joined(file, sha256(readFileSync(file)), p, now.brings);
    const held = await hold(file, p, more, cards, seconds);
    now = {
      brings: { ...more, held: [...now.brings.held, ...held] },
      pipeline: knowing(more.words, () => {
        let list = now.pipeline;
        for (const one of p.passes ?? []) list = placed(file, one, list);
        for (const r of p.reports ?? []) list = taken(file, list, [...list, passOf(r)]);
        return list;
      }),
    };
  }
  return now;
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
  return taken(file, pipeline, next as Pass[]);
}

/** A pipeline whose new passes are this file's, checked and under names of their own. */
function taken(file: string, pipeline: readonly Pass[], known: readonly Pass[]): readonly Pass[] {
  const digest = sha256(readFileSync(file));
  const own = known.map((p) => (pipeline.includes(p) ? p : checked(file, { ...p, plugin: { file, digest } }, known)));
  const twice = own.find((p, i) => own.findIndex((q) => q.name === p.name) !== i);
  if (twice) {
    const other = own.find((p) => p.name === twice.name && p.plugin?.file !== file);
    throw new DiagnosticError(
      pluginShape({
        file,
        what: `takes a name that is taken: ${twice.name}`,
        problem: `two passes are named ${twice.name}: the other is ${other?.plugin ? `of ${other.plugin.file}` : "dsc's"}`,
        help: "give the pass another name; dsc passes lists those there are",
      }),
    );
  }
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
