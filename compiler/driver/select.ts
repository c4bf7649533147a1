// Third verb of a compile: every node becomes launches of kernels that the target offers.
import type { TargetBackend } from "../../codegen/backend.ts";
import { everyNode, type Node } from "../../ir/index.ts";
import { inSteps, selectModule, type DraftFunc, type MakerOf } from "../../passes/plan/select.ts";
import type { Outcome, Pass } from "../../passes/index.ts";
import type { Optimised } from "./optimise.ts";

/** Plans of all functions, their memory not yet shared. With `batchInvariant`, steps choose from that catalogue. */
export function select(
  { outcome, passes }: Optimised,
  target: TargetBackend,
  batchInvariant: TargetBackend["batchInvariant"],
): DraftFunc[] {
  const { module } = outcome;
  // A step takes all sequences at once; everything else takes one at a time then (runtime/session.ts).
  const catalogueOf = batchInvariant ? inSteps(module, batchInvariant.catalogue, target.catalogue) : undefined;
  return selectModule(module, target.catalogue, catalogueOf, makerIn(outcome, passes));
}

/** Which pass a node came with, and the plug-in that has it: what is said where a target has no kernel for it. */
const makerIn =
  ({ snapshots }: Outcome, passes: readonly Pass[]): MakerOf =>
  (f, n) => {
    // Passes after it rebuild what reads another value: the same op, attributes and types are the same node.
    const same = (x: Node): boolean =>
      x === n ||
      (x.op === n.op &&
        JSON.stringify([x.attrs, x.results.map((r) => r.type)]) === JSON.stringify([n.attrs, n.results.map((r) => r.type)]));
    const first = snapshots.find((s) => s.module.funcs.has(f.name) && everyNode(s.module.funcs.get(f.name)!).some(same));
    const p = passes.find((x) => x.name === first?.pass);
    if (!p) return first === undefined ? undefined : "the frontend wrote it";
    return p.plugin ? `pass ${p.name} made it: the plug-in ${p.plugin.file}` : `pass ${p.name} made it`;
  };
