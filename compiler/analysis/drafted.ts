// The launches of an artifact with the nodes they serve: its last graph, planned again by the target it is for.
import type { Manifest } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Module } from "../../ir/graph.ts";
import { targetOf } from "../../codegen/target.ts";
import { inSteps, selectModule } from "../../passes/plan/select.ts";
import { launchesOf, type Experts, type Launch } from "./launches.ts";
import { plannedFrom } from "./planned.ts";
import { optionsFor } from "./roofline.ts";

export interface Drafted {
  module: Module;
  experts: Experts;
  /** The launches of a function, cases one after another; none of a function that there is not. */
  launches(func: string): readonly Launch[];
}

/** Undefined where the graph or its kernels are not known here: they are a plug-in's. */
export function draftedFrom(m: Manifest, read: (name: string) => string): Drafted | undefined {
  try {
    const planned = plannedFrom(m, read);
    const { module, experts } = planned;
    const target = targetOf(planned.target, optionsFor(planned));
    const steps = m.options.deterministic === undefined ? undefined : target.batchInvariant?.catalogue;
    const drafts = selectModule(module, target.catalogue, steps && inSteps(module, steps, target.catalogue));
    const placed = new Map(drafts.map((d) => [d.name, launchesOf(module.funcs.get(d.name)!, d)]));
    return { module, experts, launches: (func) => placed.get(func) ?? [] };
  } catch (e) {
    if (e instanceof DiagnosticError && m.options.plugins !== undefined) return undefined;
    throw e;
  }
}
