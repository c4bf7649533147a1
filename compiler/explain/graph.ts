// DSC2xxx: the graph, its text, and tile programs. Their words stand with the codes.
import { longForms as ofGraphs } from "../../ir/diagnostics.ts";
import { longForms as ofKernels } from "../../ir/kernel/diagnostics.ts";
import type { Entry } from "./entry.ts";

export const graph: Readonly<Record<string, Entry>> = { ...ofGraphs, ...ofKernels };
