// The tile programs of a compiled model, by the names its artifact gives them: the driver's selection without a target's text.
import { targetOf } from "../../codegen/target.ts";
import { families } from "../../codegen/kernels/index.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import type { Chosen } from "../../ir/kernel/catalogue.ts";
import { selectModule, type Draft } from "../../passes/plan/select.ts";

/** Every kernel of SRC once, in the order of the artifact; tiles have the sizes the target asks for. */
export function kernelsOfModel(src: string, target: "cpu" | "cuda" = "cpu"): Kernel[] {
  const { outcome } = compile(src, defaults);
  const seen = new Map<string, Kernel>();
  const names = new Set<string>();
  for (const f of selectModule(outcome.module, targetOf(target, { ...defaults, natives: "none" }).catalogue))
    for (const { family, problem } of launches(f.steps)) {
      const key = `${family} ${JSON.stringify(problem)}`;
      if (seen.has(key)) continue;
      const kernel = families[family].kernel(problem);
      let name = kernel.name;
      for (let i = 2; names.has(name); i++) name = `${kernel.name}_${i}`;
      names.add(name);
      seen.set(key, { ...kernel, name });
    }
  return [...seen.values()];
}

const launches = (steps: readonly Draft[]): Chosen[] =>
  steps.flatMap((s) =>
    s.kind === "kernel"
      ? [s.chosen]
      : s.kind === "slices"
        ? launches(s.steps)
        : s.kind === "cases"
          ? s.cases.flatMap((c) => launches(c.steps))
          : [],
  );
