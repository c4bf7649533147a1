// Every kernel family on the CPU target against its op's reference, over random and odd sizes. A family without cases fails.
import { describe, expect, test } from "vitest";
import { families, type FamilyName } from "../../codegen/kernels/index.ts";
import { attentionFamilies } from "./families/attention.ts";
import { cacheFamilies } from "./families/cache.ts";
import type { Cases } from "./families/cases.ts";
import { denseFamilies } from "./families/dense.ts";
import { expertFamilies } from "./families/experts.ts";
import { moveFamilies } from "./families/moves.ts";
import { residualFamilies } from "./families/residual.ts";
import { rowFamilies } from "./families/rows.ts";
import { runnerOf } from "./run-wasm.ts";

const cases: Cases = {
  ...rowFamilies,
  ...denseFamilies,
  ...attentionFamilies,
  ...cacheFamilies,
  ...expertFamilies,
  ...moveFamilies,
  ...residualFamilies,
};

test("a family brings its cases", () => expect(Object.keys(cases).sort()).toEqual(Object.keys(families).sort()));

for (const [family, checks] of Object.entries(cases))
  describe(family, () => {
    for (const [what, check] of Object.entries(checks))
      test(what, () => {
        let runs = 0;
        const run = runnerOf(family as FamilyName);
        check((...args) => {
          runs++;
          return run(...args);
        });
        expect(runs).toBeGreaterThan(0);
      });
  });
