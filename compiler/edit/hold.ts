// Holds a kernel to its op: trials at many steps, each result compared element by element with what the op's reference says.
import type { EditProof, Manifest } from "../../ir/artifact.ts";
import type { Filling } from "../../passes/instance.ts";
import type { Fault, Machine, Program } from "./machine.ts";
import { judge, type ResultError, type WrongElement } from "./judge.ts";
import type { KernelSite } from "./sites.ts";
import { stepsOf, type Step } from "./sizes.ts";
import { elementsAt, judged, trialOf, workAt, type Trial } from "./trial.ts";

/** One trial of a test. */
export interface CaseReport {
  /** The place in the graph, and the sizes. */
  site: string;
  case: string;
  results: ResultError[];
  fault?: Fault;
}

/** What came of a test. */
export interface Report {
  kernel: string;
  on: EditProof["on"];
  where: string;
  /** The ops that it was held to; "the kernel as it was compiled" where none can judge. */
  against: string[];
  cases: CaseReport[];
  /** Why sizes were left out. */
  left: string[];
  proved: boolean;
}

/** Operations that references of one test may take in all, and bytes of operands that a trial may have. */
const BUDGET = 4e8;
const MOST_BYTES = 3.5e9;
/** Steps of a place on what stands in for a GPU. */
const FEW = 6;

/** Places that differ in what the kernel is asked. */
function distinct(sites: readonly KernelSite[]): KernelSite[] {
  const keyOf = ({ draft, per, func, range }: KernelSite): string =>
    JSON.stringify([
      func.name.split("/")[0],
      per,
      range,
      draft.node?.op.name,
      draft.node?.attrs,
      draft.chosen.args,
      draft.chosen.dims,
    ]);
  return [...new Map(sites.toReversed().map((s) => [keyOf(s), s])).values()].toReversed();
}

/** Columns of the table of pages, as the runtime of a target has them. */
export const columnsFor =
  ({ target }: Pick<Manifest, "target">) =>
  (pages: number): number =>
    target === "cpu" ? pages : Math.max(16, 2 ** Math.ceil(Math.log2(pages)));

/** The steps of a place that are within means, least first, with their fillings. */
function plannedTrials(
  site: KernelSite,
  manifest: Manifest,
  budget: number,
  few: boolean,
): { list: { step: Step; filling: Filling; seed: number }[]; left: string[] } {
  const all = stepsOf(site, manifest.model.experts?.count ?? 1, manifest.model.maxPositions, columnsFor(manifest));
  const list: { step: Step; filling: Filling; seed: number }[] = [];
  const left: string[] = [];
  let spent = 0;
  for (const [i, step] of (few ? thinned(all) : all).entries()) {
    const work = judged(site, step)
      ? workAt(site.draft.node, step) + 4 * elementsAt(site.draft, step)
      : 8 * elementsAt(site.draft, step);
    if (list.length && spent + work > budget) {
      left.push(step.what);
      continue;
    }
    spent += work;
    list.push({ step, filling: "plain", seed: i });
    // Awkward rows at a few sizes: what they show does not depend on how many there are.
    if ((i === 1 || i === 4 || all.length === 1) && !chooses(site)) list.push({ step, filling: "hard", seed: i });
  }
  return { list, left };
}

/** A few of many, the first and the last among them: what stands in for a GPU is slow. */
function thinned<T>(list: readonly T[]): T[] {
  const every = (list.length - 1) / (FEW - 1);
  return list.length <= FEW ? [...list] : Array.from({ length: FEW }, (_, i) => list[Math.round(i * every)]);
}

/** Whether a kernel chooses by numbers and gives them back: large ones underflow to ties in f32, which have no one answer. */
function chooses({ draft }: KernelSite): boolean {
  const dtypes = draft.outs.map((v) => v.dtype);
  return dtypes.includes("i32") && dtypes.some((d) => d !== "i32");
}

/** How a test goes on. */
export interface Holding {
  manifest: Manifest;
  machine: Machine;
  /** The kernels as they were compiled. */
  original: (kernel: string) => Program;
  sites: readonly KernelSite[];
  tell?: (doing: string) => void;
}

/** Tries a kernel; `edit` is what runs in its place, absent to try it as it was compiled. */
export async function hold(kernel: string, edit: Program | undefined, h: Holding): Promise<Report> {
  const { machine, manifest } = h;
  const sites = distinct(h.sites);
  const cases: CaseReport[] = [];
  const against = new Set<string>();
  const left: string[] = [];
  for (const site of sites) {
    const weights = new Map();
    const { list, left: more } = plannedTrials(site, manifest, BUDGET / sites.length, machine.on === "host");
    left.push(...more.map((w) => `${site.draft.site}: ${w}, for its reference takes long`));
    for (const variant of list) {
      const bytes = 8 * elementsAt(site.draft, variant.step);
      if (bytes > MOST_BYTES || !machine.fits(bytes)) {
        left.push(`${site.draft.site}: ${variant.step.what}, for its operands take ${(bytes / 1e9).toFixed(1)} GB`);
        continue;
      }
      against.add(judged(site, variant.step) ? site.draft.node!.op.name : AS_COMPILED);
      h.tell?.(`${site.draft.site}: ${variant.step.what}`);
      const trial = trialOf(site, manifest, variant, weights);
      cases.push({ site: site.draft.site, ...(await tried(trial, kernel, edit, h)) });
      if (cases.at(-1)!.fault?.fatal) return reported(kernel, machine, against, cases, left);
    }
  }
  return reported(kernel, machine, against, cases, left);
}

function reported(kernel: string, machine: Machine, against: ReadonlySet<string>, cases: CaseReport[], left: string[]): Report {
  return {
    kernel,
    on: machine.on,
    where: machine.where,
    against: [...against],
    cases,
    left,
    proved: cases.length > 0 && cases.every((c) => !c.fault && c.results.every((r) => !r.wrong)),
  };
}

const AS_COMPILED = "the kernel as it was compiled";

async function tried(trial: Trial, kernel: string, edit: Program | undefined, h: Holding): Promise<Omit<CaseReport, "site">> {
  const before = await h.machine.run(trial, h.original, h.original);
  if (edit && before.fault)
    return { case: trial.what, results: [], fault: { problem: `as it was compiled, ${before.fault.problem}`, fatal: true } };
  const made = edit ? await h.machine.run(trial, (name) => (name === kernel ? edit : h.original(name)), h.original) : before;
  const fault = made.fault ?? writesOperand(trial, made.after);
  const results = fault?.fatal ? [] : judge(trial, made.after, edit ? before.after : undefined);
  return { case: trial.what, results, ...(fault ? { fault } : {}) };
}

/** An operand that a kernel wrote. */
function writesOperand(trial: Trial, after: readonly Uint8Array[]): Fault | undefined {
  const wrote = trial.buffers.find((b, i) => b.drawn && !b.result && Buffer.compare(b.data, after[i]) !== 0);
  return wrote && { problem: `it writes into its operand ${wrote.name}` };
}

/** The first thing that is wrong. */
export function firstWrong(r: Report): { at: CaseReport; wrong?: WrongElement } | undefined {
  const at = r.cases.find((c) => c.fault !== undefined || c.results.some((x) => x.wrong));
  if (!at) return undefined;
  const wrong = at.results.find((x) => x.wrong)?.wrong;
  return { at, ...(wrong ? { wrong } : {}) };
}

/** What is kept of a test that went well. */
export function proofOf(r: Report): EditProof {
  const parts = r.cases.flatMap((c) => c.results.map((x) => (x.limit === 0 ? 0 : x.error / x.limit)));
  return { on: r.on, where: r.where, trials: r.cases.length, error: Number(Math.max(0, ...parts).toPrecision(3)) };
}
