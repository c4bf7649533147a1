// The CPU as a target: the tile families, lowered to WebAssembly. Activations are f32.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Catalogue, Problem } from "../../ir/kernel/catalogue.ts";
import { printKernel } from "../../ir/kernel/print.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { chooserAmong, copyOf, tileProblems, type Families } from "../choose.ts";
import { byParts } from "../parts.ts";
import { cpuActivations } from "../diagnostics.ts";
import type { BmmProblem } from "../kernels/bmm.ts";
import { families } from "../kernels/index.ts";
import { PAGE_ROWS, type Built, type TargetBackend } from "../backend.ts";
import { desktop } from "./machine.ts";
import { lowerToWasm } from "./lower.ts";

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
    build: (family, problem) => build(among[family].kernel(problem), family),
  };
}

function build(kernel: Kernel, family: string): Built {
  const { wasm, text, cells, scratchBytes } = lowerToWasm(kernel);
  return {
    name: kernel.name,
    text: `${printKernel(kernel)}\n;; lowered:\n${text}`,
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
