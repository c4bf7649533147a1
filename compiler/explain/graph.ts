// DSC2xxx: the graph, its text, and tile programs.
import { longForms } from "../../ir/kernel/diagnostics.ts";
import type { Entry } from "./entry.ts";

export const graph: Readonly<Record<string, Entry>> = {
  DSC2001: {
    name: "the text does not parse",
    means:
      "Module texts are what dsc prints: weights, functions, entries, load lines. The message gives the form that was " +
      "expected at the caret.",
    example: "$ dsc opt package.json -p none",
    fix: "Compare with a text in an artifact's graph folder: what dsc prints, it reads.",
  },
  DSC2002: {
    name: "no such op",
    means: "The word after = is no op of the graph.",
    example: "%y = rms_nrom %x, @gain",
    fix: "dsc ops lists all ops with their signatures.",
  },
  DSC2003: {
    name: "a value, weight or function that is not defined",
    means:
      "Values are defined above their use, inside the function or the region; weights at the head of the module; " +
      "functions before their callers.",
    example: "%y = add %x, %z, where nothing defines %z",
    fix: "Define it, or correct the name.",
  },
  DSC2004: {
    name: "the written type is not the inferred one",
    means:
      "Types are inferred from operands; a type in the text is a claim that is checked. An edit often changes one and not the other.",
    example: "%y = linear %x, @w : [T, 65] f32, where @w has 64 rows",
    fix: "Write the inferred type, or leave the type out.",
  },
  DSC2007: {
    name: "operands do not fit the op",
    means:
      "An op's signature unifies letters over its operands: the same letter must be the same size everywhere. The note " +
      "lists the operands' types.",
    example: "%y = linear %x, @w, where %x has 7168 columns and @w has 7000",
    fix: "dsc ops NAME shows the signature. Inside a pass, the pattern's replacement has the wrong shape.",
  },
  DSC2010: {
    name: "the graph is broken",
    means:
      "What a graph guarantees does not hold: types as inferred, values of the same function, weights and functions " +
      "declared. It is checked after every pass.",
    example: "A call that gives a function three values where it takes four.",
    fix: "In a text: correct it. After a pass: the pass is at fault; the graph from before is named beside this.",
  },
  DSC2011: {
    name: "an op without a meaning",
    means: "The interpreter evaluates ops by their reference, and this one has none.",
    example: "An op declared without `reference`.",
    fix: "Give it one: docs/howto.md, add an op.",
  },
  DSC2012: {
    name: "the interpreter lacks an input",
    means: "Interpreting needs a tensor for every parameter and every weight a function reads.",
    example: "interpret(module, func, { values: {} })",
    fix: "Give what is named.",
  },
  DSC2013: {
    name: "no value for a size",
    means: "Costs are judged at sizes that a function states. A symbol in a type is not among them.",
    example: "func @f(%x: [T, 4] f32) { ... } without assume {T = 16}, under a pass that fires when cheaper",
    fix: "Add it: func @f(...) assume {T = 16, B = 16, s = 4096} {",
  },
  ...longForms,
};
