// DSC411x: what the CUDA printer of tile programs refuses.
import type { Gpu } from "../../../ir/machine.ts";
import { DiagnosticError, error, place } from "../../../ir/diagnostic.ts";

export const unknownBuffer = (kernel: string, name: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC4111", `kernel ${kernel}: ${name} is not one of its parameters`, {
      spans: [place(`kernel ${kernel}`)],
      help: "declare it among the kernel's buffers",
    }),
  );

export const noGrid = (kernel: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC4112", `kernel ${kernel} does not begin with its grid`, {
      spans: [place(`kernel ${kernel}`)],
      help: "call k.grid({ ... }) first; a kernel of one cell has extents of 1",
    }),
  );

export const tooMuchShared = (
  kernel: string,
  bytes: number,
  machine: Pick<Gpu, "arch" | "sharedPerBlock">,
  tiles: readonly string[],
): DiagnosticError =>
  new DiagnosticError(
    error(
      "DSC4113",
      `kernel ${kernel} needs ${bytes} bytes of shared memory a block; ${machine.arch} has ${machine.sharedPerBlock}`,
      {
        spans: [place(`kernel ${kernel}`)],
        notes: [`its tiles: ${tiles.join(", ")}`],
        help: "use smaller tiles in the tile program, or a native kernel for this problem",
      },
    ),
  );

export const threadsNotWarps = (kernel: string, threads: number): DiagnosticError =>
  new DiagnosticError(
    error("DSC4114", `kernel ${kernel}: ${threads} threads a block are no whole number of warps from 1 to 32`, {
      spans: [place(`kernel ${kernel}`)],
      help: "give a multiple of 32 up to 1024",
    }),
  );
