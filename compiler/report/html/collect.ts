// Everything the page of a report shows, from an artifact: read once, no weights, no GPU.
import type { Manifest } from "../../../ir/artifact.ts";
import type { Problem } from "../../../ir/kernel/catalogue.ts";
import { opByName } from "../../../ir/ops/index.ts";
import type { Machine } from "../../../ir/machine.ts";
import { printSize } from "../../../ir/size.ts";
import { families } from "../../../codegen/kernels/index.ts";
import { timeInWords } from "../../../codegen/cuda/select.ts";
import { targetOf } from "../../../codegen/target.ts";
import type { TunedRow } from "../../../codegen/cuda/tuned.ts";
import { inSteps, selectModule } from "../../../passes/plan/select.ts";
import { standard } from "../../../passes/index.ts";
import { optionsFor, roofline, type Load } from "../../analysis/roofline.ts";
import { plannedFrom } from "../../analysis/planned.ts";
import { timesOn } from "../../analysis/expected.ts";
import { launchesIn, type Origins } from "../../analysis/origins.ts";
import { insteadOf, ledgerOf, originsOf, printing, problemsOf } from "../../artifact/side-files.ts";
import { folded, functionsOf } from "../graph.ts";
import { servedBy, type Served } from "../served.ts";
import type { Choice, ConfigKey, KernelData, PassData, Report, RunData, StepData } from "./schema.ts";
import { stepOf, type Plan } from "./steps.ts";

export interface Artifact {
  manifest: Manifest;
  files: ReadonlyMap<string, Uint8Array>;
}

/** Loads at which decode steps are shown, beside the one asked for. */
const BATCHES = [1, 8, 64] as const;

/** What is laid over an artifact's report: runs, and what was measured of schedules on this machine. */
export interface Beside {
  runs?: readonly RunData[];
  tuned?: readonly TunedRow[];
}

export function collect({ manifest, files }: Artifact, machine: Machine, load: Load, beside: Beside = {}): Report {
  const text = (name: string): string => new TextDecoder().decode(files.get(name));
  const planned = plannedFrom(manifest, text);
  const problems = problemsOf(files);
  const { texts, passes } = passesOf(manifest, text);
  const { kernels: lines, config, ...of } = originsOf(files);
  const origins = launchesIn(of);
  const last = passes.at(-1)!;
  const plan: Plan = {
    planned,
    drafts: draftsOf(manifest, planned),
    manifest,
    machine,
    origins,
    kernelOf: kernelNames(manifest, problems),
    timeOf: timesOn(planned, machine, beside.tuned),
    texts: new Map(Object.entries(last.functions).map(([name, at]) => [name, texts[at]])),
  };
  const served = printing("problems.json", () => servedBy(manifest, problems, insteadOf(files)));
  const steps = stepsOf(plan, load, beside.runs ?? []);
  return {
    format: "dsc-report/1",
    compiler: manifest.compiler,
    target: manifest.target,
    ...(manifest.gpu ? { arch: manifest.gpu.arch } : {}),
    options: manifest.options,
    model: manifest.model,
    device: {
      name: machine.name,
      source: machine.source,
      bandwidth: machine.bandwidth,
      peaks: machine.peaks,
      memory: machine.memory,
    },
    entries: manifest.entries,
    texts,
    views: [...opByName.values()].filter((op) => op.traits.view).map((op) => op.name),
    passes,
    ledger: ledgerOf(files),
    kernels: kernelsOf({ manifest, text, problems, served, lines }),
    steps,
    config: [...new Set(origins.flatMap((o) => o.keys ?? []))]
      .toSorted()
      .map((key): ConfigKey => (key in config ? { key, value: config[key] } : { key })),
    memory: roofline(planned, machine, load).memory,
    runs: [...(beside.runs ?? [])],
  };
}

function draftsOf(manifest: Manifest, planned: Plan["planned"]): Plan["drafts"] {
  const { module: m } = planned;
  const target = targetOf(planned.target, optionsFor(planned));
  const steps = manifest.options.deterministic === undefined ? undefined : target.batchInvariant?.catalogue;
  return selectModule(m, target.catalogue, steps && inSteps(m, steps, target.catalogue));
}

function kernelNames(manifest: Manifest, problems: Readonly<Record<string, Problem>>): Plan["kernelOf"] {
  const names = new Map(
    Object.entries(problems).map(([name, p]) => [`${manifest.kernels[name]?.family} ${JSON.stringify(p)}`, name]),
  );
  return (family, problem) => names.get(`${family} ${JSON.stringify(problem)}`) ?? family;
}

/**
 * Decode steps of a few batches, a prefill, an extension of a prefix, and a draft step where there is one. Those of runs come first, at
 * the lengths of the run, so that what was measured lies beside what it is measured of.
 */
function stepsOf(plan: Plan, { batch, context }: Load, runs: readonly RunData[]): StepData[] {
  const { entries } = plan.planned.module;
  const batches = [...new Set([batch, ...BATCHES])].toSorted((a, b) => a - b);
  const profiles = runs.flatMap(({ prompt, batch: b = 1, kernels }) => (prompt && kernels ? [{ prompt, b }] : []));
  const decode = (entry: string, b: number, cached: number): StepData => stepOf(plan, entry, { rows: b, sequences: b, cached });
  const prefill = (b: number, rows: number): StepData =>
    stepOf(plan, entries.prefill, { rows: b * rows, sequences: b, cached: rows });
  const some = Math.max(1, Math.min(64, context >> 1));
  const all = [
    ...profiles.map(({ b, prompt }) => decode(entries.decode, b, prompt)),
    ...batches.map((b) => decode(entries.decode, b, context)),
    ...profiles.map(({ b, prompt }) => prefill(b, prompt)),
    prefill(1, context),
    stepOf(plan, entries.extend, { rows: some, sequences: 1, cached: context }),
    ...(entries.draft ? [decode(entries.draft, batch, context)] : []),
  ];
  const name = ({ entry, rows, sequences, cached }: StepData): string => [entry, rows, sequences, cached].join(" ");
  return [...new Map(all.map((s) => [name(s), s])).values()];
}

const passOf = (file: string): string => file.replace(/^graph\/\d+-|\.dsc$/g, "");

/** The graph after every pass, every text once. */
function passesOf(manifest: Manifest, text: (name: string) => string): { texts: string[]; passes: PassData[] } {
  const texts: string[] = [];
  const at = new Map<string, number>();
  const place = (t: string): number => {
    if (!at.has(t)) at.set(t, texts.push(t) - 1);
    return at.get(t)!;
  };
  const files = Object.keys(manifest.files).filter((f) => f.startsWith("graph/"));
  const passes: PassData[] = [];
  for (const file of files) {
    const whole = text(file);
    const functions = Object.fromEntries([...functionsOf(whole)].map(([name, t]) => [name, place(folded(t))]));
    const head = whole.indexOf("\nfunc @");
    const name = passOf(file);
    const before = passes.at(-1)?.functions;
    passes.push({
      name,
      summary:
        standard.find((p) => p.name === name)?.summary ??
        (before ? "" : "The model as the config describes it, before any pass."),
      functions,
      weights: place(folded(whole.slice(0, head < 0 ? undefined : head)).trimEnd()),
      changed: before
        ? [...new Set([...Object.keys(before), ...Object.keys(functions)])].filter((f) => before[f] !== functions[f])
        : [],
    });
  }
  return { texts, passes };
}

interface Kernels {
  manifest: Manifest;
  text: (name: string) => string;
  problems: Readonly<Record<string, Problem>>;
  served: readonly Served[];
  lines: Origins["kernels"];
}

/** What the kernels of a target are written in. */
const languages = { cpu: "tile", c: "cuda", tvm: "python", cuda: "cuda", triton: "python" } as const;

function kernelsOf({ manifest, text, problems, served, lines }: Kernels): Record<string, KernelData> {
  const language = languages[manifest.target];
  return Object.fromEntries(
    Object.entries(manifest.kernels).map(([name, k]): [string, KernelData] => {
      const here = served.filter((s) => s.kernel === name);
      return [
        name,
        {
          family: k.family,
          form: k.family in families ? "tile program" : "native",
          language,
          lines: (lines[name]?.lines ?? []).map(([line, kind, of, ops]) =>
            ops ? [line - 1, kind, of ?? null, ops] : [line - 1, kind, of ?? null],
          ),
          source: text(k.text),
          sites: [...new Set(here.map((s) => s.site))],
          ...(problems[name] ? { problem: problems[name] } : {}),
          launch: launchInWords(k),
          choices: choicesOf(here),
        },
      ];
    }),
  );
}

/** Most candidates shown at one place. */
const MOST = 8;

/** Places with the same answer share one. */
function choicesOf(served: readonly Served[]): Choice[] {
  const seen = new Map<string, Choice>();
  for (const s of served) {
    const candidates = (s.candidates ?? []).map((c) => ({
      name: c.schedule,
      chosen: c.chosen,
      us: c.time?.us ?? Infinity,
      time: c.illegal ?? (c.time ? timeInWords(c.time) : "can run"),
      legal: c.illegal === undefined,
    }));
    const best = candidates.toSorted(
      (a, b) => Number(b.chosen) - Number(a.chosen) || Number(b.legal) - Number(a.legal) || a.us - b.us,
    );
    const choice = {
      site: s.site,
      ...(s.when ? { when: s.when } : {}),
      candidates: best.slice(0, MOST).map(({ name, chosen, time }) => ({ name, chosen, time })),
      instead: [...(s.instead ?? []), ...(s.printed ? [{ family: "hand-written kernels", reason: s.printed }] : [])],
    };
    const key = JSON.stringify({ ...choice, site: "" });
    if (!seen.has(key)) seen.set(key, choice);
  }
  return [...seen.values()];
}

function launchInWords({ launch, cells, scratchBytes, workspaceBytes }: Manifest["kernels"][string]): string[] {
  const size = printSize;
  return [
    ...(launch
      ? [
          `grid ${launch.grid.map(size).join(" x ")}`,
          `${launch.block} threads a block`,
          `${launch.sharedBytes} bytes of dynamic shared memory`,
          ...(launch.cluster ? [`clusters of ${launch.cluster.join(" x ")}`] : []),
          ...(launch.pdl ? ["may start while the kernel before it ends"] : []),
        ]
      : []),
    ...(cells === undefined ? [] : [`${size(cells)} cells run in parallel`]),
    ...(scratchBytes ? [`${scratchBytes} bytes of scratch a thread`] : []),
    ...(workspaceBytes === undefined ? [] : [`workspace ${size(workspaceBytes)} bytes`]),
  ];
}
