// Arguments of the Node API, which JavaScript hands over unchecked: what is no value for them is DSC5039 with the word that is wrong,
// never a TypeError from somewhere inside.
import * as diagnostics from "./diagnostics.ts";
import { shown } from "./shown.ts";

export { shown } from "./shown.ts";

/**
 * Refuses what is no object, and keys that are not known, with the nearest that is. Gives the object; an empty one where it
 * may be left out.
 */
export function optionsOf<T extends object>(
  call: string,
  options: T | undefined,
  known: readonly (keyof T & string)[],
  needs?: string,
): T {
  if (options === undefined && needs === undefined) return {} as T;
  if (typeof options !== "object" || options === null || Array.isArray(options))
    throw diagnostics.badArgument({
      call,
      seen: `options is ${shown(options)}`,
      wanted: `an object${needs ? ` with ${needs}` : ""}`,
    });
  // A signal or a number at the wrong place is an object without a known key, too.
  for (const key of Object.keys(options))
    if (!(known as readonly string[]).includes(key)) throw diagnostics.unknownOption({ call, key, known });
  return options;
}

export function whole(call: string, name: string, v: unknown, least: number, most = Number.MAX_SAFE_INTEGER): number {
  if (typeof v !== "number" || !Number.isSafeInteger(v) || v < least || v > most)
    throw diagnostics.badArgument({
      call,
      seen: `${name} is ${shown(v)}`,
      wanted: most < Number.MAX_SAFE_INTEGER ? `a whole number from ${least} to ${most}` : `a whole number of at least ${least}`,
    });
  return v;
}

/** The same, where it may be left out. */
export const maybeWhole = (call: string, name: string, v: unknown, least: number, most?: number): void => {
  if (v !== undefined) whole(call, name, v, least, most);
};

export function text(call: string, name: string, v: unknown, what = "a text"): string {
  if (typeof v !== "string") throw diagnostics.badArgument({ call, seen: `${name} is ${shown(v)}`, wanted: what });
  return v;
}

/** A key of a table. */
export function keyOf<K extends string>(call: string, name: string, v: unknown, table: Readonly<Record<K, unknown>>): K {
  if (typeof v === "string" && Object.hasOwn(table, v)) return v as K;
  const wanted = `one of ${Object.keys(table).join(", ")}`;
  throw diagnostics.badArgument({ call, seen: `${name} is ${shown(v)}`, wanted });
}

export function maybeFlag(call: string, name: string, v: unknown): void {
  if (v !== undefined && typeof v !== "boolean")
    throw diagnostics.badArgument({ call, seen: `${name} is ${shown(v)}`, wanted: "true or false" });
}

export function maybeSignal(call: string, v: unknown): void {
  if (v === undefined) return;
  const s = v as Partial<AbortSignal> | null;
  if (typeof s !== "object" || s === null || typeof s.throwIfAborted !== "function" || typeof s.aborted !== "boolean")
    throw diagnostics.badArgument({
      call,
      seen: `signal is ${shown(v)}`,
      wanted: "an AbortSignal, such as that of an AbortController",
    });
}

const isList = (v: unknown): v is ArrayLike<unknown> => Array.isArray(v) || (ArrayBuffer.isView(v) && !(v instanceof DataView));

/** Ids of one sequence: an array, or a typed one. What the ids are is checked where the vocabulary is known. */
export function idList(call: string, name: string, v: unknown): ArrayLike<number> {
  if (!isList(v))
    throw diagnostics.badArgument({
      call,
      seen: `${name} is ${shown(v)}`,
      wanted: typeof v === "string" ? "an array of ids, which tokenizer.encode(text) gives" : "an array of ids",
    });
  return v as ArrayLike<number>;
}

/** Ids of several sequences. */
export function idLists(call: string, name: string, v: unknown): readonly ArrayLike<number>[] {
  if (!Array.isArray(v))
    throw diagnostics.badArgument({
      call,
      seen: `${name} is ${shown(v)}`,
      wanted: "an array with an array of ids for each sequence",
    });
  for (let i = 0; i < v.length; i++) idList(call, `entry ${i} of ${name}`, v[i]);
  return v as ArrayLike<number>[];
}

/** Whole numbers in an array or a set. */
export function maybeStops(call: string, v: unknown): void {
  if (v === undefined) return;
  if (!isList(v) || !Array.from(v).every((id) => Number.isSafeInteger(id)))
    throw diagnostics.badArgument({ call, seen: `stop is ${shown(v)}`, wanted: "an array of ids" });
}

/** An object of the runtime, told by its methods: two copies of a package are two classes. */
export function made(call: string, name: string, v: unknown, methods: readonly string[], by: string): void {
  const o = v as Record<string, unknown> | null;
  if (typeof o !== "object" || o === null || !methods.every((m) => typeof o[m] === "function"))
    throw diagnostics.badArgument({
      call,
      seen: `${name} is ${shown(v)}`,
      wanted: `what ${by} gives${v instanceof Promise ? "; it is a promise, so await it" : ""}`,
    });
}
