// What can be wrong with the words of a command line.
import { coded, didYouMean, place, type Diagnostic } from "../../ir/diagnostic.ts";
import { onCommandLine, onValue } from "./command-line.ts";

/** `word` is the one that is wrong. */
export const usage = coded<{ problem: string; help?: string | undefined; word?: string | undefined }>("DSC6001", {
  name: "the command line is wrong",
  means:
    "A command, option or value is missing, misspelt, given twice or out of range. The word is underlined, and what " +
    "was probably meant is suggested.",
  example: "$ dsc compile examples/tiny-r1 -o .dsc/x --jsn",
  fix: "dsc COMMAND --help shows the form.",
  at: ({ word }) => [onCommandLine(word)],
  short: ({ problem, help }) => ({ title: problem, help: help ?? "dsc --help shows the forms" }),
});

/** The value of `option` is wrong. */
export const badValue = (problem: string, help: string, option: string | readonly string[]): Diagnostic =>
  usage({ problem, help }, onValue(option));

const form = (command: string): string => `dsc ${command === "dsc" || command === "" ? "" : `${command} `}--help shows the form`;

export function unknownWord(
  command: string,
  kind: "command" | "option" | "word",
  word: string,
  near: string | undefined,
): Diagnostic {
  const problem = kind === "word" ? `${command}: one word too many: ${word}` : `${command} has no ${kind} ${word}`;
  return usage({ problem, help: near ? `did you mean ${near}?` : form(command), word });
}

export const missing = (command: string, what: readonly string[]): Diagnostic =>
  usage({ problem: `${command} needs ${what.join(" and ")}`, help: form(command) });

export const valueMissing = (command: string, option: string): Diagnostic =>
  usage({
    problem: `${command}: ${option} needs a value`,
    help: `a value that begins with a dash is written ${option}=VALUE`,
    word: option,
  });

export const twice = (command: string, option: string): Diagnostic =>
  usage({ problem: `${command}: ${option} is given twice`, help: form(command), word: option });

export const wholeNumber = (option: string, seen: number, least: number, most = Number.MAX_SAFE_INTEGER): Diagnostic =>
  badValue(
    `${option} ${Number.isNaN(seen) ? "is not a number" : `is ${seen}`}`,
    most < Number.MAX_SAFE_INTEGER ? `give a whole number from ${least} to ${most}` : `give a whole number of at least ${least}`,
    option,
  );

export const cannotRead = coded<{ file: string; problem: string }>("DSC6008", {
  name: "a module's text cannot be read",
  means: "dsc opt reads a .dsc text.",
  example: "$ dsc opt nothing.dsc -p none",
  fix: "Give a file of an artifact's graph folder.",
  at: ({ file }) => [place(file)],
  short: ({ file, problem }) => ({
    title: `cannot read ${file}`,
    notes: [problem],
    help: "give a .dsc text, such as those in an artifact's graph folder; - reads stdin",
  }),
});

export const cannotReadText = coded<{ file: string; problem: string }>("DSC6013", {
  name: "a text cannot be read",
  means: "The file is not there, or is no text in UTF-8.",
  example: "$ dsc eval examples/tiny-r1 --text nothing.txt",
  fix: "Give a file of text.",
  at: ({ file }) => [place(file)],
  short: ({ file, problem }) => ({ title: `cannot read ${file}`, notes: [problem], help: "give a file of UTF-8 text" }),
});

export const badIds = coded<{ what: string; problem: string }>("DSC6003", {
  name: "ids that cannot be read",
  means: "--ids takes 1,2,3, or a JSON file with an array of ids or an array of such arrays.",
  example: "$ dsc run examples/tiny-r1 --ids 1,x --max-new 1",
  fix: "Give whole numbers.",
  at: () => [onValue("--ids")],
  short: ({ what, problem }) => ({
    title: `--ids ${what}: ${problem}`,
    help: "give 1,2,3 or a JSON file with an array of ids, or an array of such arrays",
  }),
});

export const notFound = coded<{ what: string; where: string; word: string; known: readonly string[] }>("DSC6004", {
  name: "an artifact has no such thing",
  means: "A kernel, pass, site or graph by that name is not in the artifact.",
  example: "dsc inspect OUT norm_qaunt",
  fix: "dsc inspect OUT lists what there is.",
  at: ({ word }) => [onCommandLine(word)],
  short: ({ what, where, word, known }) => {
    const near = didYouMean(word, known) ?? known.find((k) => k.startsWith(word) && word !== "");
    return {
      title: `${where} has no ${what}`,
      notes: near ? [] : [`it has ${known.slice(0, 12).join(", ")}${known.length > 12 ? ` and ${known.length - 12} more` : ""}`],
      help: near ? `did you mean ${near}?` : "dsc inspect OUT lists what there is",
    };
  },
});

export const compileOptionOnArtifact = coded<{ options: readonly string[] }>("DSC6005", {
  name: "an option of compile on an artifact",
  means: "An artifact is compiled already: options of compile would change nothing.",
  example: "dsc run OUT --attention absorbed",
  fix: "Run the model folder with the option, or compile again.",
  at: ({ options }) => [onCommandLine(options[0])],
  short: ({ options }) => ({
    title: `${options.join(", ")}: the artifact is already compiled`,
    notes: ["options of compile apply when SRC is a config or a model folder"],
    help: "run the model folder instead, or compile again with these options",
  }),
});

export const noCode = coded<{ code: string; near: string | undefined }>("DSC6016", {
  name: "no such code",
  means: "Codes are DSC and four digits.",
  example: "$ dsc explain DSC9999",
  fix: "dsc explain lists them all.",
  at: ({ code }) => [onCommandLine(code)],
  short: ({ code, near }) => ({
    title: `there is no diagnostic ${code}`,
    help: near ? `did you mean ${near}?` : "dsc explain lists them all",
  }),
});
