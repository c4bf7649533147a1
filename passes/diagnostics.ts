// DSC3xxx: what can be wrong with passes, and DSC9xxx for a pass that broke the graph.
import { error, place, type Diagnostic } from "../ir/diagnostic.ts";

export const unknownPass = (name: string, near: string | undefined, names: readonly string[]): Diagnostic =>
  error("DSC3001", `there is no pass named ${JSON.stringify(name)}`, { spans: [place("the names of passes")], notes: [`passes: ${names.join(", ")}`], help: near ? `did you mean ${near}?` : "all and none are words too" });

export const ruleShape = (rule: string): Diagnostic => error("DSC3002", `the pattern of rule "${rule}" does not type-check`, { spans: [place(`rule "${rule}"`)], help: "both sides are built with the ordinary builders from `vars`; give the holes types that fit" });

export const contractBroken = (pass: string, what: string, want: number, got: number): Diagnostic =>
  error("DSC3003", `${pass} fired ${got} times for ${what}, but this config needs ${want}`, {
    spans: [place(`pass ${pass}`)],
    notes: ["a pass that silently stops firing gives a slower model; the contract makes it an error"],
    help: "dsc opt on the module's text shows where the pattern is lost",
  });

export const passBroke = (pass: string, before: string): Diagnostic =>
  error("DSC9001", `pass ${pass} broke the graph`, { spans: [place(`pass ${pass}`)], notes: [`the graph from just before begins: ${before.split("\n").slice(0, 3).join(" / ")}`], help: "this is a fault in the pass, not in your config" });

export const noKernel = (op: string, target: string, reason: string): Diagnostic =>
  error("DSC3010", `${target} has no kernel for ${op}`, { spans: [place(op)], notes: [reason], help: "dsc ops lists which targets have a kernel for which op" });
