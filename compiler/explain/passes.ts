// DSC3xxx: passes, rules, contracts and proofs.
import type { Entry } from "./entry.ts";

export const passes: Readonly<Record<string, Entry>> = {
  DSC3001: {
    name: "no such pass",
    means: "--passes takes all, none, or names with commas. Order is the pipeline's, whatever order is given.",
    example: "$ dsc compile examples/tiny-r1 -o .dsc/x --passes absorb-mia",
    fix: "dsc passes lists the names.",
  },
  DSC3002: {
    name: "a rule's pattern does not type-check",
    means: "Both sides of a rule are built with the ordinary builders from typed holes; here a hole's type fits no operand.",
    example: 'vars: { x: "[T, k] a", w: "[n, j] w" } under linear, where k and j must be one letter',
    fix: "Give the holes types that fit the op: dsc ops NAME.",
  },
  DSC3003: {
    name: "a contract is broken",
    means:
      "A pass states how often it must fire for a model of this form. Firing less often gives a model that is correct " +
      "and slow; the contract notices the broken pattern. Where a plug-in ran before, it ends the compile; where all " +
      "passes are dsc's own, the model compiles with a warning, for the fault is not the config's.",
    example: "A change of the frontend that writes experts in a form moe-dispatch does not match.",
    fix:
      "dsc why OUT PASS says for every site why not; dsc opt on graph/00-frontend.dsc shows where the pattern is " +
      "lost. Without a plug-in, please report it with the config.json.",
  },
  DSC3004: {
    name: "no such pass option",
    means: "Options belong to passes and are declared by them.",
    example: "dsc compile SRC -o OUT --pass-option nothing.here=1",
    fix: "dsc passes NAME lists the options of a pass.",
  },
  DSC3005: {
    name: "a pass option with a value it cannot have",
    means: "An option's declaration says what it may be.",
    example: "A word where a number is needed.",
    fix: "dsc passes NAME says what it may be.",
  },
  DSC3006: {
    name: "a rule replaces a value by one of another type",
    means: "Both sides of an equation have one type: readers of the value would break otherwise.",
    example: "A plug-in rule whose `to` gives f32 where `from` gave bf16.",
    fix: "Make both sides alike; a conversion belongs to the right side.",
  },
  DSC3007: {
    name: "a rule that never ends",
    means: "Rules are applied until none fires. This one, or two that undo each other, would go on for ever.",
    example: "add(a, b) = add(b, a)",
    fix: "Give the rule a `when` that refuses what is already in its form.",
  },
  DSC3008: {
    name: "a pass that gives back no graph",
    means:
      "`run` gives a function and `whole` a module. This one gave something else: nothing, a Promise, a record without results.",
    example: "run: (f) => { rebuild(f, graph, replace); }, without return",
    fix: "Return what rebuild gives, or f itself. A pass is not async.",
  },
  DSC3010: {
    name: "a target has no kernel for an op",
    means:
      "Kernel selection asks the target for every node; this one was refused with the reason in the note. Nothing is " +
      "computed by another way silently.",
    example: "An einsum with two contracted axes that no view makes one.",
    fix: "dsc ops NAME says which targets have a kernel. A pass may have to run first: try --passes all.",
  },
  DSC3020: {
    name: "a pass changes what is computed",
    means:
      "dsc verify interprets a small model in float64 before and after each pass. The logits differ by more than " +
      "rounding, and the pass declares no change.",
    example: "A rule that drops a scale.",
    fix: "This is a fault of the pass: dsc opt on graph/00-frontend.dsc with the passes up to it shows the graph it made.",
  },
  DSC3101: {
    name: "a plug-in cannot be loaded",
    means:
      "A plug-in is a TypeScript or JavaScript module, named by --plugin, or the dsc.config.ts of the working " +
      "directory. Reading or running the module failed, with the reason in the note.",
    example: 'import "./not-there.ts"; a rule whose sides do not type-check where they are declared',
    fix: "Correct the module; its own imports are relative to it. examples/plugin-pass is a whole one.",
  },
  DSC3102: {
    name: "a plug-in that does not declare a pass rightly",
    means:
      "The default export is a pass that says `before` or `after` which pass it goes, or { pipeline }, or a function " +
      "from pipeline to pipeline. A pass has a name of its own in kebab-case, a summary, rules made with rule(...) or " +
      "run or whole, and no fields but those of a pass.",
    example: 'export default pass({ name: "mine", summary: "...", rules: [mine] }), without a place',
    fix: "Add after: NAME; dsc passes lists the names.",
  },
  DSC3103: {
    name: "a plug-in rule that is no equation",
    means:
      "Before a plug-in runs, both sides of each of its rules are built at small sizes, filled and interpreted in " +
      "float64, at the attributes given and at others, at odd sizes, for rows of zeros, ties and large numbers, and " +
      "over several blocks of 128. They differ: the note has the sizes and the first element that does.",
    example: "from: ({ x }) => gated({ gate: x, up: x }), to: ({ x }) => x",
    fix:
      "Correct the rule. One that changes only rounding says within, one that changes what is computed says changes: " +
      "{ why, within }, within being how far off the right side may be.",
  },
  DSC3104: {
    name: "a plug-in threw",
    means:
      "The work of a plug-in's pass ended in an error. The place and the rule are named, and the graph from just " +
      "before is written beside OUT, cut down to the function it was in.",
    example: "A `to` that reads an axis its operand does not have.",
    fix: "dsc opt FILE.dsc -p PASS --plugin FILE shows it again, on that function alone.",
  },
  DSC3105: {
    name: "a plug-in that does not end",
    means:
      "One pass of a plug-in may take ten seconds for one model, or as many as DSC_PLUGIN_SECONDS says. This one was stopped there.",
    example: "A `run` with a loop that nothing ends.",
    fix: "dsc opt FILE.dsc -p PASS --plugin FILE shows it again.",
  },
  DSC3106: {
    name: "a dsc.config that is not run",
    means:
      "dsc.config.ts is code, and dsc runs it from the working directory only. One that lies in a model folder came " +
      "with the model: it is not run, whether the folder is SRC, --weights or where you work.",
    example: "cd some-model && dsc run . --prompt hi, where some-model holds a dsc.config.ts",
    fix: "Work in a folder of your own. --plugin FILE runs any file, this one too, once you trust who wrote it.",
  },
  DSC3107: {
    name: "a plug-in that changes what is computed",
    means:
      "Before an artifact is written, the model, made small, is interpreted in float64 before and after each pass of a " +
      "plug-in. The logits differ by more than rounding, and the pass declares no change. The note has the first " +
      "element that differs most, and the functions the pass changed.",
    example: "A `run` that multiplies a layer's output by 1.5.",
    fix:
      "dsc opt FILE.dsc -p PASS --plugin FILE shows what the pass makes of the small model. A change that is meant is " +
      'declared: cx.fired(rule, { changes: "why" }).',
  },
  DSC3108: {
    name: "a plug-in that is not proved",
    means: "The pass runs, but the small model could not show whether it keeps the function, for the reason given.",
    example: "A pass that fires only on widths the small model does not have.",
    fix: "dsc verify SRC --plugin FILE, or a test of your own that interprets a text before and after it.",
  },
  DSC3109: {
    name: "a plug-in that ended the program",
    means: "The process ended while a command was at work, and a plug-in was loaded. Nothing was written.",
    example: "process.exit(0) in a timer of a plug-in.",
    fix: "Leave the process alone: throw, or return.",
  },
  DSC3110: {
    name: "a plug-in threw after its work",
    means: "A timer or a promise that a plug-in left behind failed while nothing was asked of it. The line in its file is named.",
    example: "setTimeout(() => { throw new Error() }) at the top of a plug-in.",
    fix: "Let a plug-in's work end when its function returns.",
  },
};
