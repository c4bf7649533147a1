// Every kernel family as C, and by TVM, against its op's reference, over random and odd sizes. The cases say first which kernels they want, as
// WebAssembly answers them; one library then has the first of every case, with DSC_ALL all of them.
import { beforeAll, describe, expect, test } from "vitest";
import { tiled } from "../../codegen/cpu/target.ts";
import { families, type FamilyName } from "../../codegen/kernels/index.ts";
import { lacks } from "../conditions.ts";
import { attentionFamilies } from "./families/attention.ts";
import { cacheFamilies } from "./families/cache.ts";
import type { Cases } from "./families/cases.ts";
import { denseFamilies } from "./families/dense.ts";
import { expertFamilies } from "./families/experts.ts";
import { moveFamilies } from "./families/moves.ts";
import { residualFamilies } from "./families/residual.ts";
import { rowFamilies } from "./families/rows.ts";
import { instantiate } from "./run-c.ts";
import { launch, runnerOf, type Ready, type Run } from "./run-wasm.ts";

const cases: Cases = {
  ...rowFamilies,
  ...denseFamilies,
  ...attentionFamilies,
  ...cacheFamilies,
  ...expertFamilies,
  ...moveFamilies,
  ...residualFamilies,
};

const languages = [...(lacks("C compiler") ? [] : (["c"] as const)), ...(lacks("TVM compiler") ? [] : (["tvm"] as const))];

describe.each(languages)("as %s", (language) => {
  const all = !lacks("DSC_ALL");
  const ready = new Map<string, Ready>();
  const keyOf = (family: string, problem: object): string => `${family} ${JSON.stringify(problem)}`;

  beforeAll(() => {
    const wanted = new Map<string, { family: FamilyName; problem: object }>();
    for (const [family, checks] of Object.entries(cases) as [FamilyName, Cases[FamilyName]][])
      for (const check of Object.values(checks)) {
        let taken = 0;
        check((problem, ...rest) => {
          const key = keyOf(family, problem);
          if (!wanted.has(key) && (all || taken++ === 0)) wanted.set(key, { family, problem });
          return runnerOf(family)(problem, ...rest);
        });
      }
    const kernels = [...wanted.values()].map(({ family, problem }) => families[family].kernel(tiled(family, problem) as never));
    const made = instantiate(language, kernels);
    for (const [i, key] of [...wanted.keys()].entries()) ready.set(key, made[i]);
  });

  for (const [family, checks] of Object.entries(cases))
    for (const [what, check] of Object.entries(checks))
      test(`${family}: ${what}`, () => {
        let runs = 0;
        const run: Run = (problem, values, sizes, shapes) => {
          const made = ready.get(keyOf(family, problem));
          if (!made) return runnerOf(family as FamilyName)(problem, values, sizes, shapes);
          runs++;
          return launch(made, values, sizes, shapes);
        };
        check(run);
        expect(runs).toBeGreaterThan(0);
      });
});
