// DSC21xx: what can be wrong with a tile program, or with the buffers it is interpreted on.
import { DiagnosticError, didYouMean, error, place } from "../diagnostic.ts";

export const missingBuffer = (kernel: string, name: string): DiagnosticError =>
  new DiagnosticError(error("DSC2101", `kernel ${kernel}: no buffer was given for parameter ${name}`, { spans: [place(`kernel ${kernel}`)], help: "give every parameter of the kernel a buffer" }));

export const wrongBuffer = (kernel: string, name: string, dtype: string, want: string): DiagnosticError =>
  new DiagnosticError(error("DSC2102", `kernel ${kernel}: ${name} is ${dtype}, which is kept in a ${want}`, { spans: [place(`kernel ${kernel}`)], help: `give a ${want}` }));

export const outOfBounds = (kernel: string, name: string, at: readonly number[], element: number, length: number): DiagnosticError =>
  new DiagnosticError(
    error("DSC2103", `kernel ${kernel}: ${name}[${at.join(", ")}] lies outside its buffer`, {
      spans: [place(`kernel ${kernel}`)],
      notes: [`element ${element} of ${length}`],
      help: "a Place without rowLimit or colLimit promises that the whole tile is inside",
    }),
  );

export const unbound = (kernel: string, name: string, known: readonly string[]): DiagnosticError => {
  const near = didYouMean(name, known);
  return new DiagnosticError(
    error("DSC2104", `kernel ${kernel} uses ${name} before it has a value`, { spans: [place(`kernel ${kernel}`)], notes: [`in scope: ${known.join(", ") || "nothing"}`], help: near ? `did you mean ${near}?` : "give it a value first: an axis of the grid, a loop, a scalar or a dim" }),
  );
};

export const unwritten = (kernel: string, tile: string): DiagnosticError => new DiagnosticError(error("DSC2105", `kernel ${kernel}: tile ${tile} is read before it is written`, { spans: [place(`kernel ${kernel}`)], help: "load it, fill it or compute it first" }));

export const noGrid = (kernel: string): DiagnosticError =>
  new DiagnosticError(error("DSC2106", `kernel ${kernel} does not begin with its grid`, { spans: [place(`kernel ${kernel}`)], help: "call k.grid({ ... }) first; a kernel of one cell has extents of 1" }));
