// C as a target: the tile families, lowered to loops over vectors and printed for a processor. One library holds all kernels of an
// artifact; the driver has it compiled (compiler/artifact/native-library.ts). Activations are f32.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { CpuFacts } from "../../ir/artifact.ts";
import type { Problem } from "../../ir/kernel/catalogue.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import type { Built, TargetBackend, Use } from "../backend.ts";
import { PAGE_ROWS } from "../backend.ts";
import { chooserAmong, copyOf, tileProblems, type Families } from "../choose.ts";
import { cellsOf } from "../cpu/indices.ts";
import { desktop } from "../cpu/machine.ts";
import { tiled } from "../cpu/target.ts";
import { cpuActivations } from "../diagnostics.ts";
import { families } from "../kernels/index.ts";
import { lowerToLoops } from "../loops/lower.ts";
import type { LoopKernel } from "../loops/ir.ts";
import type { Processor } from "../loops/processor.ts";
import { scheduleOf, type LoopSchedule } from "../loops/schedule.ts";
import { byParts } from "../parts.ts";
import type { Heading, Sections } from "../sections.ts";
import type { TirFunction } from "../tir/ir.ts";
import { libraryFiles } from "./library.ts";
import { printC } from "./print.ts";

/** The library of an artifact. */
const LIBRARY = "kernels/library.so";

/** From this many rows of weights on there are cells enough for all threads where a cell has 128 of them. */
const WIDE = 4096;

/**
 * A problem with the tile and the schedule of a processor. Both sides of a product are packed once per cell, which costs less the larger
 * the cell is: of 64 x 64, 128 x 64 and 128 x 128, 48, 57 and 73 GMAC/s of one thread with AVX-512.
 */
function scheduled(family: string, problem: Problem, schedule: LoopSchedule): Problem {
  const { n } = problem as { n?: number };
  const large = family === "linear" || family === "block_linear";
  return { ...tiled(family, problem), ...(large && n ? { tile: [128, n >= WIDE ? 128 : 64] } : {}), schedule };
}

/** The schedule that a problem holds. */
const scheduleIn = (problem: Problem): LoopSchedule => (problem as { schedule: LoopSchedule }).schedule;

/** A language that kernels of loops are printed in. */
export interface Printing {
  target: "c" | "tvm";
  /** File type of a kernel. */
  textType: string;
  print(loops: LoopKernel, kernel: Kernel, head: readonly Heading[]): { text: Sections; tir?: TirFunction };
  library: NonNullable<TargetBackend["library"]>;
}

const inC = (processor: Processor): Printing => ({
  target: "c",
  textType: "c",
  print: (loops, _, head) => ({ text: printC(loops, head) }),
  library: (kernels) => ({
    files: libraryFiles(kernels, processor),
    facts: factsOf(processor, [...processor.flags]),
  }),
});

interface Options {
  activations: "f32" | "bf16";
  processor: Processor;
}

export const cTarget = (options: Options, among: Families = families): TargetBackend =>
  loopsTarget(options, among, inC(options.processor));

/** Kernels of loops, printed in a language. Throws a diagnostic for activations that are not f32. */
export function loopsTarget(options: Options, among: Families, printing: Printing): TargetBackend {
  if (options.activations !== "f32") throw new DiagnosticError(cpuActivations());
  const { processor } = options;
  const schedule = scheduleOf(processor);
  const chooseTiles = chooserAmong(among);
  const kernelOf = (family: string, problem: Problem): Kernel => among[family].kernel(problem);
  return {
    machine: desktop,
    catalogue: {
      target: printing.target,
      pageRows: PAGE_ROWS,
      copy: (from, to) => withSchedule(copyOf(from, to), schedule),
      choose: byParts((site) => withSchedule(chooseTiles(site), schedule), among),
    },
    problemsOf: (family, site) => tileProblems(family, site, among),
    build: (family, problem, use) => build(kernelOf(family, problem), family, scheduleIn(problem), printing, use),
    // What another value of a field changes: a problem asked for so has no schedule beside it.
    sourceOf(family, problem) {
      const kernel = kernelOf(family, problem);
      return printing.print(lowerToLoops(kernel, scheduleIn(problem) ?? schedule), kernel, []).text.toString();
    },
    library: printing.library,
  };
}

/** What the artifact says of its processor. */
export const factsOf = ({ name, arch, lanes, requires }: Processor, flags: string[]): Omit<CpuFacts, "compiler"> => ({
  processor: name,
  arch,
  lanes,
  flags,
  requires: [...requires],
  library: LIBRARY,
});

function withSchedule<C extends { family: string; problem: Problem }, R extends { reason: string }>(
  chosen: C[] | R,
  schedule: LoopSchedule,
): C[] | R {
  return "reason" in chosen ? chosen : chosen.map((c) => ({ ...c, problem: scheduled(c.family, c.problem, schedule) }));
}

function build(kernel: Kernel, family: string, schedule: LoopSchedule, printing: Printing, use: Use | undefined): Built {
  const loops = lowerToLoops(kernel, schedule);
  const { text, tir } = printing.print(loops, kernel, headOf(kernel, use));
  const grid = kernel.body[0];
  return {
    name: kernel.name,
    text: text.toString(),
    segments: text.segments,
    textType: printing.textType,
    ...(tir ? { tir } : {}),
    record: {
      entry: kernel.name,
      family,
      params: kernel.params.map((p) => ({ kind: "buffer", name: p.name, dtype: p.dtype, access: p.access })),
      dims: [...kernel.dims],
      cells: grid.kind === "grid" ? cellsOf(grid.axes) : 1,
      scratchBytes: loops.scratchBytes,
    },
  };
}

function headOf({ summary }: Kernel, use: Use | undefined): Heading[] {
  if (!use) return [["summary", summary]];
  const { op, site, origin, cost } = use;
  return [
    ["summary", summary],
    ["op and place", `op ${op}, first at ${site}`],
    ...(origin ? [["origins", `from ${origin}`] as const] : []),
    ...(cost
      ? [["cost", `${(cost.bytes / 1e6).toFixed(2)} MB, ${(cost.flops / 1e9).toFixed(3)} GFLOP at ${cost.at}`] as const]
      : []),
  ];
}
