// The package by its own name, as a Node team has it: compile a model folder, load it or what was compiled, generate; and what is
// said of arguments that are none.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compile, DiagnosticError, generate, load, loadTokenizer, stream } from "../../compiler/index.ts";

const root = path.resolve(import.meta.dirname, "../..");
const work = mkdtempSync(path.join(tmpdir(), "dsc-api-"));
afterAll(() => rmSync(work, { recursive: true }));
const fixture = path.join(root, "test/fixtures/a01-v3-yarn");
const tiny = path.join(root, "examples/tiny-r1");

test("a model folder is compiled and loaded by one call, with its own checkpoint", async () => {
  await using model = await load(tiny);
  let text = "";
  for await (const piece of stream(model, await loadTokenizer(tiny), "Elizabeth was delighted", { maxNew: 8 })) text += piece;
  expect(text).toMatch(/^ to see Mr/);
});

test("an artifact is written where it is asked for, and what compile gives can be loaded", async () => {
  const out = path.join(work, "a01");
  const artifact = await compile(fixture, { out, passes: "all,-add-norm", set: { rms_norm_eps: 1e-5 } });
  expect(artifact.folder).toBe(out);
  expect(JSON.parse(readFileSync(path.join(out, "manifest.json"), "utf8"))).toMatchObject({ ...artifact.manifest });
  expect(artifact.manifest.options.passes).toBe("all,-add-norm");
  expect(String(artifact.files.get("graph/00-frontend.dsc"))).toContain("{eps = 0.00001}");
  expect(artifact.ledger.some((e) => e.pass === "fuse-linear")).toBe(true);
  await using model = await load(artifact, { weights: fixture });
  const steps = [];
  for await (const step of generate(model, [[1, 2, 3]], { maxNew: 2 })) steps.push(step);
  expect(steps).toHaveLength(2);
});

test("without a place, the artifact lies in the user's cache", async () => {
  const { folder } = await compile(fixture);
  expect(existsSync(path.join(folder, "manifest.json"))).toBe(true);
});

test("settings of a model folder go to the compiler, those of the runtime to the runtime", async () => {
  await using model = await load(path.join(fixture, "config.json"), { weights: "synthetic:1", threads: 1, layers: 1 });
  expect(model.manifest.model.layers).toBe(1);
});

describe("arguments that are none", () => {
  const said = async (f: () => Promise<unknown>): Promise<string> => {
    try {
      await f();
    } catch (e) {
      if (e instanceof DiagnosticError) return `${e.diagnostics[0].code} ${e.diagnostics[0].title}; ${e.diagnostics[0].help}`;
      throw e;
    }
    return "nothing";
  };
  test.each<[string, () => Promise<unknown>, string | RegExp]>([
    ["no source", () => compile(undefined as never), /^DSC5039 compile: src is not given/],
    ["an option that is none", () => compile(fixture, { traget: "cuda" } as never), /^DSC5038 .*traget; did you mean target\?/],
    ["a target that is none", () => compile(fixture, { target: "gpu" as never }), /^DSC5039 compile: target is "gpu"/],
    ["layers that are no count", () => compile(fixture, { layers: 0.5 }), /^DSC5039 compile: layers is 0\.5/],
    ["a set that is a text", () => compile(fixture, { set: "a=1" as never }), /^DSC5039 compile: set is "a=1"/],
    ["an arch of the CPU", () => compile(fixture, { arch: "sm_90" }), /^DSC5039 compile: arch with target cpu/],
    ["an arch that is none", () => compile(fixture, { target: "cuda", arch: "sm_1" }), /sm_1/],
    ["cubins of the CPU", () => compile(fixture, { cubin: true }), /^DSC5039 compile: cubin is true/],
    ["plugins that are no list", () => compile(fixture, { plugins: "p.ts" as never }), /^DSC5039 compile: plugins is "p\.ts"/],
    ["a plug-in that is not there", () => compile(fixture, { plugins: ["nowhere.ts"] }), /^DSC3101/],
    ["a pass that is none", () => compile(fixture, { passes: "tidi" }), /^DSC3001 .*tidi"; did you mean tidy\?/],
    ["an option of no pass", () => compile(fixture, { passOptions: { "tidy.by": "1" } }), /^DSC3\d\d\d/],
    ["a folder that is not there", () => compile(path.join(work, "nowhere")), /nowhere/],
    ["a file in the place of the artifact", () => compile(fixture, { out: import.meta.filename }), /it is a file/],
    [
      "a promise instead of an artifact",
      () => load(compile(fixture) as never),
      /^DSC5039 load: where is an (empty )?object.*await it/,
    ],
    ["nothing to load", () => load({} as never), /^DSC5039 load: where is an empty object/],
    ["an artifact without weights", async () => load(await compile(fixture)), /^DSC5039 load: weights is not given/],
    [
      "settings of an artifact",
      async () => load(await compile(fixture), { weights: fixture, target: "cuda" }),
      /^DSC5039 load: target with an artifact/,
    ],
    ["weights that are no text", () => load(fixture, { weights: 7 as never }), /^DSC5039 load: weights is 7/],
    ["a config without its model", () => load(work), /config\.json/],
  ])("%s", async (_, f, says) => expect(await said(f)).toMatch(says));
});
