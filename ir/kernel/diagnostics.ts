// DSC21xx: what can be wrong with a tile program, with its text, or with the buffers it is interpreted on.
import { coded, didYouMean, place, thrown, type Span } from "../diagnostic.ts";

const FAULT = "This is a fault of a kernel family or of a plug-in's kernel, not of a model.";
const at = (kernel: string): Span => place(`kernel ${kernel}`);
const near = (name: string, known: readonly string[], otherwise: string): string => {
  const found = didYouMean(name, known);
  return found === undefined ? otherwise : `did you mean ${found}?`;
};

export const missingBuffer = thrown<{ kernel: string; name: string }>("DSC2101", {
  name: "a kernel's buffer is missing",
  means: `Interpreting a tile program needs a buffer for every parameter. ${FAULT}`,
  example: "interpretKernel(k, {})",
  fix: "Give the buffer.",
  at: ({ kernel }) => [at(kernel)],
  short: (d) => ({
    title: `kernel ${d.kernel}: no buffer was given for parameter ${d.name}`,
    help: "give every parameter of the kernel a buffer",
  }),
});

export const wrongBuffer = thrown<{ kernel: string; name: string; dtype: string; want: string }>("DSC2102", {
  name: "a kernel's buffer has the wrong kind",
  means: "f32 is kept in a Float32Array, i32 in an Int32Array, bf16 in a Uint16Array, e4m3 in a Uint8Array.",
  example: "A Float64Array for an f32 parameter.",
  fix: "Give the array that is named.",
  at: ({ kernel }) => [at(kernel)],
  short: (d) => ({
    title: `kernel ${d.kernel}: ${d.name} is ${d.dtype}, which is kept in a ${d.want}`,
    help: `give a ${d.want}`,
  }),
});

export const outOfBounds = thrown<{ kernel: string; name: string; indices: readonly number[]; element: number; length: number }>(
  "DSC2103",
  {
    name: "a tile reaches outside its buffer",
    means: `Every access is checked. A place without a limit promises that the whole tile is inside. ${FAULT}`,
    example: "load x[0, 0 : 128] of a row of 96",
    fix: "Mask the place: x[0, 0 : 128 | 96].",
    at: ({ kernel }) => [at(kernel)],
    short: (d) => ({
      title: `kernel ${d.kernel}: ${d.name}[${d.indices.join(", ")}] lies outside its buffer`,
      notes: [`element ${d.element} of ${d.length}`],
      help: "a Place without rowLimit or colLimit promises that the whole tile is inside",
    }),
  },
);

/** `span` is where the name stands in a text. */
export const unbound = thrown<{ kernel: string; name: string; known: readonly string[] }>("DSC2104", {
  name: "a name without a value in a tile program",
  means: "An index names no axis of the grid, loop, scalar or dim in scope.",
  example: "load x[j, 0 : 4] inside grid i < m",
  fix: "Use a name in scope; the note lists them.",
  at: ({ kernel }) => [at(kernel)],
  short: (d) => ({
    title: `kernel ${d.kernel} uses ${d.name} before it has a value`,
    notes: [`in scope: ${d.known.join(", ") || "nothing"}`],
    help: near(d.name, d.known, "give it a value first: an axis of the grid, a loop, a scalar or a dim"),
  }),
});

export const unwritten = thrown<{ kernel: string; tile: string; near?: string | undefined }>("DSC2105", {
  name: "a tile is read before it is written",
  means: "Tiles have no value until a load, fill or map gives them one.",
  example: "acc += part without acc = 0 before",
  fix: "Fill or load it first.",
  at: ({ kernel }) => [at(kernel)],
  short: (d) => ({
    title: `kernel ${d.kernel}: tile ${d.tile} is read before it is written`,
    help: d.near === undefined ? "load it, fill it or compute it first" : `did you mean ${d.near}?`,
  }),
});

export const noGrid = thrown<{ kernel: string }>("DSC2106", {
  name: "a tile program without its grid",
  means: "The grid is the first statement: it says what cells there are.",
  example: 'kernel("k", ...) whose body begins with a load',
  fix: "Call k.grid({ ... }) first; a kernel of one cell has extents of 1.",
  at: ({ kernel }) => [at(kernel)],
  short: (d) => ({
    title: `kernel ${d.kernel} does not begin with its grid`,
    help: "call k.grid({ ... }) first; a kernel of one cell has extents of 1",
  }),
});

/** The text is not one that dsc prints. */
export const kernelText = coded<{ problem: string; help?: string | undefined }>("DSC2107", {
  name: "the text of a tile program does not parse",
  means:
    "A kernel's text is what dsc prints: a head, then one statement a line, blocks set in by two blanks. " +
    "The message gives what was expected at the caret.",
  example: "x: f32[m, 8] without the comma behind it",
  fix: "Compare with what dsc inspect OUT KERNEL prints: what dsc prints, it reads.",
  short: (d) => ({
    title: d.problem,
    help: d.help ?? "compare with what dsc inspect OUT KERNEL prints: what dsc prints, it reads",
  }),
});

/** A statement is formed as it should be and cannot be meant. */
export const brokenKernel = coded<{ kernel: string; problem: string; help: string }>("DSC2108", {
  name: "a tile program that cannot be meant",
  means:
    "A statement is formed as it should be, but its extents, dtypes or axes do not fit, an input is written, or an output never is. " +
    "The message names the line.",
  example: "store x[i] = v, where x is only read",
  fix: "Correct the statement that is named. In a kernel of dsc itself this is a fault: please report it.",
  short: (d) => ({ title: `kernel ${d.kernel}: ${d.problem}`, help: d.help }),
});

export const noSuchBuffer = coded<{ kernel: string; name: string; known: readonly string[] }>("DSC2109", {
  name: "a buffer that a tile program does not declare",
  means: "Loads, stores and scalars name parameters of the kernel.",
  example: "load xs[i], where the parameter is x",
  fix: "Declare it between the brackets of the kernel, or correct the name.",
  short: (d) => ({
    title: `kernel ${d.kernel} has no parameter ${d.name}`,
    notes: [`parameters: ${d.known.join(", ") || "none"}`],
    help: near(d.name, d.known, "declare it between the brackets of the kernel"),
  }),
});
