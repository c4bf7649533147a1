// Which functions can be graphs: those whose launches no length changes. A loop over experts asks for its offsets, which an earlier
// kernel wrote; a graph cannot hold one, nor a function of a library unless its author says that it can be recorded.
import { inside, type Manifest, type Ref, type Step } from "../../../ir/artifact.ts";
import type { Size } from "../../../ir/size.ts";
import { functionOf } from "../../plan/dims.ts";

/** Whether the launches of a function depend on nothing but rows, sequences and pages: then one graph serves every length. */
export function lengthFree(manifest: Manifest, name: string, known = new Map<string, boolean>()): boolean {
  const cached = known.get(name);
  if (cached !== undefined) return cached;
  const plan = functionOf(manifest, name);
  const free = (s: Size): boolean =>
    typeof s === "string" ? s === "T" || s === "B" || s === "P" : typeof s === "number" || s.of.every(free);
  const fixed = (refs: readonly Ref[]): boolean => refs.every((r) => r.offset === undefined || free(r.offset));
  const ok = (steps: readonly Step[]): boolean =>
    steps.every((s) => {
      if (s.kind === "slices") return false;
      if (s.kind === "kernel") {
        const { call } = manifest.kernels[s.kernel];
        return (call === undefined || call.capture === true) && s.dims.every(free) && fixed(s.args);
      }
      if (s.kind === "call") return fixed(Object.values(s.args)) && lengthFree(manifest, s.function, known);
      if (s.kind === "collective") return free(s.outer) && free(s.inner) && fixed(s.args);
      return free(s.on) && ok(inside(s));
    });
  const result = plan.slots.every(free) && ok(plan.steps);
  known.set(name, result);
  return result;
}
