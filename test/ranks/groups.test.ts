// Every group of weights divided alone gives what one rank gives, and faults made on purpose are found. verify-family.ts does so for the
// whole family on every mesh; here are FP8 with blocks, groups of experts, and what stays whole.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { proveGroups, seen } from "../../compiler/analysis/mesh-groups.ts";
import { dividedGroups, shrinkFor } from "../../compiler/analysis/shrink-mesh.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import type { ModelSpec } from "../../compiler/frontend/spec.ts";
import { parseMesh } from "../../ir/mesh.ts";

const root = path.resolve(import.meta.dirname, "../..");
const specOf = (src: string): ModelSpec => loadSpec(path.join(root, src), []).spec;

for (const [src, words, divided] of [
  ["examples/deepseek-r1/config.json", "tp=2", ["attention", "dense", "experts", "head"]],
  ["test/fixtures/a04-v2-group", "tp=4,ep=2", ["attention", "experts"]],
  ["test/fixtures/a06-v3-dense", "tp=2", ["attention"]],
  ["test/configs/Moonlight-16B-A3B-Instruct.json", "tp=8,ep=8", ["attention", "dense", "experts", "head"]],
] as const)
  test(`${src} over ${words}: ${divided.join(", ")}, each alone, and faults in each`, () => {
    const mesh = parseMesh(words);
    const small = shrinkFor(specOf(src), mesh);
    expect(dividedGroups(small, mesh)).toEqual(dividedGroups(specOf(src), mesh));
    const groups = proveGroups(small, mesh);
    expect(groups.filter((g) => !g.holds)).toEqual([]);
    expect(groups.filter((g) => g.divided.length).map((g) => g.group)).toEqual(divided);
    for (const g of groups) {
      if (g.divided.length) expect(g.faults.map((f) => f.fault)).toEqual(["dropped", "elsewhere", "twice"]);
      expect(
        g.faults.filter((f) => !seen(f)),
        g.group,
      ).toEqual([]);
      // What is dropped, or comes too late, does not type-check either.
      for (const f of g.faults) expect(f.types, `${g.group} ${f.fault}`).toBe(f.fault === "dropped" || f.fault === "elsewhere");
    }
    // All layers of a06 are dense, whatever its config says of experts.
    const router = groups.filter((g) => g.group === "router").flatMap((g) => g.faults.map((f) => f.fault));
    expect(router).toEqual(src.includes("dense") ? [] : ["another router"]);
  });

test("a mesh whose small model is known needs no new proof", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-proofs-"));
  const before = process.env.DSC_CACHE;
  process.env.DSC_CACHE = folder;
  try {
    const proved = (words: string): { says: readonly string[]; kept: number } => {
      const { proofs } = compile(path.join(root, "test/fixtures/a01-v3-yarn"), {
        ...defaults,
        prove: "all",
        mesh: parseMesh(words),
      });
      return { says: proofs.map((p) => `${p.pass}: ${p.says}`), kept: readdirSync(path.join(folder, "proofs")).length };
    };
    const [two, four] = [proved("tp=2"), proved("tp=4")];
    expect(two.says.find((s) => s.startsWith("shard"))).toContain("proved on the model made small");
    expect(four.says).toEqual(two.says);
    // Each is kept under what the pass does to the whole model, and to the small one, which is the same for both.
    expect([two.kept, four.kept]).toEqual([2 * two.says.length, 3 * two.says.length]);
  } finally {
    if (before === undefined) delete process.env.DSC_CACHE;
    else process.env.DSC_CACHE = before;
    rmSync(folder, { recursive: true });
  }
});
