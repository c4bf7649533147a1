// DSC3xxx: what can be wrong with passes and plug-ins, and DSC9xxx for a pass that broke the graph.
import { error, place, warning, type Diagnostic, type Span } from "../ir/diagnostic.ts";

export const unknownPass = (name: string, near: string | undefined, names: readonly string[]): Diagnostic =>
  error("DSC3001", `there is no pass named ${JSON.stringify(name)}`, {
    spans: [place("the names of passes")],
    notes: [`passes: ${names.join(", ")}`],
    help: near ? `did you mean ${near}?` : "all and none are words too",
  });

export const ruleShape = (rule: string): Diagnostic =>
  error("DSC3002", `the pattern of rule "${rule}" does not type-check`, {
    spans: [place(`rule "${rule}"`)],
    help: "both sides are built with the ordinary builders from `vars`; give the holes types that fit",
  });

export const contractBroken = (
  pass: string,
  rules: readonly string[],
  site: string,
  model: string,
  want: number,
  got: number,
  seen: readonly string[],
  plugins: readonly string[] = [],
): Diagnostic =>
  error("DSC3003", `${pass}: "${rules.join('" or "')}" fired ${times(got)} in ${site}, and has to fire ${times(want)}`, {
    spans: [place(`pass ${pass}, function ${site}`)],
    notes: [
      `${model} needs it: a pass that silently stops firing gives a slower model`,
      ...seen.slice(0, 4),
      ...(seen.length === 0
        ? ["nothing there begins the pattern"]
        : seen.length > 4
          ? [`and ${seen.length - 4} candidates more`]
          : []),
      ...plugins,
    ],
    help: `a pass before it may hide the pattern; --passes without ${pass} compiles the slower model knowingly`,
  });

const times = (n: number): string => (n === 0 ? "never" : n === 1 ? "once" : `${n} times`);

export const unknownOption = (key: string, near: string | undefined, known: readonly string[]): Diagnostic =>
  error("DSC3004", `no pass has an option ${JSON.stringify(key)}`, {
    spans: [place(`--pass-option ${key}`)],
    notes: [known.length ? `options: ${known.join(", ")}` : "no pass of this pipeline has options"],
    help: near ? `did you mean ${near}?` : "dsc passes NAME lists the options of a pass",
  });

export const badOption = (key: string, value: string, problem: string): Diagnostic =>
  error("DSC3005", `--pass-option ${key}=${value}: the value ${problem}`, {
    spans: [place(`--pass-option ${key}`)],
    help: `dsc passes ${key.split(".")[0]} says what it may be`,
  });

export const wrongReplacement = (pass: string, rule: string, at: string, got: string, want: string): Diagnostic =>
  error("DSC3006", `rule "${rule}" of ${pass} replaces %${at} by a value of another type`, {
    spans: [place(`pass ${pass}, rule "${rule}"`)],
    notes: [`the value is ${want}, the replacement ${got}`],
    help: "both sides of a rule have one type",
  });

export const neverSettles = (pass: string, rule: string, site: string, rounds: number): Diagnostic =>
  error("DSC3007", `rule "${rule}" of ${pass} still fires after ${rounds} rounds, last at ${site}`, {
    spans: [place(`pass ${pass}, rule "${rule}"`)],
    notes: ["rules are applied until none fires; this one, or two that undo each other, would never end"],
    help: "a replacement must not contain its own pattern: give `when` a reason to refuse it",
  });

export const passBroke = (pass: string, where: readonly string[]): Diagnostic =>
  error("DSC9001", `pass ${pass} broke the graph`, {
    spans: [place(`pass ${pass}`)],
    notes: [...where],
    help: "this is a fault in the pass, not in your config",
  });

export const noFunction = (pass: string, func: string | undefined, what: string): Diagnostic =>
  error("DSC3008", `${pass}: ${what}`, {
    spans: [place(`pass ${pass}`, func)],
    notes: [],
    help:
      func === undefined
        ? "whole gives a module: { ...m, funcs, weights }"
        : "run gives a function: rebuild(f, cx.module.graph, ...), or f itself where nothing is to be done",
  });

/** `site`: function and value. `maker`: the pass that made the node, and the plug-in it came in. */
export const noKernel = (op: string, target: string, reason: string, site?: string, maker?: string): Diagnostic =>
  error("DSC3010", `${target} has no kernel for ${op}`, {
    spans: [site === undefined ? place(op) : place(site, op)],
    notes: [reason, ...(maker === undefined ? [] : [maker])],
    help: "dsc ops lists which targets have a kernel for which op",
  });

// Plug-ins: DSC310x, and DSC9002 for one that broke the graph.

export const pluginNotLoaded = (file: string, problem: readonly string[], span?: Span): Diagnostic =>
  error("DSC3101", `cannot load the plug-in ${file}`, {
    spans: [span ?? place(file)],
    notes: [...problem],
    help: 'a plug-in is a TypeScript or JavaScript module; it imports "dsc/passes" and "dsc/ir"',
  });

export const configPassedOver = (file: string, why: string): Diagnostic =>
  warning("DSC3106", `${file} is not run: ${why}`, {
    spans: [place(file)],
    notes: ["a model folder is data: code in it runs only when it is asked for by name"],
    help: `--plugin ${file} runs it, where you trust who wrote it`,
  });

export const pluginShape = (file: string, what: string, problem: string, help?: string): Diagnostic =>
  error("DSC3102", `the plug-in ${file} ${what}`, {
    spans: [place(file)],
    notes: [problem],
    help: help ?? "export default pass({ name, summary, rules, after: NAME }), { pipeline }, or (standard) => pipeline",
  });

export const ruleRefuted = (
  file: string,
  pass: string,
  rule: string,
  seed: number,
  holes: readonly string[],
  problem: string,
  span?: Span,
): Diagnostic =>
  error("DSC3103", `rule "${rule}" of ${pass} is no equation: its sides differ`, {
    spans: [span ?? place(file, `pass ${pass}, rule "${rule}"`)],
    notes: [`counterexample, seed ${seed}: ${holes.join(", ")}`, problem],
    help: "a rule that changes only rounding says within, one that changes what is computed says changes: { why, within }",
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

export const pluginChanges = (c: Changed): Diagnostic =>
  error("DSC3107", `plug-in ${c.file}: pass ${c.pass} changes what is computed`, {
    spans: [place(c.file, `pass ${c.pass}, in ${c.where}`)],
    notes: [
      `${c.element}; the largest difference is ${c.difference.toPrecision(3)}`,
      `it changed ${c.changed.slice(0, 6).join(", ")}${c.changed.length > 6 ? ` and ${c.changed.length - 6} functions more` : ""}`,
      ...(c.repro === undefined ? [] : [`the model made small, from just before, is in ${c.repro}`]),
    ],
    help:
      c.repro === undefined
        ? "a change that is meant is said: cx.fired(rule, { changes })"
        : `dsc opt ${c.repro} -p ${c.pass} --plugin ${c.file} shows what it makes of it; a change that is meant is said: ` +
          "cx.fired(rule, { changes })",
  });

export const pluginUnproved = (file: string, pass: string, says: string): Diagnostic =>
  warning("DSC3108", `plug-in ${file}: pass ${pass} is ${says}`, {
    spans: [place(file, `pass ${pass}`)],
    help: "dsc verify SRC --plugin FILE tries it on a small model; fixtures of its own may show more",
  });

export const pluginLater = (file: string, problem: string, notes: readonly string[], span: Span): Diagnostic =>
  error("DSC3110", `plug-in ${file} threw while nothing was asked of it: ${problem}`, {
    spans: [span],
    notes: [...notes],
    help: "a plug-in's work ends when its function returns: no timers, no promises",
  });

export const pluginEnded = (files: readonly string[]): Diagnostic =>
  error("DSC3109", "the program was ended before its command was", {
    spans: files.map((f) => place(f)),
    notes: [`${files.length > 1 ? "one of these plug-ins" : "this plug-in"} called process.exit, or waits for what never comes`],
    help: "a plug-in gives its result and leaves the process alone",
  });

/** How a plug-in failed: where it was, what it said, and how to see it again. */
export interface Failure {
  file: string;
  pass: string;
  rule?: string;
  /** "decode/moe_layer/z" */
  site?: string;
  notes: readonly string[];
  /** The line of the plug-in, where the stack has it. */
  span?: Span;
  /** The text of the graph from just before, where it could be written. */
  repro?: string;
}

const failed = (code: string, what: string, f: Failure): Diagnostic =>
  error(code, `plug-in ${f.file}: pass ${f.pass} ${what}`, {
    spans: [
      {
        ...(f.span ?? place(f.file)),
        label: [f.rule === undefined ? "" : `rule "${f.rule}"`, f.site === undefined ? "" : `in ${f.site}`]
          .filter((w) => w !== "")
          .join(" "),
      },
    ],
    notes: [...f.notes, ...(f.repro === undefined ? [] : [`the graph from just before is in ${f.repro}`])],
    help:
      f.repro === undefined
        ? "the fault is in the plug-in, not in your config"
        : `dsc opt ${f.repro} -p ${f.pass} --plugin ${f.file} shows it again`,
  });

export const pluginThrew = (f: Failure): Diagnostic => failed("DSC3104", "threw", f);
export const pluginSlow = (f: Failure, seconds: number): Diagnostic => failed("DSC3105", `did not end in ${seconds} s`, f);
export const pluginBroke = (f: Failure): Diagnostic => failed("DSC9002", "broke the graph", f);
