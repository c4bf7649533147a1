// A GPU as a target, under an architecture: natives where tensor cores or the memory system decide, printed tile programs for
// everything else.
// Texts open with what they are, where they came from and the floor under them; nothing is compiled here.
import { floorOf } from "../../ir/machine.ts";
import {
  boundBuffers,
  type Catalogue,
  type Chosen,
  type KernelText,
  type Problem,
  type Site,
  type Choice,
  type Instead,
} from "../../ir/kernel/catalogue.ts";
import { chooserAmong, copyOf, tileProblems, type Families } from "../choose.ts";
import type { Refusal } from "../family.ts";
import { completed, composed } from "../parts.ts";
import { families } from "../kernels/index.ts";
import { PAGE_ROWS, type Built, type TargetBackend, type Use } from "../backend.ts";
import { below, type Heading } from "../sections.ts";
import { systemTexts } from "./system/index.ts";
import { emittersOf, gpuFacts, type Arch } from "./native.ts";
import { refusals, selectNatives } from "./select.ts";
import { printCuda } from "./printed/print.ts";
import { BATCH_INVARIANT_ROWS, withoutCases } from "./batch-invariant.ts";

const catalogue = (choose: Catalogue["choose"]): Catalogue => ({
  target: "cuda",
  // Words of 16 bytes, and TMA's boxes.
  align: 16,
  pageRows: PAGE_ROWS,
  choose,
  copy: copyOf,
});

/** The natives that take a site, for as many rows as they do; else the parts of a fused op, else a printed tile program. */
function chooserOf({ natives, machine }: Arch, among: Families): Catalogue["choose"] {
  const chooseTiles = chooserAmong(among);
  const tiles = (site: Site): Chosen[] | Refusal => {
    const launches = chooseTiles(site);
    const instead = refusals(site, natives, machine);
    return "reason" in launches || !instead.length ? launches : launches.map((l) => ({ ...l, instead }));
  };
  const choose: Catalogue["choose"] = (site) => {
    const choice = selectNatives(site, natives, machine);
    if (choice) return completed(choice, site, choose, among);
    const parts = composed(site, choose, among);
    return parts ? withReasons(parts, refusals(site, natives, machine)) : tiles(site);
  };
  return choose;
}

/** A fused op's parts, whose first launch says why no native takes the whole. */
function withReasons(parts: Choice | Refusal, whole: Instead[]): Choice | Refusal {
  if ("reason" in parts || !whole.length) return parts;
  const noted = ([first, ...more]: readonly Chosen[]): Chosen[] => [
    { ...first, instead: [...whole, ...(first.instead ?? [])] },
    ...more,
  ];
  return "on" in parts ? { on: parts.on, cases: parts.cases.map((c) => ({ ...c, launches: noted(c.launches) })) } : noted(parts);
}

/** The same for functions in which sequences share a batch and must not see each other. */
function batchInvariantChooser(arch: Arch, among: Families): Catalogue["choose"] {
  const choose = chooserOf({ ...arch, natives: arch.natives.map((n) => arch.batchInvariant.get(n) ?? n) }, among);
  return (site) => {
    const choice = choose(site);
    return "reason" in choice ? choice : withoutCases(choice);
  };
}

/**
 * "all" natives, "none" (every kernel is a printed tile program: slow, and a second opinion), or those whose families are named, with
 * commas.
 */
export function cudaTarget(which: string, arch: Arch, among: Families = families): TargetBackend {
  const names = which.split(",");
  const chosen = which === "all" ? arch : { ...arch, natives: arch.natives.filter((n) => names.includes(n.family)) };
  return {
    machine: arch.machine,
    gpu: gpuFacts(arch.machine),
    catalogue: catalogue(chooserOf(chosen, among)),
    batchInvariant: { catalogue: catalogue(batchInvariantChooser(chosen, among)), rows: BATCH_INVARIANT_ROWS },
    problemsOf: (family, site) => nativeProblems(arch, family, site) ?? tileProblems(family, site, among),
    system: (vocab, ranks) => systemTexts(vocab, arch.machine, ranks),
    build: (family, problem, use) => build(arch, among, family, problem, use),
    sourceOf: (family, problem) => cudaText(family, problem, arch, among).source,
  };
}

/** The problems that a native makes of a site, and those of the kernels that it is launched with; undefined of no native's family. */
function nativeProblems({ natives, machine }: Arch, family: string, site: Site): Problem[] | undefined {
  const native = natives.find((n) => n.family === family || n.alongside?.some((e) => e.family === family));
  if (!native) return undefined;
  const match = native.match(site, machine);
  if ("reason" in match) return [];
  if (native.family === family) return [match.problem];
  const { follow } = match;
  const schedules = native.schedules.candidates(match.problem, machine);
  if (!follow || "reason" in schedules) return [];
  const launched = schedules.flatMap((s) => (follow.illegal(s) === null ? follow.launches(s) : []));
  return launched.filter((l) => l.family === family).map(({ problem }) => withoutSchedule(problem));
}

function withoutSchedule(problem: Problem): Problem {
  const { schedule: _, ...of } = problem as { schedule?: unknown };
  return of;
}

/** The text of a kernel, native or printed. */
export function cudaText(
  family: string,
  problem: Problem,
  { natives, machine }: Pick<Arch, "natives" | "machine">,
  among: Families = families,
): KernelText {
  const by = emittersOf(natives).find((n) => n.family === family);
  if (by) {
    const { schedule, ...of } = problem as { schedule: unknown };
    return by.emit(of, schedule, machine);
  }
  return printCuda(among[family].kernel(problem), machine);
}

function build(arch: Arch, among: Families, family: string, problem: Problem, use?: Use): Built {
  const text = cudaText(family, problem, arch, among);
  const above = heading(arch, family, problem, text, use);
  const lines = above.map(([, l]) => `// ${l}\n`).join("");
  return {
    name: text.name,
    text: `${lines}${text.source}`,
    textType: "cu",
    segments: below(above, text.segments ?? []),
    record: {
      entry: text.name,
      family,
      params: text.params,
      dims: text.dims,
      launch: text.launch,
      ...(text.workspaceBytes === undefined ? {} : { workspaceBytes: text.workspaceBytes }),
    },
  };
}

/** Lines in front of a text: op and site, problem, the floor at the sizes passes assume, and how to print it again. */
function heading(
  { natives, machine }: Arch,
  family: string,
  problem: Problem,
  text: KernelText,
  use: Use | undefined,
): Heading[] {
  const kind = emittersOf(natives).some((n) => n.family === family) ? "native" : "printed tile program";
  const lines: Heading[] = [["name and family", `${text.name}: ${kind}, family ${family}`]];
  if (use) {
    lines.push(["op and place", `op ${use.op}, first used by ${use.site}`]);
    if (use.origin) lines.push(["origins", `from ${use.origin}`]);
  }
  lines.push(["problem", `problem ${JSON.stringify(problem)}`]);
  if (use?.cost) {
    const { bytes, flops, at } = use.cost;
    const e4m3 = text.params.some((p) => p.kind !== "scalar" && p.dtype === "e4m3");
    const { us } = floorOf(machine, bytes, flops, e4m3 ? "fp8" : "bf16");
    lines.push([
      "floor",
      `floor at ${at}: ${us.toFixed(2)} us (${(bytes / 1e6).toFixed(2)} MB, ${(flops / 1e9).toFixed(2)} GFLOP)`,
    ]);
  }
  lines.push(["operands", `binds ${boundBuffers(text.params).join(", ")}; dsc inspect OUT ${text.name} prints this text`]);
  // Helpers come first: where the kernel itself begins, counted with this line and those above.
  const entry = text.source.split("\n").findIndex((l) => l.includes(`${text.name}(`));
  if (entry >= 0) lines.push(["entry point", `entry point: line ${lines.length + 2 + entry}`]);
  return lines;
}
