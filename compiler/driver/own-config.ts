// Which dsc.config is the user's own. It is code, so it has to lie where the user works; a model folder is data from somewhere
// else, and what lies in one never runs because somebody compiled, ran or verified the model.
import { existsSync, readdirSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import { readTextSync } from "../../runtime/files.ts";

/** Names of a config file, in the order they are looked for. */
const names = ["dsc.config.ts", "dsc.config.mts", "dsc.config.js", "dsc.config.mjs"];

/** What is there to load, and what is passed over with the reason. */
export interface OwnConfig {
  /** The working directory's config file. */
  file?: string;
  passed: { file: string; why: string }[];
}

/**
 * Looks for a dsc.config in the working directory `cwd`. `models` are the places a command reads its model from: SRC, --weights.
 * The file is passed over where the working directory is a model folder, or where the file lies in one; links are followed.
 */
export function ownConfig(models: readonly string[], cwd: string = process.cwd()): OwnConfig {
  const folders = models.flatMap(foldersOf);
  const found = configIn(cwd);
  const passed = folders.flatMap((f) => {
    const file = configIn(f);
    return file === undefined || real(file) === (found && real(found)) ? [] : [{ file, why: "it lies beside the model" }];
  });
  const beside = [...new Map(passed.map((p) => [real(p.file), p])).values()];
  if (found === undefined) return { passed: beside };
  const shown = path.relative(process.cwd(), found) || found;
  const lies = [real(cwd), path.dirname(real(found))];
  const inside = folders.some((f) => lies.some((at) => at === f || at.startsWith(f.endsWith(path.sep) ? f : f + path.sep)));
  if (inside) return { passed: [{ file: shown, why: "it lies in the model's own folder" }, ...beside] };
  if (lies.some(isModelFolder)) return { passed: [{ file: shown, why: "the folder it lies in holds a model" }, ...beside] };
  return { file: found, passed: beside };
}

const configIn = (folder: string): string | undefined =>
  names.map((name) => path.join(folder, name)).find((file) => existsSync(file));

/** Where a path leads once links are followed; the path itself where nothing is there. */
function real(file: string): string {
  try {
    return realpathSync(file);
  } catch {
    return path.resolve(file);
  }
}

/** The folders a model's files lie in: the one named, and those its config.json or the file named leads to. */
function foldersOf(model: string): string[] {
  if (model.startsWith("synthetic:")) return [];
  const full = path.resolve(model);
  const folder = existsSync(full) && statSync(full).isDirectory() ? full : path.dirname(full);
  const files = [full, path.join(folder, "config.json")].filter((f) => existsSync(f) && !statSync(f).isDirectory());
  return [...new Set([real(folder), ...files.map((f) => path.dirname(real(f)))])];
}

/** Whether a folder looks like a checkpoint: weights, their index, or a config that says what model it is. */
function isModelFolder(folder: string): boolean {
  try {
    if (readdirSync(folder).some((f) => /\.(safetensors|gguf)$|\.safetensors\.index\.json$|^pytorch_model.*\.bin$/.test(f)))
      return true;
    const config = JSON.parse(readTextSync(path.join(folder, "config.json"))) as Record<string, unknown> | null;
    return typeof config === "object" && config !== null && ("architectures" in config || "model_type" in config);
  } catch {
    return false;
  }
}
