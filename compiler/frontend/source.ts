// SRC: a config.json, or a folder that has one. `--set key=value` lays values over it before anything is read.
import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { DiagnosticError, type Span } from "../../ir/diagnostic.ts";
import { badSet, noSource, notObject } from "./diagnostics.ts";
import { parseJson, type Json } from "./json.ts";

export interface Source {
  file: string;
  /** Folder of the config: where a checkpoint and a tokenizer may lie. */
  folder: string;
  value: { [key: string]: Json };
  spanOf(path: string): Span | undefined;
  keySpanOf(path: string): Span | undefined;
}

export function openSource(src: string, set: readonly string[] = []): Source {
  let file = src;
  if (!existsSync(src)) throw new DiagnosticError(noSource(src, "there is no such file or folder"));
  if (statSync(src).isDirectory()) file = path.join(src, "config.json");
  if (!existsSync(file)) throw new DiagnosticError(noSource(src, "the folder has no config.json"));
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (e) {
    throw new DiagnosticError(noSource(file, (e as Error).message));
  }
  return sourceOf(text, file, path.dirname(file), set);
}

/** The same from a text in hand. */
export function sourceOf(text: string, file: string, folder: string, set: readonly string[] = []): Source {
  const doc = parseJson(text, file);
  if (typeof doc.value !== "object" || doc.value === null || Array.isArray(doc.value)) throw new DiagnosticError(notObject(doc.spanOf("")));
  const value = structuredClone(doc.value);
  const laid = new Map<string, Span>();
  for (const [i, word] of set.entries()) {
    const eq = word.indexOf("=");
    if (eq <= 0) throw new DiagnosticError(badSet(word));
    const keys = word.slice(0, eq).split(".");
    let at: { [key: string]: Json } = value;
    for (const k of keys.slice(0, -1)) {
      const next = Object.hasOwn(at, k) ? at[k] : undefined;
      at = (typeof next === "object" && next !== null && !Array.isArray(next) ? next : (at[k] = {})) as { [key: string]: Json };
    }
    at[keys.at(-1)!] = readValue(word.slice(eq + 1));
    laid.set(keys.join("."), { file: `--set (${i + 1})`, line: 1, column: 1, length: word.length, text: word });
  }
  return {
    file,
    folder,
    value,
    spanOf: (p) => laid.get(p) ?? doc.spanOf(p),
    keySpanOf: (p) => laid.get(p) ?? doc.keySpanOf(p),
  };
}

function readValue(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}
