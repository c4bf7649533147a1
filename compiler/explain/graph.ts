// DSC2xxx: the graph, its text, and tile programs.
import type { Entry } from "./entry.ts";

const kernelFault = "This is a fault of a kernel family or of a plug-in's kernel, not of a model.";

export const graph: Readonly<Record<string, Entry>> = {
  DSC2001: {
    name: "the text does not parse",
    means: "Module texts are what dsc prints: weights, functions, entries, load lines. The message gives the form that was expected at the caret.",
    example: "$ dsc opt package.json -p none",
    fix: "Compare with a text in an artifact's graph folder: what dsc prints, it reads.",
  },
  DSC2002: { name: "no such op", means: "The word after = is no op of the graph.", example: "%y = rms_nrom %x, @gain", fix: "dsc ops lists all ops with their signatures." },
  DSC2003: {
    name: "a value, weight or function that is not defined",
    means: "Values are defined above their use, inside the function or the region; weights at the head of the module; functions before their callers.",
    example: "%y = add %x, %z, where nothing defines %z",
    fix: "Define it, or correct the name.",
  },
  DSC2004: {
    name: "the written type is not the inferred one",
    means: "Types are inferred from operands; a type in the text is a claim that is checked. An edit often changes one and not the other.",
    example: "%y = linear %x, @w : [T, 65] f32, where @w has 64 rows",
    fix: "Write the inferred type, or leave the type out.",
  },
  DSC2007: {
    name: "operands do not fit the op",
    means: "An op's signature unifies letters over its operands: the same letter must be the same size everywhere. The note lists the operands' types.",
    example: "%y = linear %x, @w, where %x has 7168 columns and @w has 7000",
    fix: "dsc ops NAME shows the signature. Inside a pass, the pattern's replacement has the wrong shape.",
  },
  DSC2010: {
    name: "the graph is broken",
    means: "What a graph guarantees does not hold: types as inferred, values of the same function, weights and functions declared. It is checked after every pass.",
    example: "A call that gives a function three values where it takes four.",
    fix: "In a text: correct it. After a pass: the pass is at fault; the graph from before is named beside this.",
  },
  DSC2011: { name: "an op without a meaning", means: "The interpreter evaluates ops by their reference, and this one has none.", example: "An op declared without `reference`.", fix: "Give it one: docs/howto.md, add an op." },
  DSC2012: { name: "the interpreter lacks an input", means: "Interpreting needs a tensor for every parameter and every weight a function reads.", example: "interpret(module, func, { values: {} })", fix: "Give what is named." },
  DSC2013: {
    name: "no value for a size",
    means: "Costs are judged at sizes that a function states. A symbol in a type is not among them.",
    example: "func @f(%x: [T, 4] f32) { ... } without assume {T = 16}, under a pass that fires when cheaper",
    fix: "Add it: func @f(...) assume {T = 16, B = 16, s = 4096} {",
  },
  DSC2101: { name: "a kernel's buffer is missing", means: `Interpreting a tile program needs a buffer for every parameter. ${kernelFault}`, example: "interpretKernel(k, {})", fix: "Give the buffer." },
  DSC2102: { name: "a kernel's buffer has the wrong kind", means: "f32 is kept in a Float32Array, i32 in an Int32Array, bf16 in a Uint16Array, e4m3 in a Uint8Array.", example: "A Float64Array for an f32 parameter.", fix: "Give the array that is named." },
  DSC2103: {
    name: "a tile reaches outside its buffer",
    means: `Every access is checked. A place without a limit promises that the whole tile is inside. ${kernelFault}`,
    example: "load x[0, 0 : 128] of a row of 96",
    fix: "Mask the place: x[0, 0 : 128 | 96].",
  },
  DSC2104: { name: "a name without a value in a tile program", means: "An index names no axis of the grid, loop, scalar or dim in scope.", example: "load x[j, 0 : 4] inside grid i < m", fix: "Use a name in scope; the note lists them." },
  DSC2105: { name: "a tile is read before it is written", means: "Tiles have no value until a load, fill or map gives them one.", example: "acc += part without acc = 0 before", fix: "Fill or load it first." },
  DSC2106: { name: "a tile program without its grid", means: "The grid is the first statement: it says what cells there are.", example: "kernel(\"k\", ...) whose body begins with a load", fix: "Call k.grid({ ... }) first; a kernel of one cell has extents of 1." },
  DSC2107: {
    name: "the text of a tile program does not parse",
    means: "A kernel's text is what dsc prints: a head, then one statement a line, blocks set in by two blanks. The message gives what was expected at the caret.",
    example: "x: f32[m, 8] without the comma behind it",
    fix: "Compare with what dsc inspect OUT KERNEL prints: what dsc prints, it reads.",
  },
  DSC2108: {
    name: "a tile program that cannot be meant",
    means: "A statement is formed as it should be, but its extents, dtypes or axes do not fit, an input is written, or an output never is. The message names the line.",
    example: "store x[i] = v, where x is only read",
    fix: "Correct the statement that is named. In a kernel of dsc itself this is a fault: please report it.",
  },
  DSC2109: { name: "a buffer that a tile program does not declare", means: "Loads, stores and scalars name parameters of the kernel.", example: "load xs[i], where the parameter is x", fix: "Declare it between the brackets of the kernel, or correct the name." },
};
