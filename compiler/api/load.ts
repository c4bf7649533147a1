// `load` from Node: a model folder, an artifact's folder, or what `compile` gave.
import { existsSync, statSync } from "node:fs";
import path from "node:path";
import * as check from "../../runtime/arguments.ts";
import { badArgument } from "../../runtime/diagnostics.ts";
import { load as loadArtifact, type LoadOptions, type Model } from "../../runtime/index.ts";
import { cacheArtifact } from "../artifact/write.ts";
import type { Artifact } from "./compile.ts";
import { compiled } from "./compile.ts";
import { compileKeys, type CompileSettings } from "./options.ts";

/** Options of `load`: those of the runtime, and of a model folder how it is compiled. */
export interface LoadCall extends Partial<LoadOptions>, CompileSettings {}

const runtimeKeys = ["weights", "threads", "nvcc", "segmentBytes", "profile"] as const satisfies readonly (keyof LoadOptions)[];

/**
 * Loads a model and places its weights. `await using model = await load("tiny-r1")` closes it at the end of its block.
 *
 * A model folder (or a config.json) is compiled into the user's cache first, and its own checkpoint is read unless `weights` names
 * another. An artifact holds no weights, so `weights` has to be given with one: a checkpoint's folder or file, or "synthetic:SEED".
 *
 * @param where a model folder, a config.json, an artifact's folder, or what `compile` gave
 * @throws DiagnosticError where an argument, the model, or the machine does not fit
 */
export async function load(where: string | Artifact, options: LoadCall = {}): Promise<Model> {
  const place = folderOf(where);
  const given = check.optionsOf("load", options, [...runtimeKeys, ...compileKeys]);
  const runtime = pick(given, runtimeKeys);
  const settings = pick(given, compileKeys);
  if (existsSync(path.join(place, "manifest.json"))) {
    const [word] = Object.keys(settings);
    if (word !== undefined)
      throw badArgument({
        call: "load",
        seen: `${word} with an artifact, which is compiled already`,
        wanted: "left out, or a model folder be given",
      });
    return loadArtifact(place, runtime as LoadOptions);
  }
  const beside = existsSync(place) && statSync(place).isDirectory() ? place : path.dirname(place);
  if (runtime.weights !== undefined) check.text("load", "weights", runtime.weights);
  const weights = runtime.weights ?? beside;
  const c = await compiled("load", place, settings, weights.startsWith("synthetic:") ? place : weights);
  return loadArtifact(cacheArtifact(c), { ...runtime, weights });
}

function folderOf(where: unknown): string {
  if (typeof where === "string") return where;
  const folder = (where as Partial<Artifact> | null | undefined)?.folder;
  if (typeof folder === "string") return folder;
  throw badArgument({
    call: "load",
    seen: `where is ${check.shown(where)}`,
    wanted:
      where instanceof Promise
        ? "a folder, or what compile gives; it is a promise, so await it"
        : "a model folder, an artifact's folder, or what compile gives",
  });
}

/** The keys of an object that are given and listed. */
const pick = <T extends object, K extends keyof T>(from: T, keys: readonly K[]): Partial<Pick<T, K>> =>
  Object.fromEntries(keys.flatMap((k) => (from[k] === undefined ? [] : [[k, from[k]]]))) as Partial<Pick<T, K>>;
