// Products and attention as C for other processors than this one: what differs between them is widths of vectors and blocks of products.
import { beforeAll, describe, expect, test } from "vitest";
import { tiled } from "../../codegen/cpu/target.ts";
import { families } from "../../codegen/kernels/index.ts";
import { processors, type Processor } from "../../codegen/loops/processor.ts";
import { thisProcessor } from "../../compiler/driver/processor.ts";
import { missingOf } from "../../runtime/devices/native/flags.ts";
import { lacks } from "../conditions.ts";
import { attentionFamilies } from "./families/attention.ts";
import { denseFamilies } from "./families/dense.ts";
import { instantiate } from "./run-c.ts";
import { launch, runnerOf, type Ready, type Run } from "./run-wasm.ts";

const cases = {
  linear: denseFamilies.linear,
  block_linear: denseFamilies.block_linear,
  attend: attentionFamilies.attend,
  mla_attend: attentionFamilies.mla_attend,
} as const;
type Name = keyof typeof cases;

// Those that this machine can be, and the blocks of arm64 (4 lanes, 32 registers) with the instructions of any machine.
const arm = processors.find((p) => p.name === "armv8-a")!;
const others: readonly Processor[] = [
  ...processors.filter((p) => p.arch === process.arch && p !== thisProcessor() && missingOf(p.requires).length === 0),
  ...(process.arch === arm.arch ? [] : [{ ...arm, flags: [] }]),
];

describe.skipIf(lacks("C compiler")).each(others)("as C for $name", (processor) => {
  const ready = new Map<string, Ready>();
  const keyOf = (family: string, problem: object): string => `${family} ${JSON.stringify(problem)}`;

  beforeAll(() => {
    const wanted = new Map<string, { family: Name; problem: object }>();
    for (const [family, checks] of Object.entries(cases) as [Name, (typeof cases)[Name]][])
      for (const check of Object.values(checks)) {
        let taken = 0;
        check((problem, ...rest) => {
          if (taken++ === 0) wanted.set(keyOf(family, problem), { family, problem });
          return runnerOf(family)(problem, ...rest);
        });
      }
    const kernels = [...wanted.values()].map(({ family, problem }) => families[family].kernel(tiled(family, problem) as never));
    const made = instantiate("c", kernels, processor);
    for (const [i, key] of [...wanted.keys()].entries()) ready.set(key, made[i]);
  });

  for (const [family, checks] of Object.entries(cases) as [Name, (typeof cases)[Name]][])
    for (const [what, check] of Object.entries(checks))
      test(`${family}: ${what}`, () => {
        let runs = 0;
        const run: Run = (problem, values, sizes, shapes) => {
          const made = ready.get(keyOf(family, problem));
          if (!made) return runnerOf(family)(problem, values, sizes, shapes);
          runs++;
          return launch(made, values, sizes, shapes);
        };
        check(run);
        expect(runs).toBeGreaterThan(0);
      });
});
