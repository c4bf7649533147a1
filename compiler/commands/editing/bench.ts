// dsc kernel OUT NAME --bench: the edit beside the kernel as it was compiled.
import { DiagnosticError } from "../../../ir/diagnostic.ts";
import { editUntested, onValue, usage } from "../../diagnostics.ts";
import { plainTrial, stepFor, timed, type Timed } from "../../edit/bench.ts";
import { machineFor } from "../../edit/machines.ts";
import { sitesOfKernel, type KernelSite } from "../../edit/sites.ts";
import type { Step } from "../../edit/sizes.ts";
import { editOf, originalOf } from "../../edit/store.ts";
import { digits } from "../../report/table.ts";
import { checkWhole } from "../options.ts";
import { print, type Task } from "./actions.ts";

/** The place and the step that --rows ask for. */
export function stepAsked({ a, opened, kernel }: Task): { site: KernelSite; step: Step } {
  if (a.rows !== undefined) checkWhole("--rows", a.rows, 1, 65536);
  const found = stepFor(sitesOfKernel(opened, kernel), opened.manifest, a.rows);
  if (found) return found;
  const help = "leave --rows out, or give as many as the kernel is for: dsc why OUT kernels says";
  throw new DiagnosticError(usage({ problem: `kernel: no place runs ${kernel} at ${a.rows} rows`, help }, onValue("--rows")));
}

export async function tellBench(t: Task): Promise<void> {
  const { opened, kernel } = t;
  const found = stepAsked(t);
  const machine = await machineFor(opened);
  const refused = "why" in machine ? machine : { why: `${machine.where} says nothing of times`, needs: "a GPU" };
  if ("why" in machine || !machine.time) throw new DiagnosticError(editUntested({ kernel, ...refused }));
  try {
    const trial = plainTrial(found, opened.manifest);
    const original = originalOf(opened, kernel);
    const answer = await timed(
      machine as Parameters<typeof timed>[0],
      trial,
      found.site,
      [original, editOf(opened, kernel)],
      (name) => originalOf(opened, name),
    );
    print(t, answer, () => inWords(answer));
  } finally {
    machine.close?.();
  }
}

const us = (x: number): string => `${digits(x)} us`;

function inWords(x: Timed): string {
  const head = `${x.kernel} at ${x.site}: ${x.case}\non ${x.where}, median of ${x.rounds} rounds in turn\n`;
  if (x.edit_us === undefined) return `${head}as compiled  ${us(x.original_us)}; it is not edited\n`;
  const ratio = x.faster! >= 1 ? `${x.faster!.toFixed(2)} times as fast` : `${(1 / x.faster!).toFixed(2)} times as slow`;
  return `${head}as compiled  ${us(x.original_us)}\nedit         ${us(x.edit_us)}, ${ratio}\n`;
}
