// Where a kernel of an artifact runs: the nodes of the last graph that it serves, with all launches of each, as the compile
// planned them.
import { archOf } from "../../codegen/cuda/archs.ts";
import { targetOf } from "../../codegen/target.ts";
import type { Manifest } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Func } from "../../ir/graph.ts";
import { selectModule, inSteps, type Draft } from "../../passes/plan/select.ts";
import type { Launch, Range } from "../analysis/launches.ts";
import { plannedFrom } from "../analysis/planned.ts";
import { optionsFor } from "../analysis/roofline.ts";
import { problemsOf } from "../artifact/side-files.ts";
import { editUnknown } from "../diagnostics.ts";
import { readTuning } from "../tuning/store.ts";

export type Kernel = Extract<Draft, { kind: "kernel" }>;

/** One place of a kernel: its launch, and those of the same node before and after it. */
export interface KernelSite extends Pick<Launch, "func" | "per"> {
  draft: Kernel;
  group: readonly Kernel[];
  range?: Range;
  /** The kernel's name by its launch. */
  nameOf(k: Kernel): string;
}

/** The artifact of a folder, with its texts. */
export interface Opened {
  folder: string;
  manifest: Manifest;
  files: ReadonlyMap<string, Uint8Array>;
}

const textIn = ({ files }: Pick<Opened, "files">, name: string): string => Buffer.from(files.get(name) ?? []).toString("utf8");

const key = (family: string, problem: object): string => `${family} ${JSON.stringify(problem)}`;

/** Every place of a kernel, in the order of the plan; throws where the plan of the artifact cannot be made again. */
export function sitesOfKernel(opened: Opened, kernel: string): KernelSite[] {
  const { manifest, files } = opened;
  const planned = plannedFrom(manifest, (name) => textIn(opened, name));
  const names = new Map(Object.entries(problemsOf(files)).map(([name, p]) => [key(manifest.kernels[name].family, p), name]));
  const nameOf = (k: Kernel): string => names.get(key(k.chosen.family, k.chosen.problem)) ?? k.chosen.family;
  const tuned = manifest.gpu && readTuning(archOf(manifest.gpu.arch).name)?.rows;
  for (const measured of tuned ? [tuned, undefined] : [undefined]) {
    const target = targetOf(manifest.target, { ...optionsFor(planned), ...(measured ? { tuned: measured } : {}) });
    const steps = manifest.options.deterministic === undefined ? undefined : target.batchInvariant?.catalogue;
    const drafts = selectModule(planned.module, target.catalogue, steps && inSteps(planned.module, steps, target.catalogue));
    const found = drafts.flatMap((d) => placesIn(planned.module.funcs.get(d.name)!, d.steps, (k) => nameOf(k) === kernel));
    if (found.length) return found.map((f) => ({ ...f, nameOf }));
  }
  throw new DiagnosticError(editUnknown({ kernel, where: opened.folder }));
}

type Found = Omit<KernelSite, "nameOf">;

function placesIn(func: Func, steps: readonly Draft[], wanted: (k: Kernel) => boolean): Found[] {
  const walk = (list: readonly Draft[], per: Launch["per"], range?: Range): Found[] =>
    list.flatMap((s): Found[] => {
      if (s.kind === "slices") return walk(s.steps, s.over, range);
      if (s.kind === "cases")
        return s.cases.flatMap((c, i) => walk(c.steps, per, { on: s.on, from: (s.cases[i - 1]?.most ?? 0) + 1, most: c.most }));
      if (s.kind !== "kernel" || !wanted(s)) return [];
      const group = list.filter((k): k is Kernel => k.kind === "kernel" && (k === s || (s.node !== null && k.node === s.node)));
      return [{ func, draft: s, group, per, ...(range ? { range } : {}) }];
    });
  return walk(steps, "step");
}
