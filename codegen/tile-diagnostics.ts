// What every printer and lowering refuses of a tile program; each has a code of its own for it.
import { place, thrown, type Coded, type DiagnosticError } from "../ir/diagnostic.ts";

export const undeclaredBuffer = (code: string, who: string): Coded<{ kernel: string; name: string }, DiagnosticError> =>
  thrown(code, {
    name: `${who}: an unknown buffer`,
    means: "A statement of the tile program names a buffer that is not among its parameters.",
    example: "load y[...] in a kernel whose parameters are x and out z",
    fix: "Declare it. In a kernel of dsc itself this is a fault: please report it.",
    at: ({ kernel }) => [place(`kernel ${kernel}`)],
    short: ({ kernel, name }) => ({
      title: `kernel ${kernel}: ${name} is not one of its parameters`,
      help: "declare it among the kernel's buffers",
    }),
  });

export const withoutGrid = (code: string, who: string): Coded<{ kernel: string }, DiagnosticError> =>
  thrown(code, {
    name: `${who}: no grid`,
    means: "The grid is a tile program's first statement: it says what cells there are.",
    example: "A kernel that begins with a load.",
    fix: "Call k.grid({ ... }) first; a kernel of one cell has extents of 1.",
    at: ({ kernel }) => [place(`kernel ${kernel}`)],
    short: ({ kernel }) => ({
      title: `kernel ${kernel} does not begin with its grid`,
      help: "call k.grid({ ... }) first; a kernel of one cell has extents of 1",
    }),
  });
