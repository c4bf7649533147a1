// The words of a command line, looked at before and after yargs reads them: yargs says that a word is wrong, this says which
// one was meant. Refuses unknown commands and options, options given twice, and options without their value.
import yargs, { type Argv } from "yargs";
import { DiagnosticError, didYouMean, type Diagnostic } from "../ir/diagnostic.ts";
import { missing, twice, unknownWord, usage, valueMissing } from "./diagnostics.ts";

export interface Command {
  command: string;
  describe: string;
  builder: (y: Argv) => Argv<never>;
}

interface Known {
  key: Record<string, unknown>;
  alias: Record<string, string[]>;
  boolean: string[];
  array: string[];
}

export const nameOf = (c: { command: string }): string => c.command.split(" ")[0];

/** `--set a=1 b=2` means `--set a=1 --set b=2`; a word without = ends the list, so that it cannot swallow SRC. */
export function spread(argv: readonly string[]): string[] {
  let setting = false;
  return argv.flatMap((word, i) => {
    setting = word === "--set" || (setting && (argv[i - 1] === "--set" || /^[A-Za-z_][\w.-]*=/.test(word)));
    return setting && word !== "--set" && argv[i - 1] !== "--set" ? ["--set", word] : [word];
  });
}

/** Throws where the first word is neither a command nor --help or --version. */
export function checkFirst([first, ...rest]: readonly string[], commands: readonly string[]): void {
  if (first === undefined || first.startsWith("-")) {
    const stray = [...(first === undefined ? [] : [first]), ...rest].find((w) => !["--help", "-h", "--version"].includes(w));
    if (stray !== undefined) throw new DiagnosticError(unknownWord("dsc", "option", stray, didYouMean(stray, ["--help", "--version"])));
  } else if (!commands.includes(first)) throw new DiagnosticError(unknownWord("dsc", "command", first, didYouMean(first, commands)));
}

/** Throws for the first word of a command's line that names nothing. */
export function checkWords([first, ...rest]: readonly string[], command: Command): void {
  if (rest.includes("--help") || rest.includes("-h")) return;
  const known = (command.builder(yargs([])) as unknown as { getOptions(): Known }).getOptions();
  const options = Object.keys(known.key).filter((k) => !/[A-Z]/.test(k));
  const full = (name: string): string => options.find((o) => known.alias[o]?.includes(name) && o.length > 1) ?? name;
  const seen = new Set<string>();
  for (const [i, word] of rest.entries()) {
    const found = /^(--?)([A-Za-z][\w-]*)(=?)/.exec(word);
    if (!found || (found[1] === "-" && found[2].length > 1)) continue;
    const name = full(found[2]);
    if (!Object.hasOwn(known.key, name)) {
      const near = didYouMean(found[2], options);
      throw new DiagnosticError(unknownWord(first, "option", found[1] + found[2], near && `--${near}`));
    }
    if (known.boolean.includes(name)) continue;
    const next = rest[i + 1];
    if (!found[3] && (next === undefined || /^--?[A-Za-z]/.test(next))) throw new DiagnosticError(valueMissing(first, `--${name}`));
    if (seen.has(name) && !known.array.includes(name)) throw new DiagnosticError(twice(first, `--${name}`));
    seen.add(name);
  }
}

/** What yargs found wrong, in our words. */
export function explain(message: string, command: Command | undefined, words: readonly string[]): Diagnostic {
  const name = command ? nameOf(command) : "";
  const lacks = /^Missing required arguments?: (.*)$/.exec(message);
  if (lacks) return missing(name, lacks[1].split(", ").map((n) => `--${n}`));
  if (command && message.startsWith("Not enough non-option arguments")) return missing(name, [/<(\w+)>/.exec(command.command)![1].toUpperCase()]);
  const extra = /^Unknown arguments?: (.*)$/.exec(message);
  if (extra) return unknownWord(name, "word", words.find((w) => w === extra[1].split(", ")[0]) ?? extra[1], undefined);
  const choice = /Argument: ([\w-]+), Given: "?(.*?)"?, Choices: (.*)$/m.exec(message);
  if (!choice) return usage(message, `dsc ${name ? `${name} ` : ""}--help shows the form`);
  const choices = choice[3].split(", ").map((c) => c.replaceAll('"', ""));
  const near = didYouMean(choice[2], choices);
  return usage(`--${choice[1]} ${choice[2]}: give one of ${choices.join(", ")}`, near ? `did you mean ${near}?` : `dsc ${name} --help shows the form`);
}
