// DSC310x: what can be wrong with a plug-in, and DSC9002 for one that broke the graph.
import { coded, place, type Form } from "../ir/diagnostic.ts";

export const pluginNotLoaded = coded<{ file: string; problem: readonly string[] }>("DSC3101", {
  name: "a plug-in cannot be loaded",
  means:
    "A plug-in is a TypeScript or JavaScript module, named by --plugin, or the dsc.config.ts of the working " +
    "directory. Reading or running the module failed, with the reason in the note.",
  example: 'import "./not-there.ts"; a rule whose sides do not type-check where they are declared',
  fix: "Correct the module; its own imports are relative to it. examples/plugin-pass is a whole one.",
  at: ({ file }) => [place(file)],
  short: ({ file, problem }) => ({
    title: `cannot load the plug-in ${file}`,
    notes: problem,
    help: 'a plug-in is a TypeScript or JavaScript module; it imports "dsc/passes" and "dsc/ir"',
  }),
});

export const configPassedOver = coded<{ file: string; why: string }>("DSC3106", {
  name: "a dsc.config that is not run",
  means:
    "dsc.config.ts is code, and dsc runs it from the working directory only. One that lies in a model folder came " +
    "with the model: it is not run, whether the folder is SRC, --weights or where you work.",
  example: "cd some-model && dsc run . --prompt hi, where some-model holds a dsc.config.ts",
  fix: "Work in a folder of your own. --plugin FILE runs any file, this one too, once you trust who wrote it.",
  severity: "warning",
  at: ({ file }) => [place(file)],
  short: ({ file, why }) => ({
    title: `${file} is not run: ${why}`,
    notes: ["a model folder is data: code in it runs only when it is asked for by name"],
    help: `--plugin ${file} runs it, where you trust who wrote it`,
  }),
});

export const pluginShape = coded<{ file: string; what: string; problem: string; help?: string | undefined }>("DSC3102", {
  name: "a plug-in that does not declare a pass rightly",
  means:
    "The default export is a pass that says `before` or `after` which pass it goes, or { pipeline }, or a function " +
    "from pipeline to pipeline. A pass has a name of its own in kebab-case, a summary, rules made with rule(...) or " +
    "run or whole, and no fields but those of a pass.",
  example: 'export default pass({ name: "mine", summary: "...", rules: [mine] }), without a place',
  fix: "Add after: NAME; dsc passes lists the names.",
  at: ({ file }) => [place(file)],
  short: ({ file, what, problem, help }) => ({
    title: `the plug-in ${file} ${what}`,
    notes: [problem],
    help: help ?? "export default pass({ name, summary, rules, after: NAME }), { pipeline }, or (standard) => pipeline",
  }),
});

export const ruleRefuted = coded<{
  file: string;
  pass: string;
  rule: string;
  seed: number;
  holes: readonly string[];
  problem: string;
}>("DSC3103", {
  name: "a plug-in rule that is no equation",
  means:
    "Before a plug-in runs, both sides of each of its rules are built at small sizes, filled and interpreted in " +
    "float64, at the attributes given and at others, at odd sizes, for rows of zeros, ties and large numbers, and " +
    "over several blocks of 128. They differ: the note has the sizes and the first element that does.",
  example: "from: ({ x }) => gated({ gate: x, up: x }), to: ({ x }) => x",
  fix:
    "Correct the rule. One that changes only rounding says within, one that changes what is computed says changes: " +
    "{ why, within }, within being how far off the right side may be.",
  at: ({ file, pass, rule }) => [place(file, `pass ${pass}, rule "${rule}"`)],
  short: ({ pass, rule, seed, holes, problem }) => ({
    title: `rule "${rule}" of ${pass} is no equation: its sides differ`,
    notes: [`counterexample, seed ${seed}: ${holes.join(", ")}`, problem],
    help: "a rule that changes only rounding says within, one that changes what is computed says changes: { why, within }",
  }),
});

/** How far the logits of the small model are from what they were, and where. */
export interface Changed {
  file: string;
  pass: string;
  /** "prefill, absorbed attention" */
  where: string;
  /** Functions that the pass changed. */
  changed: readonly string[];
  difference: number;
  element: string;
  /** The small model from before the pass, where its text could be written. */
  repro?: string;
}

export const pluginChanges = coded<Changed>("DSC3107", {
  name: "a plug-in that changes what is computed",
  means:
    "Before an artifact is written, the model, made small, is interpreted in float64 before and after each pass of a " +
    "plug-in. The logits differ by more than rounding, and the pass declares no change. The note has the first " +
    "element that differs most, and the functions the pass changed.",
  example: "A `run` that multiplies a layer's output by 1.5.",
  fix:
    "dsc opt FILE.dsc -p PASS --plugin FILE shows what the pass makes of the small model. A change that is meant is " +
    'declared, with how far logits may move for it: cx.fired(rule, { changes: "why", within: 0.5 }).',
  at: (c) => [place(c.file, `pass ${c.pass}, in ${c.where}`)],
  short: (c) => ({
    title: `plug-in ${c.file}: pass ${c.pass} changes what is computed`,
    notes: [
      `${c.element}; the largest difference is ${c.difference.toPrecision(3)}`,
      `it changed ${c.changed.slice(0, 6).join(", ")}${c.changed.length > 6 ? ` and ${c.changed.length - 6} functions more` : ""}`,
      ...(c.repro === undefined ? [] : [`the model made small, from just before, is in ${c.repro}`]),
    ],
    help:
      c.repro === undefined
        ? "a change that is meant is said: cx.fired(rule, { changes, within })"
        : `dsc opt ${c.repro} -p ${c.pass} --plugin ${c.file} shows what it makes of it; a change that is meant is said: ` +
          "cx.fired(rule, { changes, within })",
  }),
});

export const pluginUnproved = coded<{ file: string; pass: string; says: string }>("DSC3108", {
  name: "a plug-in that is not proved",
  means: "The pass runs, but the small model could not show whether it keeps the function, for the reason given.",
  example: "A pass that fires only on widths the small model does not have.",
  fix: "dsc verify SRC --plugin FILE, or a test of your own that interprets a text before and after it.",
  severity: "warning",
  at: ({ file, pass }) => [place(file, `pass ${pass}`)],
  short: ({ file, pass, says }) => ({
    title: `plug-in ${file}: pass ${pass} is ${says}`,
    help: "dsc verify SRC --plugin FILE tries it on a small model; fixtures of its own may show more",
  }),
});

export const pluginUntried = coded<{ file: string; what: string; says: string }>("DSC3113", {
  name: "what a plug-in brings is not tried",
  means: "It is used, and nothing here could show whether it does what its op says, for the reason given.",
  example: "A hand-written kernel on a machine without a card.",
  fix: "dsc plugin check FILE, where there is what is missing.",
  severity: "warning",
  at: ({ file, what }) => [place(file, what)],
  short: ({ file, what, says }) => ({
    title: `plug-in ${file}: ${what} is ${says}`,
    help: "dsc plugin check FILE on a machine with what is missing tries it",
  }),
});

export const notHeld = coded<{ file: string; what: string; trial: string; problem: string; notes: readonly string[] }>(
  "DSC3111",
  {
    name: "what a plug-in brings does not do what its op says",
    means:
      "Before a plug-in is used, each of its ops is held to its signature, each activation to itself, and each kernel, at its own " +
      "`cases`, to the reference of its op: with plain values, with rows of zeros, ties and large numbers, and with rows apart. One " +
      "differs, or threw, or writes where it must not; the note has the trial and the first element.",
    example: "A tile program that forgets the limit of a clipped gate.",
    fix: "Correct the kernel, or the reference. Where a sum is merely rounded otherwise, say `within` in the case.",
    at: ({ file, what }) => [place(file, what)],
    short: ({ file, what, trial, problem, notes }) => ({
      title: `plug-in ${file}: ${what} does not do what its op says`,
      notes: [`tried: ${trial}`, problem, ...notes],
      help: "dsc plugin check FILE tries it again; a sum of many products may need a wider `within` in its case",
    }),
  },
);

export const libraryMissing = coded<{ file: string; what: string; library: string; problem: string }>("DSC3114", {
  name: "a library that a plug-in binds cannot be used",
  means:
    "A plug-in binds a function of a shared library to an op. The library, or one that is opened before it, is not where the plug-in " +
    "says, cannot be opened, or exports no function of that name as __tvm_ffi_NAME. Nothing was tried.",
  example: 'libraryFunction({ library: "./libcap.so", function: "cap" }) where libcap.so was not built',
  fix: "A relative path begins at the plug-in's own folder. Build the library, or name another; nm -D lists what it exports.",
  at: ({ file, what }) => [place(file, what)],
  short: ({ file, what, library, problem }) => ({
    title: `plug-in ${file}: ${what} cannot be called in ${library}`,
    notes: [problem],
    help: "a relative path begins at the plug-in's folder; a library exports NAME as __tvm_ffi_NAME, which nm -D shows",
  }),
});

export const pluginTypes = coded<{ message: string; code: number; notes: readonly string[] }>("DSC3112", {
  name: "a plug-in whose types do not fit",
  means: "dsc plugin check holds a plug-in's file, and what it imports beside it, to the types of the dsc that runs.",
  example: "lastRows({ y: x, batch }): the operand is called x.",
  fix: "TypeScript's message says what does not fit; the number behind it is TypeScript's own.",
  short: ({ message, code, notes }) => ({
    title: `${message} (TS${code})`,
    notes,
    help: "types are those of the dsc that runs; an editor shows them where dsc is installed",
  }),
});

export const pluginLater = coded<{ file: string; problem: string; notes: readonly string[] }>("DSC3110", {
  name: "a plug-in threw after its work",
  means: "A timer or a promise that a plug-in left behind failed while nothing was asked of it. The line in its file is named.",
  example: "setTimeout(() => { throw new Error() }) at the top of a plug-in.",
  fix: "Let a plug-in's work end when its function returns.",
  short: ({ file, problem, notes }) => ({
    title: `plug-in ${file} threw while nothing was asked of it: ${problem}`,
    notes,
    help: "a plug-in's work ends when its function returns: no timers, no promises",
  }),
});

export const pluginEnded = coded<{ files: readonly string[] }>("DSC3109", {
  name: "a plug-in that ended the program",
  means: "The process ended while a command was at work, and a plug-in was loaded. Nothing was written.",
  example: "process.exit(0) in a timer of a plug-in.",
  fix: "Leave the process alone: throw, or return.",
  at: ({ files }) => files.map((f) => place(f)),
  short: ({ files }) => ({
    title: "the program was ended before its command was",
    notes: [`${files.length > 1 ? "one of these plug-ins" : "this plug-in"} called process.exit, or waits for what never comes`],
    help: "a plug-in gives its result and leaves the process alone",
  }),
});

/** How a plug-in failed: where it was, what it said, and how to see it again. */
export interface Failure {
  file: string;
  pass: string;
  rule?: string;
  /** "decode/moe_layer/z" */
  site?: string;
  notes: readonly string[];
  /** The text of the graph from just before, where it could be written. */
  repro?: string;
}

const within = ({ rule, site }: Failure): string =>
  [rule === undefined ? "" : `rule "${rule}"`, site === undefined ? "" : `in ${site}`].filter((w) => w !== "").join(" ");

/** The places are the line of the plug-in, where the stack has it. */
const failed = <F extends Failure>(what: (f: F) => string): Pick<Form<F>, "at" | "label" | "short"> => ({
  at: (f) => [place(f.file, within(f))],
  label: within,
  short: (f) => ({
    title: `plug-in ${f.file}: pass ${f.pass} ${what(f)}`,
    notes: [...f.notes, ...(f.repro === undefined ? [] : [`the graph from just before is in ${f.repro}`])],
    help:
      f.repro === undefined
        ? "the fault is in the plug-in, not in your config"
        : `dsc opt ${f.repro} -p ${f.pass} --plugin ${f.file} shows it again`,
  }),
});

export const pluginThrew = coded<Failure>("DSC3104", {
  name: "a plug-in threw",
  means:
    "The work of a plug-in's pass ended in an error. The place and the rule are named, and the graph from just " +
    "before is written beside OUT, cut down to the function it was in.",
  example: "A `to` that reads an axis its operand does not have.",
  fix: "dsc opt FILE.dsc -p PASS --plugin FILE shows it again, on that function alone.",
  ...failed(() => "threw"),
});

export const pluginSlow = coded<Failure & { seconds: number }>("DSC3105", {
  name: "a plug-in that does not end",
  means:
    "One pass of a plug-in may take ten seconds for one model, or as many as DSC_PLUGIN_SECONDS says. This one was stopped there.",
  example: "A `run` with a loop that nothing ends.",
  fix: "dsc opt FILE.dsc -p PASS --plugin FILE shows it again.",
  ...failed(({ seconds }) => `did not end in ${seconds} s`),
});

export const pluginBroke = coded<Failure>("DSC9002", {
  name: "a plug-in broke the graph",
  means:
    "The graph is verified after every pass. What a plug-in's pass gave is no graph: a type is not what its op " +
    "infers, or a value of another function is read. What is broken follows.",
  example: "A `run` that returns a parameter it kept from an earlier function.",
  fix: "dsc opt FILE.dsc -p PASS --plugin FILE shows it again.",
  ...failed(() => "broke the graph"),
});
