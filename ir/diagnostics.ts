// DSC20xx: what can be wrong with a graph or its text.
import { coded, place } from "./diagnostic.ts";

/** `operands` are those given, in words. */
export const opMismatch = coded<{ op: string; problem: string; operands?: readonly string[] }>("DSC2007", {
  name: "operands do not fit the op",
  means:
    "An op's signature unifies letters over its operands: the same letter must be the same size everywhere. The note " +
    "lists the operands' types.",
  example: "%y = linear %x, @w, where %x has 7168 columns and @w has 7000",
  fix: "dsc ops NAME shows the signature. Inside a pass, the pattern's replacement has the wrong shape.",
  at: ({ op }) => [place(op)],
  short: (d) => ({
    title: `${d.op}: ${d.problem}`,
    notes: d.operands?.map((v, i) => `operand ${i}: ${v}`),
    help: `dsc ops ${d.op} shows its signature`,
  }),
});

export const parseError = coded<{ problem: string; help?: string | undefined }>("DSC2001", {
  name: "the text does not parse",
  means:
    "Module texts are what dsc prints: weights, functions, entries, load lines. The message gives the form that was " +
    "expected at the caret.",
  example: "$ dsc opt package.json -p none",
  fix: "Compare with a text in an artifact's graph folder: what dsc prints, it reads.",
  short: (d) => ({
    title: d.problem,
    help: d.help ?? "compare with the texts in an artifact's graph folder: what dsc prints, it reads",
  }),
});

export const unknownOp = coded<{ name: string; near?: string | undefined }>("DSC2002", {
  name: "no such op",
  means: "The word after = is no op of the graph.",
  example: "%y = rms_nrom %x, @gain",
  fix: "dsc ops lists all ops with their signatures.",
  short: (d) => ({
    title: `there is no op ${d.name}`,
    help: d.near ? `did you mean ${d.near}?` : "dsc ops lists them",
  }),
});

export const unknownValue = coded<{ name: string; near?: string | undefined }>("DSC2003", {
  name: "a value, weight or function that is not defined",
  means:
    "Values are defined above their use, inside the function or the region; weights at the head of the module; " +
    "functions before their callers.",
  example: "%y = add %x, %z, where nothing defines %z",
  fix: "Define it, or correct the name.",
  short: (d) => ({
    title: `${d.name} is not defined here`,
    help: d.near ? `did you mean ${d.near}?` : "a value is defined above its use, and a weight at the head of the text",
  }),
});

export const wrongType = coded<{ got: string; want: string }>("DSC2004", {
  name: "the written type is not the inferred one",
  means:
    "Types are inferred from operands; a type in the text is a claim that is checked. An edit often changes one and " +
    "not the other.",
  example: "%y = linear %x, @w : [T, 65] f32, where @w has 64 rows",
  fix: "Write the inferred type, or leave the type out.",
  short: (d) => ({
    title: "the type written is not the type inferred",
    notes: [`written ${d.got}`, `inferred ${d.want}`],
    help: "write the inferred type, or leave the type out",
  }),
});

/** `span` is the line of the text that the module was parsed from, or prints as. */
export const brokenGraph = coded<{ func: string; problem: string }>("DSC2010", {
  name: "the graph is broken",
  means:
    "What a graph guarantees does not hold: types as inferred, values of the same function, weights and functions " +
    "declared. It is checked after every pass.",
  example: "A call that gives a function three values where it takes four.",
  fix: "In a text: correct it. After a pass: the pass is at fault; the graph from before is named beside this.",
  short: (d) => ({
    title: `@${d.func}: ${d.problem}`,
    help: "dsc opt FILE.dsc -p none reads a text and checks it again",
  }),
});

export const noMeaning = coded<{ op: string }>("DSC2011", {
  name: "an op without a meaning",
  means: "The interpreter evaluates ops by their reference, and this one has none.",
  example: "An op declared without `reference`.",
  fix: "Give it one: docs/howto.md, add an op.",
  at: ({ op }) => [place(op)],
  short: (d) => ({
    title: `${d.op} has no reference meaning, so it cannot be interpreted`,
    help: "give the op a `reference`",
  }),
});

export const missingInput = coded<{ what: string }>("DSC2012", {
  name: "the interpreter lacks an input",
  means: "Interpreting needs a tensor for every parameter and every weight a function reads.",
  example: "interpret(module, func, { values: {} })",
  fix: "Give what is named.",
  at: ({ what }) => [place(what)],
  short: (d) => ({
    title: `the interpreter was given no ${d.what}`,
    help: "give every parameter of the function, and every weight it reads",
  }),
});

export const unknownSize = coded<{ symbol: string }>("DSC2013", {
  name: "no value for a size",
  means: "Costs are judged at sizes that a function states. A symbol in a type is not among them.",
  example: "func @f(%x: [T, 4] f32) { ... } without assume {T = 16}, under a pass that fires when cheaper",
  fix: "Add it: func @f(...) assume {T = 16, B = 16, s = 4096} {",
  at: ({ symbol }) => [place(`size ${symbol}`)],
  short: (d) => ({
    title: `no value for the size ${d.symbol}`,
    help: "costs are judged at sizes the function states: func @f(...) assume {T = 16, B = 16, s = 4096} {",
  }),
});

export const badMesh = coded<{ text: string; problem: string; option: string }>("DSC2014", {
  name: "no such mesh",
  means:
    "A mesh says how many ranks a model is divided over: tp of them, in ep groups that hold whole experts. Groups are of the same " +
    "ranks, so ep divides tp.",
  example: "$ dsc compile examples/tiny-r1 --mesh tp=4,ep=3",
  fix: "Write tp=8, or tp=8,ep=4.",
  at: ({ option }) => [place(option)],
  short: (d) => ({ title: `${JSON.stringify(d.text)} is no mesh: ${d.problem}`, help: "write tp=8, or tp=8,ep=4" }),
});

/** `meetings`: what each of the ranks that differ came to, in words. */
export const ranksDiffer = coded<{ meetings: readonly string[] }>("DSC2015", {
  name: "ranks meet in different collectives",
  means:
    "Every rank comes to the same collectives in the same order, over values of the same type: else one would wait for ever. Two " +
    "ranks came to different ones.",
  example: "a module for rank 0 that adds up %a, then %b, beside one for rank 1 that adds up %b, then %a",
  fix: "Collectives of a step are in one order: compare the two functions at the places that the notes name.",
  at: () => [place("collective")],
  short: (d) => ({
    title: "ranks meet in different collectives",
    notes: [...d.meetings],
    help: "compare the modules of these ranks there: collectives come in one order",
  }),
});

export const notDivisible = coded<{ what: string; problem: string }>("DSC2016", {
  name: "a value that does not divide over the ranks",
  means:
    "A rank's part of an axis is a whole number of elements, and of codes with block scales a whole number of blocks of 128: a block " +
    "has one scale.",
  example: "@wo : [7168, 1000/tp] e4m3/128x128 in a module with mesh {tp = 8}",
  fix: "Leave the axis whole, or take another number of ranks.",
  at: ({ what }) => [place(what)],
  short: (d) => ({ title: `${d.what}: ${d.problem}`, help: "leave the axis whole, or take another number of ranks" }),
});
