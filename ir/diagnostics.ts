// DSC2xxx: what can be wrong with a graph or its text.
import { error, place, type Diagnostic, type Span } from "./diagnostic.ts";

/** `operands` are those given, in words. */
export const opMismatch = (op: string, problem: string, operands: readonly string[] = [], span?: Span): Diagnostic =>
  error("DSC2007", `${op}: ${problem}`, {
    spans: [span ?? place(op)],
    notes: operands.map((v, i) => `operand ${i}: ${v}`),
    help: `dsc ops ${op} shows its signature`,
  });

export const parseError = (problem: string, span: Span, help?: string): Diagnostic =>
  error("DSC2001", problem, {
    spans: [span],
    help: help ?? "compare with the texts in an artifact's graph folder: what dsc prints, it reads",
  });

export const unknownOp = (name: string, near: string | undefined, span: Span): Diagnostic =>
  error("DSC2002", `there is no op ${name}`, { spans: [span], help: near ? `did you mean ${near}?` : "dsc ops lists them" });

export const unknownValue = (name: string, near: string | undefined, span: Span): Diagnostic =>
  error("DSC2003", `${name} is not defined here`, {
    spans: [span],
    help: near ? `did you mean ${near}?` : "a value is defined above its use, and a weight at the head of the text",
  });

export const wrongType = (got: string, want: string, span: Span): Diagnostic =>
  error("DSC2004", "the type written is not the type inferred", {
    spans: [span],
    notes: [`written ${got}`, `inferred ${want}`],
    help: "write the inferred type, or leave the type out",
  });

/** `span` is the line of the text that the module was parsed from, or prints as. */
export const brokenGraph = (func: string, problem: string, span: Span): Diagnostic =>
  error("DSC2010", `@${func}: ${problem}`, { spans: [span], help: "dsc opt FILE.dsc -p none reads a text and checks it again" });

export const noMeaning = (op: string): Diagnostic =>
  error("DSC2011", `${op} has no reference meaning, so it cannot be interpreted`, {
    spans: [place(op)],
    help: "give the op a `reference`",
  });

export const missingInput = (what: string): Diagnostic =>
  error("DSC2012", `the interpreter was given no ${what}`, {
    spans: [place(what)],
    help: "give every parameter of the function, and every weight it reads",
  });

export const unknownSize = (symbol: string): Diagnostic =>
  error("DSC2013", `no value for the size ${symbol}`, {
    spans: [place(`size ${symbol}`)],
    help: "costs are judged at sizes the function states: func @f(...) assume {T = 16, B = 16, s = 4096} {",
  });
