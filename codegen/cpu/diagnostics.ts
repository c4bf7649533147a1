// What the CPU lowering refuses, by name. A tile program that reaches it has passed its own checks, so these are rare.
import { DiagnosticError, didYouMean, error, place } from "../../ir/diagnostic.ts";

export function unboundName(name: string, known: string[]): DiagnosticError {
  const near = didYouMean(name, known);
  return new DiagnosticError(
    error("DSC4201", `the tile program uses ${name} before it has a value`, {
      spans: [place(name)],
      notes: [`in scope: ${known.join(", ") || "nothing"}`],
      help: near ? `did you mean ${near}?` : "give it a value first: an axis of the grid, a loop, a scalar or a dim",
    }),
  );
}

export function unknownBuffer(kernel: string, name: string): DiagnosticError {
  return new DiagnosticError(
    error("DSC4202", `kernel ${kernel}: ${name} is not one of its parameters`, {
      spans: [place(`kernel ${kernel}`)],
      help: "declare it among the kernel's buffers",
    }),
  );
}

export function undefinedTile(kernel: string, name: string): DiagnosticError {
  return new DiagnosticError(
    error("DSC4203", `kernel ${kernel}: tile ${name} is read before it is written`, {
      spans: [place(`kernel ${kernel}`)],
      help: "load it, fill it or compute it first",
    }),
  );
}

export function needsGrid(kernel: string): DiagnosticError {
  return new DiagnosticError(
    error("DSC4204", `kernel ${kernel} does not begin with its grid`, {
      spans: [place(`kernel ${kernel}`)],
      help: "call k.grid({ ... }) first; a kernel of one cell has extents of 1",
    }),
  );
}
