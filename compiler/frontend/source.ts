// SRC: a config.json, or a folder that has one. `--set key=value` lays values over it before anything is read, and a
// finding about such a value points at the word on the command line, not at the line of the file it replaced.
import { closeSync, existsSync, openSync, readSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { DiagnosticError, type Diagnostic, type Span } from "../../ir/diagnostic.ts";
import { HEAD_BYTES, kindOf, withoutCheckpoint } from "../../runtime/file-kind.ts";
import { badSet, noSource, notObject, setInside } from "./diagnostics.ts";
import { parseJson, type Json } from "./json.ts";
import { notRegular, readTextSync } from "../../runtime/files.ts";

type JsonObject = { [key: string]: Json };

export interface Source {
  file: string;
  /** Folder of the config: where a checkpoint and a tokenizer may lie. */
  folder: string;
  value: JsonObject;
  /** Where the value of a dotted path stands. */
  spanOf(path: string): Span | undefined;
  /** Where its key stands. */
  keySpanOf(path: string): Span | undefined;
  /** Dotted paths that --set laid over it. */
  laid: readonly string[];
}

/** No published config comes near; a checkpoint given by mistake is turned away before it is read. */
const MOST_BYTES = 16 << 20;

/** Opens SRC; throws DSC1001 .. 1004. */
export function openSource(src: string, set: readonly string[] = []): Source {
  if (!existsSync(src)) throw new DiagnosticError(noSource({ path: src, problem: "there is no such file or folder" }));
  let file = src;
  let text: string;
  try {
    if (statSync(src).isDirectory()) file = path.join(src, "config.json");
    if (!existsSync(file)) throw new DiagnosticError(withoutConfig(src));
    const stat = statSync(file);
    const why = notRegular(stat);
    if (why !== undefined) throw new DiagnosticError(noSource({ path: file, problem: why }));
    const other = kindOf(headOf(file));
    if (other) throw new DiagnosticError(noSource({ path: file, problem: `it is ${other.what}`, help: other.help }));
    if (stat.size > MOST_BYTES)
      throw new DiagnosticError(
        noSource({
          path: file,
          problem: file.endsWith(".safetensors") ? "it holds weights, not a config" : "it is too large to be a config",
        }),
      );
    text = readTextSync(file, MOST_BYTES);
  } catch (e) {
    throw e instanceof DiagnosticError ? e : new DiagnosticError(noSource({ path: file, problem: (e as Error).message }));
  }
  return sourceOf(text, file, path.dirname(file), set);
}

/** The first bytes of a file. */
function headOf(file: string): Uint8Array {
  const fd = openSync(file, "r");
  try {
    const head = new Uint8Array(HEAD_BYTES);
    return head.subarray(0, readSync(fd, head, 0, HEAD_BYTES, 0));
  } finally {
    closeSync(fd);
  }
}

/** A folder without a config, in words for what it has instead. */
function withoutConfig(folder: string): Diagnostic {
  const names = readdirSync(folder);
  const { what, help } = withoutCheckpoint(names);
  return help
    ? noSource({ path: folder, problem: `the folder has no config.json; ${what}`, help })
    : noSource({ path: folder, problem: "the folder has no config.json" });
}

/** The same from a text in hand. */
export function sourceOf(text: string, file: string, folder: string, set: readonly string[] = []): Source {
  const doc = parseJson(text, file);
  if (!isObject(doc.value)) throw new DiagnosticError(notObject({}, doc.spanOf("")));
  const value = doc.value;
  const laid = new Map<string, { key: Span; value: Span }>();
  for (const [i, word] of set.entries()) lay(value, word, i + 1, laid);
  const overlaid = (at: string): { key: Span; value: Span } | undefined => {
    // A value inside one that was laid over stands where that one stands.
    for (let end = at.length; end > 0; end = at.lastIndexOf(".", end - 1)) {
      const found = laid.get(at.slice(0, end));
      if (found) return found;
    }
    return undefined;
  };
  return {
    file,
    folder,
    value,
    spanOf: (p) => overlaid(p)?.value ?? doc.spanOf(p),
    keySpanOf: (p) => overlaid(p)?.key ?? doc.keySpanOf(p),
    laid: [...laid.keys()],
  };
}

const TWINS: Readonly<Record<string, string>> = { dtype: "torch_dtype", torch_dtype: "dtype" };

/** Lays one `key=value` over the config, making objects on the way where there are none. */
function lay(root: JsonObject, word: string, count: number, laid: Map<string, { key: Span; value: Span }>): void {
  const eq = word.indexOf("=");
  const keys = word.slice(0, eq).split(".");
  const span = (from: number, to: number): Span => ({
    file: "--set",
    line: count,
    column: from + 1,
    length: Math.max(1, to - from),
    text: word,
  });
  if (eq <= 0 || keys.includes("")) throw new DiagnosticError(badSet({ word }, span(0, word.length)));
  let at: JsonObject | Json[] = root;
  for (const [i, k] of keys.slice(0, -1).entries()) {
    let next: Json | undefined = Object.hasOwn(at, k) ? (at as JsonObject)[k] : undefined;
    if (next === undefined || next === null) define(at, k, (next = {}));
    if (typeof next !== "object" || next === null) {
      const end = keys.slice(0, i + 1).join(".").length;
      throw new DiagnosticError(setInside({ key: keys.slice(0, i + 1).join(".") }, span(0, end)));
    }
    at = next;
  }
  const last = keys[keys.length - 1];
  if (Array.isArray(at) && !(/^\d+$/.test(last) && Number(last) < at.length))
    throw new DiagnosticError(setInside({ key: keys.slice(0, -1).join(".") }, span(0, eq)));
  define(at, last, readValue(word.slice(eq + 1)));
  // The other spelling of the same thing, as the file has it, would contradict.
  const twin = Object.hasOwn(TWINS, last) ? TWINS[last] : undefined;
  if (twin !== undefined && !laid.has([...keys.slice(0, -1), twin].join("."))) delete (at as JsonObject)[twin];
  const name = keys.join(".");
  for (const old of laid.keys()) if (old.startsWith(name + ".")) laid.delete(old);
  laid.set(name, { key: span(0, eq), value: span(eq + 1, word.length) });
}

/** Plain assignment, for any key: "__proto__" too is only a name. */
const define = (at: object, key: string, value: Json): void =>
  void Object.defineProperty(at, key, { value, enumerable: true, writable: true, configurable: true });

const isObject = (v: Json): v is JsonObject => typeof v === "object" && v !== null && !Array.isArray(v);

/** JSON where it parses (numbers, booleans, null, lists, objects), else the word itself. */
function readValue(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}
