// Whose fault an exception is: the plug-ins that are loaded, and the first line of one in a stack. A plug-in may not end the
// process, nor keep it alive; what it leaves behind is named, not taken for a fault of dsc.
import { readFileSync } from "node:fs";
import path from "node:path";
import type { Diagnostic, Span } from "../../ir/diagnostic.ts";
import { pluginLater } from "../../passes/plugin-diagnostics.ts";

const loaded = new Map<string, string>();

/** Notes that a file's code is part of this process from now on. */
export const rememberPlugin = (file: string): void => void loaded.set(path.resolve(file), file);

/** The files of all plug-ins of this process, as they were named. */
export const loadedPlugins = (): string[] => [...loaded.values()];

/** The first frame of a stack that lies in a plug-in's file, or in its folder: what it imports is its own. */
export function thrownAt(e: unknown, file: string): { notes: string[]; span?: Span } {
  const stack = e instanceof Error ? (e.stack ?? "").split("\n").filter((l) => /^\s+at /.test(l)) : [];
  const full = path.resolve(file);
  const near = `${path.dirname(full)}${path.sep}`;
  const frame = stack.find((l) => l.includes(full)) ?? stack.find((l) => l.includes(near) && !l.includes("node_modules"));
  const at = frame && /\(?((?:file:\/\/)?[^()\s][^()]*?):(\d+):(\d+)\)?$/.exec(frame.replace(/^\s+at (?:async )?(?:.*\()?/, ""));
  if (!at) return { notes: [] };
  const [source, line] = [at[1].replace(/^file:\/\//, ""), Number(at[2])];
  const shown = source === full ? file : path.relative(process.cwd(), source);
  const text = lineOf(source, line);
  // Types are gone from what ran, and columns with them: the line is right, and is shown from its first word.
  const column = text === undefined ? 1 : text.length - text.trimStart().length + 1;
  return {
    notes: [`thrown at ${shown}:${line}`],
    span: { file: shown, line, column, ...(text === undefined ? {} : { text, length: text.trim().length }) },
  };
}

function lineOf(file: string, line: number): string | undefined {
  try {
    return readFileSync(file, "utf8").split(/\r?\n/)[line - 1];
  } catch {
    return undefined;
  }
}

/** What to say of an exception nobody caught, where a plug-in's code threw it: in a timer, a promise, a callback. */
export function thrownLater(e: unknown): Diagnostic | undefined {
  for (const [full, file] of loaded) {
    const { notes, span } = thrownAt(e, file);
    if (span && (e as Error).stack?.includes(full)) return pluginLater({ file, problem: (e as Error).message, notes }, span);
  }
  return undefined;
}

class PluginExit extends Error {}
export const isPluginExit = (e: unknown): boolean => e instanceof PluginExit;

/** Runs code of a plug-in that may not end the process: process.exit throws while it runs. */
export function withoutExit<T>(f: () => T): T {
  const { exit } = process;
  process.exit = (() => {
    throw new PluginExit("it calls process.exit");
  }) as typeof process.exit;
  try {
    return f();
  } finally {
    process.exit = exit;
  }
}
