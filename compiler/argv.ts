// The words of a command line, looked at before and after yargs reads them: yargs says that a word is wrong, this says which
// one was meant. Refuses unknown commands and options, options given twice, and options without their value.
import type { Argv } from "yargs";
import { DiagnosticError, didYouMean, type Diagnostic } from "../ir/diagnostic.ts";
import { badValue, missing, twice, unknownWord, usage, valueMissing } from "./diagnostics.ts";
import { declaredBy } from "./taking.ts";

export interface Command {
  command: string;
  describe: string;
  builder: (y: Argv) => Argv<never>;
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

/** `help`, `help COMMAND`, `--help COMMAND` and `version` in the form yargs knows. */
export function asOptions([first, second, ...rest]: readonly string[]): string[] {
  const word = first === "help" || first === "version" ? `--${first}` : first;
  if (first === undefined) return [];
  if (second === undefined || second.startsWith("-") || (word !== "--help" && word !== "-h"))
    return [word, ...(second === undefined ? [] : [second]), ...rest];
  return second === "help" || second === "version" ? ["--help", ...rest] : [second, "--help", ...rest];
}

/** 4k is 4000 and 4K is 4096, as other engines read them; likewise m and M, g and G. What is no number stays as it is. */
function scaled(word: string): string {
  const found = /^(\d+(?:\.\d+)?)([kmgKMG])$/.exec(word);
  if (!found) return word;
  const power = "kmg".indexOf(found[2].toLowerCase()) + 1;
  return String(Number(found[1]) * (/[kmg]/.test(found[2]) ? 1000 : 1024) ** power);
}

/** Throws where the first word is neither a command nor --help or --version. */
export function checkFirst([first, ...rest]: readonly string[], commands: readonly string[]): void {
  if (first === undefined || first.startsWith("-")) {
    const stray = [...(first === undefined ? [] : [first]), ...rest].find((w) => !["--help", "-h", "--version"].includes(w));
    if (stray !== undefined)
      throw new DiagnosticError(unknownWord("dsc", "option", stray, didYouMean(stray, ["--help", "--version"])));
  } else if (!commands.includes(first))
    throw new DiagnosticError(unknownWord("dsc", "command", first, didYouMean(first, [...commands, "help", "version"])));
}

/** The words of a command's line, with numbers like 4k written out. Throws for the first that names nothing or is no number. */
export function checkWords([first, ...rest]: readonly string[], command: Command): string[] {
  if (rest.includes("--help") || rest.includes("-h")) return [first, ...rest];
  const { options: known } = declaredBy(command.builder);
  const options = Object.keys(known.key).filter((k) => !/[A-Z]/.test(k));
  const full = (name: string): string => options.find((o) => known.alias[o]?.includes(name) && o.length > 1) ?? name;
  const seen = new Set<string>();
  const words = [...rest];
  for (const [i, word] of rest.entries()) {
    // yargs drops a dash alone; as a word it is stdin, as a value it stays.
    if (word === "-") words[i] = "/dev/stdin";
    const found = /^(--?)([A-Za-z][\w-]*)(=?)/.exec(word);
    if (!found || (found[1] === "-" && found[2].length > 1)) continue;
    const name = full(found[2]);
    if (!Object.hasOwn(known.key, name)) {
      const near = didYouMean(found[2], options);
      throw new DiagnosticError(unknownWord(first, "option", found[1] + found[2], near && `--${near}`));
    }
    if (known.boolean.includes(name)) continue;
    const next = rest[i + 1];
    if (!found[3] && (next === undefined || /^--?[A-Za-z]/.test(next)))
      throw new DiagnosticError(valueMissing(first, `--${name}`));
    if (seen.has(name) && !known.array.includes(name)) throw new DiagnosticError(twice(first, `--${name}`));
    seen.add(name);
    if (next === "-" && !found[3]) [words[i], rest[i + 1], words[i + 1]] = [`${word}=-`, "", ""];
    if (!known.number.includes(name)) continue;
    const value = found[3] ? word.slice(found[0].length) : next;
    const number = scaled(value);
    if (value.trim() === "" || Number.isNaN(Number(number)))
      throw new DiagnosticError(
        badValue(
          `--${name} ${JSON.stringify(value)} is not a number`,
          `give a number, such as --${name} ${/temp|top-p|penalty/.test(name) ? "0.8" : "8"}`,
          [found[1] + found[2]],
        ),
      );
    if (found[3]) words[i] = found[0] + number;
    else words[i + 1] = number;
  }
  return [first, ...words.filter((w, i) => w !== "" || !words[i - 1]?.endsWith("=-"))];
}

/** Words other tools have for what an option calls otherwise. */
const synonyms: Readonly<Record<string, readonly string[]>> = {
  gpu: ["cuda", "h200"],
  nvidia: ["cuda", "h200"],
  h100: ["cuda", "sm_90"],
  h200: ["cuda", "sm_90"],
  hopper: ["cuda", "h200", "sm_90"],
  sm_90: ["cuda"],
  sm_90a: ["sm_90", "cuda"],
  b200: ["cuda", "sm_100"],
  blackwell: ["cuda", "b200", "sm_100"],
  sm_100: ["cuda"],
  sm_100a: ["sm_100", "cuda"],
  ptx: ["cuda"],
  wasm: ["cpu"],
  x86: ["cpu"],
  host: ["cpu"],
  gcc: ["c"],
  clang: ["c"],
  llvm: ["tvm"],
  tir: ["tvm"],
  webassembly: ["cpu"],
  bfloat16: ["bf16"],
  float32: ["f32"],
  fp32: ["f32"],
  float: ["f32"],
  powershell: ["pwsh"],
  mha: ["expanded"],
  mla: ["absorbed"],
  off: ["none"],
  on: ["dynamic"],
};

/** What yargs found wrong, in our words. */
export function explain(message: string, command: Command | undefined, words: readonly string[]): Diagnostic {
  const name = command ? nameOf(command) : "";
  const lacks = /^Missing required arguments?: (.*)$/.exec(message);
  if (lacks)
    return missing(
      name,
      lacks[1].split(", ").map((n) => `--${n}`),
    );
  if (command && message.startsWith("Not enough non-option arguments"))
    return missing(name, [/<(\w+)>/.exec(command.command)![1].toUpperCase()]);
  const extra = /^Unknown arguments?: (.*)$/.exec(message);
  if (extra) return unknownWord(name, "word", words.find((w) => w === extra[1].split(", ")[0]) ?? extra[1], undefined);
  const choice = /Argument: ([\w-]+), Given: "?(.*?)"?, Choices: (.*)$/m.exec(message);
  if (!choice) return usage({ problem: message, help: `dsc ${name ? `${name} ` : ""}--help shows the form` });
  const [, option, given] = choice;
  const choices = choice[3].split(", ").map((c) => c.replaceAll('"', ""));
  const near = synonyms[given.toLowerCase()]?.find((s) => choices.includes(s)) ?? didYouMean(given, choices);
  // A positional is named by its place, an option by its word.
  const positional = new RegExp(`[<[]${option}[\\]>]`).test(command?.command ?? "");
  const list = `give one of ${choices.join(", ")}`;
  const help = near ? `did you mean ${near}?` : `dsc ${name} --help shows the form`;
  return positional
    ? usage({ problem: `${name}: ${given} is no ${option}; ${list}`, help, word: given })
    : badValue(`--${option} ${given}: ${list}`, help, `--${option}`);
}
