// DSC60xx: what can be wrong with a command line or with where its output goes.
import { didYouMean, error, place, warning, type Diagnostic, type Span } from "../ir/diagnostic.ts";

/** A word as a shell takes it: as it is, or in quotes. */
export const shellWord = (w: string): string =>
  // Control characters would reach the terminal inside single quotes.
  /^[\w@%+=:,./-]+$/.test(w) ? w : /[\x00-\x1f\x7f-\x9f]/.test(w) ? JSON.stringify(w) : `'${w.replaceAll("'", `'\\''`)}'`;

/** A word of the command line, underlined; the whole line where the word is not in it. */
function onCommandLine(word = "", words: readonly string[] = process.argv.slice(2)): Span {
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

/** `word` is the one that is wrong. */
export const usage = (problem: string, help?: string, word?: string): Diagnostic =>
  error("DSC6001", problem, { spans: [onCommandLine(word)], help: help ?? "dsc --help shows the forms" });

/** The value of `option` is wrong. */
export const badValue = (problem: string, help: string, option: string | readonly string[]): Diagnostic => ({
  ...usage(problem, help),
  spans: [onValue(option)],
});

const form = (command: string): string => `dsc ${command === "dsc" || command === "" ? "" : `${command} `}--help shows the form`;

export const unknownWord = (
  command: string,
  kind: "command" | "option" | "word",
  word: string,
  near: string | undefined,
): Diagnostic =>
  usage(
    kind === "word" ? `${command}: one word too many: ${word}` : `${command} has no ${kind} ${word}`,
    near ? `did you mean ${near}?` : form(command),
    word,
  );

export const missing = (command: string, what: readonly string[]): Diagnostic =>
  usage(`${command} needs ${what.join(" and ")}`, form(command));

export const valueMissing = (command: string, option: string): Diagnostic =>
  usage(`${command}: ${option} needs a value`, `a value that begins with a dash is written ${option}=VALUE`, option);

export const twice = (command: string, option: string): Diagnostic =>
  usage(`${command}: ${option} is given twice`, form(command), option);

export const wholeNumber = (option: string, seen: number, least: number, most = Number.MAX_SAFE_INTEGER): Diagnostic =>
  badValue(
    `${option} ${Number.isNaN(seen) ? "is not a number" : `is ${seen}`}`,
    most < Number.MAX_SAFE_INTEGER ? `give a whole number from ${least} to ${most}` : `give a whole number of at least ${least}`,
    option,
  );

export const cannotWrite = (where: string, problem: string, help?: string): Diagnostic =>
  error("DSC6002", `cannot write ${where}: ${problem}`, {
    spans: [place(where)],
    help: help ?? "choose another place, or see to its permissions and its disk",
  });

/** A place that holds what dsc did not write; it is left as it is. */
export const notOurs = (where: string, problem: string): Diagnostic =>
  cannotWrite(
    where,
    problem,
    "choose another place, or an empty folder; dsc replaces only files that it wrote and nobody changed",
  );

export const noOnnxruntime = (): Diagnostic =>
  error("DSC6030", "--onnx runs the exported graph in onnxruntime-node, which is not installed", {
    spans: [onCommandLine("--onnx")],
    help: "ONNXRUNTIME_NODE_INSTALL=skip npm install --no-save onnxruntime-node (291 MB; skip: it downloads nothing else)",
  });

/** A graph names files of its own folder or below, and the checkpoint lies elsewhere. */
export const weightsElsewhere = (file: string, why: string): Diagnostic =>
  error("DSC6028", "the .onnx has to lie in the folder of its weights, or in one above it", {
    spans: [place(file)],
    notes: [why, "runtimes refuse weights in other folders, and links that lead there"],
    help: "give -o a place beside the checkpoint, or an empty folder on its disk, where its files get a second name",
  });

export const linkedWeights = (links: readonly string[]): Diagnostic => ({
  ...warning("DSC6029", "files of the checkpoint have a second name beside the .onnx (hard links: no copy)", {
    spans: links.slice(0, 4).map((l) => place(l)),
    notes: ["runtimes refuse weights in other folders; onnx.checker refuses files with two names as well"],
    help: "-o in the checkpoint's own folder needs none",
  }),
  severity: "note",
});

export const unmeasured = (why: string): Diagnostic =>
  error("DSC6027", "this machine's memory bandwidth cannot be measured", {
    spans: [onCommandLine("--device")],
    notes: [why],
    help: "give it: --bandwidth 50 (GB/s); or name another --device",
  });

/** The work is done all the same, but not kept. */
export const cacheInTemporary = (cache: string, instead: string, why: string): Diagnostic => ({
  ...warning("DSC6022", "the compiled model is kept until this command ends: the cache cannot be written", {
    spans: [place(cache)],
    notes: [why, `it lies in ${instead} meanwhile`],
    help: "DSC_CACHE names another folder for the cache",
  }),
  severity: "note",
});

export const tooManyLayers = (asked: number, has: number): Diagnostic =>
  error("DSC6014", `--layers ${asked}: the model has ${has} layers`, {
    spans: [onValue("--layers")],
    notes: ["num_hidden_layers of the config says so"],
    help: `give a number from 1 to ${has}`,
  });

export const busy = (folder: string, lock: string): Diagnostic =>
  error("DSC6015", `another compile is writing into ${folder}`, {
    spans: [place(folder)],
    notes: [`${lock} was held all the time this one waited`],
    help: "wait for it (DSC_LOCK_SECONDS=600 waits ten minutes), or choose another -o; if no dsc runs anywhere, remove that file",
  });

export const cannotRead = (file: string, problem: string): Diagnostic =>
  error("DSC6008", `cannot read ${file}`, {
    spans: [place(file)],
    notes: [problem],
    help: "give a .dsc text, such as those in an artifact's graph folder; - reads stdin",
  });

export const needsDraftLayer = (): Diagnostic =>
  error("DSC6017", "--draft needs the extra prediction layer, which this model does not have", {
    spans: [onCommandLine("--draft")],
    notes: ["num_nextn_predict_layers of the config is 0 or missing, or the checkpoint has no such layer"],
    help: "leave --draft out",
  });

export const cannotReadText = (file: string, problem: string): Diagnostic =>
  error("DSC6013", `cannot read ${file}`, { spans: [place(file)], notes: [problem], help: "give a file of UTF-8 text" });

export const noRoom = (where: string, needed: string, free: string, layers: number): Diagnostic =>
  error("DSC6009", `the checkpoint takes ${needed}, and ${where} has ${free} free`, {
    spans: [place(where)],
    help:
      layers > 1 ? `choose another -o; --set num_hidden_layers=${layers > 4 ? 4 : 1} makes a smaller one` : "choose another -o",
  });

export const foreignCheckpoint = (where: string, file: string): Diagnostic =>
  error("DSC6010", `${where} holds ${file}, which dsc weights did not write`, {
    spans: [place(`${where}/${file}`)],
    notes: ["a checkpoint is never overwritten"],
    help: "choose another -o",
  });

export const idOutside = (sequence: number | undefined, at: number, id: number, vocab: number): Diagnostic =>
  error("DSC6012", `id ${id} is not in the vocabulary`, {
    spans: [onValue("--ids")],
    notes: [
      `it is number ${at + 1} of ${sequence === undefined ? "the prompt" : `sequence ${sequence} of the batch`}; this ` +
        `model has ids 0 to ${vocab - 1}`,
    ],
    help: "ids come from the tokenizer of the same model; --prompt uses it",
  });

export const tooManyPositions = (sequence: number | undefined, prompt: number, maxNew: number, positions: number): Diagnostic =>
  error("DSC6011", `a prompt of ${prompt} and ${maxNew} new tokens do not fit ${positions} positions`, {
    spans: [onValue("--max-new")],
    notes: [
      ...(sequence !== undefined ? [`this is sequence ${sequence} of the batch, counted from 0`] : []),
      "max_position_embeddings of the config says how far positions go",
    ],
    help: prompt <= positions ? `--max-new ${positions - prompt + 1} is the most here` : "shorten the prompt",
  });

export const badIds = (what: string, problem: string): Diagnostic =>
  error("DSC6003", `--ids ${what}: ${problem}`, {
    spans: [onValue("--ids")],
    help: "give 1,2,3 or a JSON file with an array of ids, or an array of such arrays",
  });

export function notFound(what: string, where: string, word: string, known: readonly string[]): Diagnostic {
  const near = didYouMean(word, known) ?? known.find((k) => k.startsWith(word) && word !== "");
  return error("DSC6004", `${where} has no ${what}`, {
    spans: [onCommandLine(word)],
    notes: near ? [] : [`it has ${known.slice(0, 12).join(", ")}${known.length > 12 ? ` and ${known.length - 12} more` : ""}`],
    help: near ? `did you mean ${near}?` : "dsc inspect OUT lists what there is",
  });
}

export const compileOptionOnArtifact = (options: readonly string[]): Diagnostic =>
  error("DSC6005", `${options.join(", ")}: the artifact is already compiled`, {
    spans: [onCommandLine(options[0])],
    notes: ["options of compile apply when SRC is a config or a model folder"],
    help: "run the model folder instead, or compile again with these options",
  });

export const needsTaps = (what: string): Diagnostic =>
  error("DSC6006", `${what} needs an artifact compiled with --taps`, {
    spans: [onCommandLine(what)],
    notes: ["without taps, only the last row of a sequence has logits, and hidden states are not kept"],
    help: "dsc compile SRC -o OUT --taps",
  });

export const storedWider = (): Diagnostic =>
  warning("DSC6007", "the config says bfloat16, the checkpoint stores float32: weights stay float32", {
    spans: [place("torch_dtype of the config")],
    notes: ["weights are widened when needed, never rounded"],
    help: "--set torch_dtype=float32 says the same; a bfloat16 checkpoint is half the bytes",
  });

export const draftLayerLeft = (layer: number, why: string): Diagnostic =>
  warning("DSC6024", `the extra prediction layer (layer ${layer}) is left out: ${why}`, {
    spans: [place("num_nextn_predict_layers of the config")],
    notes: ["it only drafts; answers are the same without it, and --draft is not possible"],
    help: "--set num_nextn_predict_layers=0 says the same",
  });

export const storedOtherwise = (what: string, weights: readonly string[]): Diagnostic =>
  warning("DSC6025", what, {
    spans: [place("the checkpoint")],
    notes: [...weights.slice(0, 8), ...(weights.length > 8 ? [`and ${weights.length - 8} more`] : [])],
    help: "nothing to do: weights are read as they are stored; a checkpoint of one format throughout runs faster",
  });

export const unseenCheckpoint = (why: readonly string[]): Diagnostic =>
  warning("DSC6026", "the checkpoint beside the config cannot be looked at: config.json alone says how weights are stored", {
    spans: [place("the model folder")],
    notes: [...why],
    help: "compiling needs no weights; running does",
  });

export const passChanges = (pass: string, where: string, difference: number): Diagnostic =>
  error("DSC3020", `${pass} changes what is computed in ${where}`, {
    spans: [place(`pass ${pass}`)],
    notes: [`largest difference of a logit: ${difference}`],
    help: "dsc opt on graph/00-frontend.dsc with the passes up to this one shows the graph it made",
  });

export const onnxDiffers = (p: {
  after: string;
  attention: string;
  prefill: number;
  extend: number;
  decode: number;
}): Diagnostic =>
  error("DSC6031", `the graph after ${p.after} answers otherwise in onnxruntime, ${p.attention} attention`, {
    spans: [place(`graph after ${p.after}`)],
    notes: [`largest difference of a logit: ${p.prefill} in prefill, ${p.extend} in extend, ${p.decode} in decode`],
    help: "dsc export onnx SRC --after an earlier pass shows from which on; please report it with the config",
  });

/** What the operating system refuses that no command says better: memory, threads, open files, a place. Nothing for other exceptions. */
export function systemRefused(e: unknown): Diagnostic | undefined {
  const { code, syscall, path: file, message } = (e instanceof Error ? e : {}) as Partial<NodeJS.ErrnoException>;
  const memory = e instanceof RangeError && /allocat|memory/i.test(e.message);
  if (!memory && syscall === undefined && !/^ERR_WORKER_(OUT_OF_MEMORY|INIT_FAILED)$/.test(code ?? "")) return undefined;
  const helps: Readonly<Record<string, string>> = {
    EMFILE: "raise the limit of open files: ulimit -n 1024",
    ENOSPC: "make room on the disk",
    EACCES: "see to its permissions",
    ENOMEM: "close other programs, or raise ulimit -v",
    EAGAIN: "raise the limit of processes: ulimit -u; or --threads 1",
  };
  return error("DSC6019", `the system refuses: ${message}`, {
    spans: [file === undefined ? onCommandLine() : place(file)],
    help: memory ? helps.ENOMEM : (helps[code ?? ""] ?? "see to the limits and permissions of this process"),
  });
}

export const internal = (e: unknown): Diagnostic =>
  error("DSC9000", `a fault in dsc: ${e instanceof Error ? e.message : String(e)}`, {
    spans: [onCommandLine()],
    help: "DSC_DEBUG=1 shows where; please report it with the command and the config",
  });

export const noCode = (code: string, near: string | undefined): Diagnostic =>
  error("DSC6016", `there is no diagnostic ${code}`, {
    spans: [onCommandLine(code)],
    help: near ? `did you mean ${near}?` : "dsc explain lists them all",
  });

export const noTriton = (python: string): Diagnostic =>
  warning("DSC6020", "Triton kernels stay source: no Triton in this Python", {
    spans: [onCommandLine("--target")],
    notes: [`asked ${python} (DSC_PYTHON names another)`],
    help: "pip install triton, then compile again; without cubins the artifact can be read, not run",
  });

export const tritonFailed = (kernel: string, log: string): Diagnostic =>
  error("DSC6021", `Triton does not compile ${kernel}`, {
    spans: [place(`kernel ${kernel}`)],
    notes: log
      .split("\n")
      .filter((l) => l.trim())
      .slice(-12),
    help: "if the text is as dsc wrote it, please report it with the artifact",
  });
