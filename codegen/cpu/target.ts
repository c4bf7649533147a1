// The CPU as a target: the tile families, lowered to WebAssembly. Activations are f32.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Catalogue, Problem, Segment } from "../../ir/kernel/catalogue.ts";
import { ownerOf } from "../../ir/kernel/owner.ts";
import { printKernel } from "../../ir/kernel/print.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { flatten } from "../../ir/kernel/walk.ts";
import { chooserAmong, copyOf, tileProblems, type Families } from "../choose.ts";
import { byParts } from "../parts.ts";
import { cpuActivations } from "../diagnostics.ts";
import type { BmmProblem } from "../kernels/bmm.ts";
import { families } from "../kernels/index.ts";
import { PAGE_ROWS, type Built, type TargetBackend } from "../backend.ts";
import { desktop } from "./machine.ts";
import { Sections } from "../sections.ts";
import { lowerToWasm, type Lowered } from "./lower.ts";

/**
 * Tiles of products: packing a tile costs what a few of its rows do, so they are large; scratch for a panel of both sides
 * (512 KiB) stays in a second-level cache. Where b is read along n, a tile takes all of its rows: they are one run of memory.
 * Of attention: rows that share a block of keys, and keys of a block.
 */
function tileOf(family: string, problem: Problem): readonly [number, number] | undefined {
  if (family === "linear" || family === "block_linear" || family === "grouped_linear") return [64, 64];
  if (family === "attend") return [32, 64];
  if (family === "mla_attend") return [16, 64];
  if (family !== "bmm") return undefined;
  const { n, b } = problem as BmmProblem;
  return typeof n === "number" && b[2] !== 1 && b[1] === 1 ? [64, Math.min(512, Math.ceil(n / 8) * 8)] : [64, 64];
}

/** A problem with the tile that suits this target. */
export function tiled(family: string, problem: Problem): Problem {
  const tile = tileOf(family, problem);
  return tile ? { ...problem, tile } : problem;
}

function catalogueOf(among: Families): Catalogue {
  const chooseTiles = chooserAmong(among);
  const choose: Catalogue["choose"] = byParts((site) => {
    const chosen = chooseTiles(site);
    return "reason" in chosen ? chosen : chosen.map((c) => ({ ...c, problem: tiled(c.family, c.problem) }));
  }, among);
  return { target: "cpu", pageRows: PAGE_ROWS, choose, copy: copyOf };
}

export function cpuTarget(options: { activations: "f32" | "bf16" }, among: Families = families): TargetBackend {
  if (options.activations !== "f32") throw new DiagnosticError(cpuActivations());
  return {
    machine: desktop,
    catalogue: catalogueOf(among),
    problemsOf: (family, site) => tileProblems(family, site, among),
    build: (family, problem) => keptBuild(among[family], family, problem),
    sourceOf(family, problem) {
      const kernel = among[family].kernel(problem);
      return textOf(kernel, lowerToWasm(kernel)).text;
    },
  };
}

/** The tile program, and below it what it becomes. */
function textOf(kernel: Kernel, lowered: Lowered): { text: string; segments: readonly Segment[] } {
  const tiles = printKernel(kernel).trimEnd().split("\n");
  // Statements stand for themselves; what is above them is the signature.
  const from = tiles.findIndex((l) => l.startsWith(")")) + 1;
  const sections = new Sections().add("header", tiles.slice(0, 1), "summary").add("entry", tiles.slice(1, from));
  // A line each.
  flatten(kernel.body).forEach((s, i) => sections.add("statement", [tiles[from + i]], ownerOf(s).name, ownerOf(s).ops));
  sections.add("header", ["", ";; lowered:"], "what it becomes");
  const lines = sections.toString().split("\n").length - 1;
  const rest = lowered.segments.map((s) => ({ ...s, line: s.line + lines }));
  return { text: `${sections.toString()}${lowered.text}`, segments: [...sections.segments, ...rest] };
}

/** Kernels of this process by family and problem, up to so many characters of text: a process may compile many models that share them. */
const MOST_KEPT = 1 << 25;
let kept = new WeakMap<Families[string], Map<string, Built>>();
let characters = 0;

function keptBuild(by: Families[string], family: string, problem: Problem): Built {
  const key = `${family} ${JSON.stringify(problem)}`;
  const known = kept.get(by)?.get(key);
  if (known) return known;
  const built = build(by.kernel(problem), family);
  if ((characters += built.text.length) > MOST_KEPT) [kept, characters] = [new WeakMap(), built.text.length];
  kept.set(by, (kept.get(by) ?? new Map<string, Built>()).set(key, built));
  return built;
}

function build(kernel: Kernel, family: string): Built {
  const lowered = lowerToWasm(kernel);
  const { wasm, cells, scratchBytes } = lowered;
  return {
    name: kernel.name,
    ...textOf(kernel, lowered),
    textType: "txt",
    binary: wasm,
    binaryType: "wasm",
    record: {
      entry: "run",
      family,
      params: kernel.params.map((p) => ({ kind: "buffer", name: p.name, dtype: p.dtype, access: p.access })),
      dims: [...kernel.dims],
      cells,
      scratchBytes,
    },
  };
}
