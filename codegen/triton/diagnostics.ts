// DSC412x: what the Triton printer of tile programs refuses, by the statement's name.
import { DiagnosticError, error, place } from "../../ir/diagnostic.ts";
import type { StmtKind } from "../../ir/kernel/stmt.ts";

export const noGrid = (kernel: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC4121", `kernel ${kernel} does not begin with its grid`, {
      spans: [place(`kernel ${kernel}`)],
      help: "call k.grid({ ... }) first; a kernel of one cell has extents of 1",
    }),
  );

export const unknownBuffer = (kernel: string, name: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC4122", `kernel ${kernel}: ${name} is not one of its parameters`, {
      spans: [place(`kernel ${kernel}`)],
      help: "declare it among the kernel's buffers",
    }),
  );

export const cannotSay = (kernel: string, kind: StmtKind, why: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC4123", `kernel ${kernel}: Triton cannot say this ${kind}`, {
      spans: [place(`kernel ${kernel}`)],
      notes: [why],
      help: "print it for CUDA, which takes every statement",
    }),
  );
