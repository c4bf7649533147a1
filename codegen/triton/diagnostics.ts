// DSC412x: what the Triton printer of tile programs refuses, by the statement's name.
import { place, thrown } from "../../ir/diagnostic.ts";
import { undeclaredBuffer, withoutGrid } from "../tile-diagnostics.ts";
import type { StmtKind } from "../../ir/kernel/stmt.ts";

export const noGrid = withoutGrid("DSC4121", "Triton printer");

export const unknownBuffer = undeclaredBuffer("DSC4122", "Triton printer");

export const cannotSay = thrown<{ kernel: string; kind: StmtKind; why: string }>("DSC4123", {
  name: "Triton cannot say a statement",
  means:
    "Triton has whole-block values and no shared arrays a kernel names; some tile statements have no words there. The note says why.",
  example: "A running sum read back at a data-dependent index.",
  fix: "Print it for CUDA, which takes every statement.",
  at: ({ kernel }) => [place(`kernel ${kernel}`)],
  short: ({ kernel, kind, why }) => ({
    title: `kernel ${kernel}: Triton cannot say this ${kind}`,
    notes: [why],
    help: "print it for CUDA, which takes every statement",
  }),
});
