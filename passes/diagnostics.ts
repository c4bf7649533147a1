// DSC3xxx: what can be wrong with passes, and DSC9001 for one that broke the graph.
import { coded, place } from "../ir/diagnostic.ts";

export const unknownPass = coded<{ name: string; near: string | undefined; names: readonly string[] }>("DSC3001", {
  name: "no such pass",
  means: "--passes takes all, none, or names with commas. Order is the pipeline's, whatever order is given.",
  example: "$ dsc compile examples/tiny-r1 -o .dsc/x --passes absorb-mia",
  fix: "dsc passes lists the names.",
  at: () => [place("the names of passes")],
  short: ({ name, near, names }) => ({
    title: `there is no pass named ${JSON.stringify(name)}`,
    notes: [`passes: ${names.join(", ")}`],
    help: near ? `did you mean ${near}?` : "all and none are words too",
  }),
});

export const ruleShape = coded<{ rule: string }>("DSC3002", {
  name: "a rule's pattern does not type-check",
  means: "Both sides of a rule are built with the ordinary builders from typed holes; here a hole's type fits no operand.",
  example: 'vars: { x: "[T, k] a", w: "[n, j] w" } under linear, where k and j must be one letter',
  fix: "Give the holes types that fit the op: dsc ops NAME.",
  at: ({ rule }) => [place(`rule "${rule}"`)],
  short: ({ rule }) => ({
    title: `the pattern of rule "${rule}" does not type-check`,
    help: "both sides are built with the ordinary builders from `vars`; give the holes types that fit",
  }),
});

export const contractBroken = coded<{
  pass: string;
  rules: readonly string[];
  site: string;
  model: string;
  want: number;
  got: number;
  seen: readonly string[];
  plugins?: readonly string[] | undefined;
}>("DSC3003", {
  name: "a contract is broken",
  means:
    "A pass states how often it must fire for a model of this form. Firing less often gives a model that is correct " +
    "and slow; the contract notices the broken pattern. Where a plug-in ran before, it ends the compile; where all " +
    "passes are dsc's own, the model compiles with a warning, for the fault is not the config's.",
  example: "A change of the frontend that writes experts in a form moe-dispatch does not match.",
  fix:
    "dsc why OUT PASS says for every site why not; dsc opt on graph/00-frontend.dsc shows where the pattern is " +
    "lost. Without a plug-in, please report it with the config.json.",
  at: ({ pass, site }) => [place(`pass ${pass}, function ${site}`)],
  short: ({ pass, rules, site, model, want, got, seen, plugins = [] }) => ({
    title: `${pass}: "${rules.join('" or "')}" fired ${times(got)} in ${site}, and has to fire ${times(want)}`,
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
  }),
});

const times = (n: number): string => (n === 0 ? "never" : n === 1 ? "once" : `${n} times`);

export const unknownOption = coded<{ key: string; near: string | undefined; known: readonly string[] }>("DSC3004", {
  name: "no such pass option",
  means: "Options belong to passes and are declared by them.",
  example: "dsc compile SRC -o OUT --pass-option nothing.here=1",
  fix: "dsc passes NAME lists the options of a pass.",
  at: ({ key }) => [place(`--pass-option ${key}`)],
  short: ({ key, near, known }) => ({
    title: `no pass has an option ${JSON.stringify(key)}`,
    notes: [known.length ? `options: ${known.join(", ")}` : "no pass of this pipeline has options"],
    help: near ? `did you mean ${near}?` : "dsc passes NAME lists the options of a pass",
  }),
});

export const badOption = coded<{ key: string; value: string; problem: string }>("DSC3005", {
  name: "a pass option with a value it cannot have",
  means: "An option's declaration says what it may be.",
  example: "A word where a number is needed.",
  fix: "dsc passes NAME says what it may be.",
  at: ({ key }) => [place(`--pass-option ${key}`)],
  short: ({ key, value, problem }) => ({
    title: `--pass-option ${key}=${value}: the value ${problem}`,
    help: `dsc passes ${key.split(".")[0]} says what it may be`,
  }),
});

export const wrongReplacement = coded<{ pass: string; rule: string; at: string; got: string; want: string }>("DSC3006", {
  name: "a rule replaces a value by one of another type",
  means: "Both sides of an equation have one type: readers of the value would break otherwise.",
  example: "A plug-in rule whose `to` gives f32 where `from` gave bf16.",
  fix: "Make both sides alike; a conversion belongs to the right side.",
  at: ({ pass, rule }) => [place(`pass ${pass}, rule "${rule}"`)],
  short: ({ pass, rule, at, got, want }) => ({
    title: `rule "${rule}" of ${pass} replaces %${at} by a value of another type`,
    notes: [`the value is ${want}, the replacement ${got}`],
    help: "both sides of a rule have one type",
  }),
});

export const neverSettles = coded<{ pass: string; rule: string; site: string; rounds: number }>("DSC3007", {
  name: "a rule that never ends",
  means: "Rules are applied until none fires. This one, or two that undo each other, would go on for ever.",
  example: "add(a, b) = add(b, a)",
  fix: "Give the rule a `when` that refuses what is already in its form.",
  at: ({ pass, rule }) => [place(`pass ${pass}, rule "${rule}"`)],
  short: ({ pass, rule, site, rounds }) => ({
    title: `rule "${rule}" of ${pass} still fires after ${rounds} rounds, last at ${site}`,
    notes: ["rules are applied until none fires; this one, or two that undo each other, would never end"],
    help: "a replacement must not contain its own pattern: give `when` a reason to refuse it",
  }),
});

export const passBroke = coded<{ pass: string; where: readonly string[] }>("DSC9001", {
  name: "a pass broke the graph",
  means:
    "The graph is verified after every pass, and this one left it inconsistent. It is a fault of the pass (a " +
    "plug-in's, where one is named), not of your config.",
  example: "A plug-in pass that returns a value of another function.",
  fix: "The graph from just before reproduces it: dsc opt FILE.dsc -p PASS.",
  at: ({ pass }) => [place(`pass ${pass}`)],
  short: ({ pass, where }) => ({
    title: `pass ${pass} broke the graph`,
    notes: where,
    help: "this is a fault in the pass, not in your config",
  }),
});

export const noFunction = coded<{ pass: string; func: string | undefined; what: string }>("DSC3008", {
  name: "a pass that gives back no graph",
  means:
    "`run` gives a function and `whole` a module. This one gave something else: nothing, a Promise, a record without results.",
  example: "run: (f) => { rebuild(f, graph, replace); }, without return",
  fix: "Return what rebuild gives, or f itself. A pass is not async.",
  at: ({ pass, func }) => [place(`pass ${pass}`, func)],
  short: ({ pass, func, what }) => ({
    title: `${pass}: ${what}`,
    help:
      func === undefined
        ? "whole gives a module: { ...m, funcs, weights }"
        : "run gives a function: rebuild(f, cx.module.graph, ...), or f itself where nothing is to be done",
  }),
});

/** `site`: function and value. `maker`: the pass that made the node, and the plug-in it came in. */
export const noKernel = coded<{
  op: string;
  target: string;
  reason: string;
  site?: string | undefined;
  maker?: string | undefined;
}>("DSC3010", {
  name: "a target has no kernel for an op",
  means:
    "Kernel selection asks the target for every node; this one was refused with the reason in the note. Nothing is " +
    "computed by another way silently.",
  example: "An einsum with two contracted axes that no view makes one.",
  fix: "dsc ops NAME says which targets have a kernel. A pass may have to run first: try --passes all.",
  at: ({ op, site }) => [site === undefined ? place(op) : place(site, op)],
  short: ({ op, target, reason, maker }) => ({
    title: `${target} has no kernel for ${op}`,
    notes: [reason, ...(maker === undefined ? [] : [maker])],
    help: "dsc ops lists which targets have a kernel for which op",
  }),
});
