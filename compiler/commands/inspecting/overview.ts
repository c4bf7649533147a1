// dsc inspect OUT: functions and kernels of an artifact.
import { inside, type Manifest, type Step } from "../../../ir/artifact.ts";
import { printSize } from "../../../ir/size.ts";
import { table } from "../../report/table.ts";
import { passOf } from "./graph.ts";

interface Facts {
  model: Manifest["model"];
  target: string;
  options: Manifest["options"];
  functions: Record<string, { steps: number; buffers: number }>;
  kernels: Record<string, { family: string; uses: number }>;
  passes: string[];
}

export function facts(m: Manifest): Facts {
  const uses = new Map<string, number>();
  const count = (steps: readonly Step[]): number =>
    steps.reduce((n, s) => {
      if (s.kind === "kernel") uses.set(s.kernel, (uses.get(s.kernel) ?? 0) + 1);
      return n + (inside(s).length ? count(inside(s)) : 1);
    }, 0);
  return {
    model: m.model,
    target: m.target,
    options: m.options,
    functions: Object.fromEntries(
      Object.values(m.functions).map((f) => [f.name, { steps: count(f.steps), buffers: f.slots.length }]),
    ),
    kernels: Object.fromEntries(
      Object.entries(m.kernels).map(([name, k]) => [name, { family: k.family, uses: uses.get(name) ?? 0 }]),
    ),
    passes: Object.keys(m.files)
      .filter((f) => f.startsWith("graph/"))
      .map(passOf),
  };
}

export function overview(m: Manifest): string {
  const f = facts(m);
  const functions = Object.entries(f.functions).map(([name, { steps, buffers }]) => [name, String(steps), String(buffers)]);
  const kernels = Object.entries(m.kernels).map(([name, k]) => [
    name,
    k.family,
    String(f.kernels[name].uses),
    k.cells === undefined ? "" : printSize(k.cells),
  ]);
  return [
    `${m.model.architecture} for ${m.target}: ${m.model.layers} layers, passes ${m.options.passes}, by dsc ${m.compiler}`,
    "",
    ...table(["function", "steps", "buffers"], functions, [1, 2]),
    "",
    ...table(["kernel", "family", "uses", "cells run in parallel"], kernels, [2]),
    ...(m.system ? ["", `launched by the runtime itself: ${Object.keys(m.system).join(", ")}`] : []),
    "",
    `graphs, by --after: ${f.passes.join(", ")}`,
    "",
  ].join("\n");
}
