// Places on the command line: a word of it, or the value of an option, underlined as a shell would take it.
import type { Span } from "../../ir/diagnostic.ts";

/** A word as a shell takes it: as it is, or in quotes. */
export const shellWord = (w: string): string =>
  // Control characters would reach the terminal inside single quotes.
  /^[\w@%+=:,./-]+$/.test(w) ? w : /[\x00-\x1f\x7f-\x9f]/.test(w) ? JSON.stringify(w) : `'${w.replaceAll("'", `'\\''`)}'`;

/** A word of the command line, underlined; the whole line where the word is not in it. */
export function onCommandLine(word = "", words: readonly string[] = process.argv.slice(2)): Span {
  const shown = ["dsc", ...words.map(shellWord)];
  const at = words.findIndex((w) => word !== "" && (w === word || w.startsWith(`${word}=`))) + 1;
  const text = shown.join(" ");
  const column = at < 1 ? 1 : shown.slice(0, at).join(" ").length + 2;
  return { file: "command line", line: 1, column, length: at < 1 ? text.length : shown[at].length, text };
}

/** The value of an option, underlined: what follows the option, or its =; `names` are the option and its aliases, with dashes. */
export function onValue(names: string | readonly string[], words: readonly string[] = process.argv.slice(2)): Span {
  const all = typeof names === "string" ? [names] : names;
  const name = all.find((n) => words.some((w) => w === n || w.startsWith(`${n}=`))) ?? all[0];
  const whole = onCommandLine(name, words);
  const at = words.findIndex((w) => w === name || w.startsWith(`${name}=`));
  if (at < 0 || (words[at] === name && words[at + 1] === undefined)) return whole;
  if (words[at] === name) return { ...whole, column: whole.column + whole.length! + 1, length: shellWord(words[at + 1]).length };
  const from = shellWord(words[at]).indexOf("=") + 1;
  return { ...whole, column: whole.column + from, length: Math.max(1, whole.length! - from) };
}
