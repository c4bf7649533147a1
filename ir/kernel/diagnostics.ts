// DSC21xx: what can be wrong with a tile program, with its text, or with the buffers it is interpreted on.
import { DiagnosticError, didYouMean, error, place, type Diagnostic, type Span } from "../diagnostic.ts";

export const missingBuffer = (kernel: string, name: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC2101", `kernel ${kernel}: no buffer was given for parameter ${name}`, {
      spans: [place(`kernel ${kernel}`)],
      help: "give every parameter of the kernel a buffer",
    }),
  );

export const wrongBuffer = (kernel: string, name: string, dtype: string, want: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC2102", `kernel ${kernel}: ${name} is ${dtype}, which is kept in a ${want}`, {
      spans: [place(`kernel ${kernel}`)],
      help: `give a ${want}`,
    }),
  );

export const outOfBounds = (
  kernel: string,
  name: string,
  at: readonly number[],
  element: number,
  length: number,
): DiagnosticError =>
  new DiagnosticError(
    error("DSC2103", `kernel ${kernel}: ${name}[${at.join(", ")}] lies outside its buffer`, {
      spans: [place(`kernel ${kernel}`)],
      notes: [`element ${element} of ${length}`],
      help: "a Place without rowLimit or colLimit promises that the whole tile is inside",
    }),
  );

/** `span` is where the name stands in a text. */
export const unbound = (
  kernel: string,
  name: string,
  known: readonly string[],
  span: Span = place(`kernel ${kernel}`),
): DiagnosticError => {
  const near = didYouMean(name, known);
  return new DiagnosticError(
    error("DSC2104", `kernel ${kernel} uses ${name} before it has a value`, {
      spans: [span],
      notes: [`in scope: ${known.join(", ") || "nothing"}`],
      help: near ? `did you mean ${near}?` : "give it a value first: an axis of the grid, a loop, a scalar or a dim",
    }),
  );
};

export const unwritten = (kernel: string, tile: string, span: Span = place(`kernel ${kernel}`), near?: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC2105", `kernel ${kernel}: tile ${tile} is read before it is written`, {
      spans: [span],
      help: near === undefined ? "load it, fill it or compute it first" : `did you mean ${near}?`,
    }),
  );

export const noGrid = (kernel: string, span: Span = place(`kernel ${kernel}`)): DiagnosticError =>
  new DiagnosticError(
    error("DSC2106", `kernel ${kernel} does not begin with its grid`, {
      spans: [span],
      help: "call k.grid({ ... }) first; a kernel of one cell has extents of 1",
    }),
  );

/** The text is not one that dsc prints. */
export const kernelText = (problem: string, span: Span, help?: string): Diagnostic =>
  error("DSC2107", problem, {
    spans: [span],
    help: help ?? "compare with what dsc inspect OUT KERNEL prints: what dsc prints, it reads",
  });

/** A statement is formed as it should be and cannot be meant. */
export const brokenKernel = (kernel: string, problem: string, span: Span, help: string): Diagnostic =>
  error("DSC2108", `kernel ${kernel}: ${problem}`, { spans: [span], help });

export const noSuchBuffer = (kernel: string, name: string, known: readonly string[], span: Span): Diagnostic => {
  const near = didYouMean(name, known);
  return error("DSC2109", `kernel ${kernel} has no parameter ${name}`, {
    spans: [span],
    notes: [`parameters: ${known.join(", ") || "none"}`],
    help: near ? `did you mean ${near}?` : "declare it between the brackets of the kernel",
  });
};
