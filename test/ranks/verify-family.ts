// node dist/test/ranks/verify-family.js [CONFIG,...] [MESH...]: what dsc verify --mesh proves, for every config of the family and every
// fixture, a line for each mesh, by group. Takes tens of minutes for all; groups.test.ts holds a few of them.
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { proveGroups, seen } from "../../compiler/analysis/mesh-groups.ts";
import { shrinkFor } from "../../compiler/analysis/shrink-mesh.ts";
import { prove } from "../../compiler/analysis/verify.ts";
import { loadSpec, specOf } from "../../compiler/frontend/config.ts";
import { sourceOf } from "../../compiler/frontend/source.ts";
import type { ModelSpec } from "../../compiler/frontend/spec.ts";
import { meshWords, parseMesh } from "../../ir/mesh.ts";
import { standard } from "../../passes/index.ts";
import { withRanks } from "../../passes/shard/pipeline.ts";
import { family } from "../device/family-configs.ts";
import { root } from "../device/models.ts";
import { kimiK2 } from "../relatives.ts";

const fileOf = (name: string): string => path.join(root, "test/configs", `${name}.json`);
const ofFile = (name: string): ModelSpec => loadSpec(fileOf(name), []).spec;
const ofConfig = (config: object): ModelSpec => specOf(sourceOf(JSON.stringify(config), "config.json", ".", [])).spec;
const fixtures = path.join(root, "test/fixtures");
const specs: Record<string, () => ModelSpec> = {
  "DeepSeek-R1": () => ofFile("DeepSeek-R1"),
  "DeepSeek-V3.1": () => ofFile("DeepSeek-V3.1"),
  "DeepSeek-V2": () => ofFile("DeepSeek-V2"),
  "Kimi-K2": () => ofConfig(kimiK2(JSON.parse(readFileSync(fileOf("DeepSeek-R1"), "utf8")) as Record<string, unknown>)),
  ...Object.fromEntries(Object.entries(family).map(([name, config]) => [name, () => ofConfig(config())])),
  ...Object.fromEntries(
    readdirSync(fixtures)
      .filter((name) => /^a\d\d-/.test(name))
      .map((name) => [name, () => loadSpec(path.join(fixtures, name), []).spec]),
  ),
  "tiny-r1": () => loadSpec(path.join(root, "examples/tiny-r1"), []).spec,
};
const [names = "all", ...meshes] = process.argv.slice(2);
const chosen = names === "all" ? Object.keys(specs) : names.split(";");
let bad = 0;
for (const name of chosen)
  for (const words of meshes.length ? meshes : ["tp=2", "tp=4", "tp=8", "ep=2", "ep=4", "tp=4,ep=2"]) {
    const mesh = parseMesh(words);
    const small = shrinkFor(specs[name](), mesh);
    const groups = proveGroups(small, mesh);
    const proofs = prove(small, withRanks(standard), { "shard.mesh": meshWords(mesh) }, { contracts: false });
    const faults = groups.flatMap((g) => g.faults);
    const failed =
      proofs.filter((p) => !p.holds).length + groups.filter((g) => !g.holds).length + faults.filter((f) => !seen(f)).length;
    bad += failed;
    const said = groups.map(
      (g) => `${g.group} ${g.divided.length || g.group === "router" ? g.difference.toExponential(1) : "whole"}`,
    );
    process.stdout.write(
      `${failed ? "BROKEN " : ""}${name} ${words}: ${said.join(", ")}; ${proofs.length - proofs.filter((p) => !p.holds).length} of ` +
        `${proofs.length} passes hold; ${faults.filter(seen).length} of ${faults.length} faults found\n`,
    );
  }
process.exitCode = bad ? 1 : 0;
