// The launches of dsc_fill, which makes synthetic weights where they will lie (codegen/cuda/system/fill.ts).
import { FILL_FORMS } from "../../../ir/system.ts";
import type { FillJob } from "../../device.ts";

/** A job as jobs of a run each, where it has runs. */
export function runByRun({ runs, ...job }: FillJob): FillJob[] {
  if (!runs) return [job];
  const { width, pitch, apart } = runs;
  return Array.from({ length: job.count / width }, (_, r) => ({
    ...job,
    at: job.at + r * apart * job.bytes,
    start: job.start + r * pitch,
    count: width,
  }));
}

/** The scalars of a job. */
export function fillScalars({ recipe, start, count, runs }: FillJob): Record<string, number> {
  const scale = recipe.form === "scale" || recipe.form === "scale-ue8m0";
  return {
    key: recipe.key | 0,
    start,
    count,
    ...runs,
    form: FILL_FORMS.indexOf(recipe.form),
    plus: recipe.plus,
    step: 2 ** (recipe.exponent - (scale ? 8 : 15)),
  };
}
