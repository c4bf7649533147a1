// A GPU through Triton: every tile program as a readable Triton kernel. Text only; the driver hands it to the user's Python,
// whose Triton makes the cubins that Node launches. No native emitters: a site that no tile family serves is refused.
import { boundBuffers, type Problem } from "../../ir/kernel/catalogue.ts";
import type { Kernel } from "../../ir/kernel/stmt.ts";
import { chooserAmong, copyOf, tileProblems, type Families } from "../choose.ts";
import { byParts } from "../parts.ts";
import { families } from "../kernels/index.ts";
import { PAGE_ROWS, type Built, type TargetBackend, type Use } from "../backend.ts";
import { gpuFacts, type Arch } from "../cuda/native.ts";
import { systemTexts } from "../cuda/system/index.ts";
import { below, type Heading } from "../sections.ts";
import { printTriton } from "./print.ts";

export const tritonTarget = ({ machine }: Arch, among: Families = families): TargetBackend => ({
  machine,
  gpu: gpuFacts(machine),
  catalogue: { target: "triton", pageRows: PAGE_ROWS, choose: byParts(chooserAmong(among), among), copy: copyOf },
  system: (vocab, ranks) => systemTexts(vocab, machine, ranks),
  problemsOf: (family, site) => tileProblems(family, site, among),
  build: (family, problem, use) => build(among[family].kernel(problem), family, problem, use),
  sourceOf: (family, problem) => printTriton(among[family].kernel(problem)).source,
});

/** Pointers that a compiled Triton kernel takes after its arguments: global and profile scratch, both unused here. */
const SCRATCH_POINTERS = 2;

function build(kernel: Kernel, family: string, problem: Problem, use?: Use): Built {
  const { name, source, segments, params, dims, grid, signature, options } = printTriton(kernel);
  const heading: Heading[] = [
    ...(use ? [["op and place", `op ${use.op}, first used by ${use.site}`] as const] : []),
    ...(use?.origin ? [["origins", `from ${use.origin}`] as const] : []),
    ["problem", `problem ${JSON.stringify(problem)}`],
    ["operands", `binds ${boundBuffers(params).join(", ")}; dsc inspect OUT ${name} prints this text`],
  ];
  return {
    name,
    text: `${heading.map(([, l]) => `# ${l}\n`).join("")}${source}`,
    textType: "py",
    segments: below(heading, segments),
    aot: { signature, options },
    record: {
      entry: name,
      family,
      params,
      dims,
      // Shared memory is Triton's to decide: the driver fills it in from the compiled kernel.
      launch: { grid: [grid, 1, 1], block: 32 * options.num_warps, sharedBytes: 0, nulls: SCRATCH_POINTERS },
    },
  };
}
