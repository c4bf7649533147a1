// dsc verify --mesh: the passes of a divided model are proved over all ranks, and a pass that drops a collective is found and named.
import path from "node:path";
import { expect, test } from "vitest";
import { prove } from "../../compiler/analysis/verify.ts";
import { passChanges } from "../../compiler/diagnostics/proof.ts";
import { loadSpec } from "../../compiler/frontend/config.ts";
import { shrink } from "../../compiler/analysis/shrink.ts";
import { allReduce, make } from "../../ir/index.ts";
import { pass } from "../../passes/pass.ts";
import { standard } from "../../passes/index.ts";
import { withRanks } from "../../passes/shard/pipeline.ts";
import { remakeFunc } from "../../passes/shard/remake.ts";
import { dsc } from "../commands/dsc.ts";

const fixtures = path.resolve(import.meta.dirname, "../fixtures");
// One of each architecture; every fixture on four meshes is in fixtures.test.ts, run.
const names = ["a02-v3-noq-nogroup", "a04-v2-group"];

for (const name of names)
  test(`${name}: every pass holds over two ranks`, () => {
    const small = shrink(loadSpec(path.join(fixtures, name), []).spec);
    for (const mesh of ["tp=2"]) {
      const proofs = prove(small, withRanks(standard), { "shard.mesh": mesh }, { contracts: false });
      expect(proofs.filter((p) => !p.holds)).toEqual([]);
      expect(proofs.map((p) => p.pass)).toContain("shard");
    }
  });

test("a pass that drops a collective does not hold, and the collective is named", () => {
  const small = shrink(loadSpec(path.join(fixtures, "a01-v3-yarn"), []).spec);
  const drops = pass({
    name: "drops",
    summary: "Drop every sum over the ranks.",
    steps: {},
    promises: [],
    whole: (m) => ({
      ...m,
      funcs: new Map(
        [...m.funcs].map(([name, f]) => [
          name,
          remakeFunc(f, m.graph, {
            weight: (_, was) => was,
            param: (t) => t,
            given: (operands) => operands,
            result: (v) => v,
            make: (op, operands, attrs, region) =>
              op.name === allReduce.op.name ? operands : make(op, operands, attrs, region, operands[0]?.node.graph),
          }),
        ]),
      ),
    }),
  });
  const proofs = prove(small, withRanks([drops]), { "shard.mesh": "tp=2" }, { contracts: false });
  const bad = proofs.filter((p) => !p.holds);
  expect(new Set(bad.map((p) => p.pass))).toEqual(new Set(["drops"]));
  for (const p of bad) expect(p.lost).toContainEqual(expect.stringMatching(/^\d+ all_reduce in @/));
  const { title, notes } = passChanges({ pass: "drops", where: "prefill", difference: 1, lost: bad[0].lost! });
  expect(title).toContain("drops changes what is computed");
  expect(notes!.join("\n")).toMatch(/ranks no longer meet where they did: \d+ all_reduce in @/);
});

test("the command takes a mesh, and refuses what is none", async () => {
  const { code, stdout } = await dsc("verify", path.join(fixtures, "a01-v3-yarn"), "--mesh", "tp=2", "--json");
  expect(code).toBe(0);
  const { ok, proofs, groups } = JSON.parse(stdout) as { ok: boolean; proofs: { pass: string }[]; groups: { group: string }[] };
  expect(groups.map((g) => g.group)).toEqual(["attention", "dense", "experts", "router", "head"]);
  expect(ok).toBe(true);
  expect(proofs.map((p) => p.pass)).toEqual(expect.arrayContaining(["shard", "rank"]));
  const refused = await dsc("verify", path.join(fixtures, "a01-v3-yarn"), "--mesh", "tp=4,ep=3");
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toContain("DSC2014");
});
