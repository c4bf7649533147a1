// Two of dsc's own passes and one of its hand-written kernels live on the public API alone: their files, with each import turned into the
// package's entry of its folder, are plug-ins, and what is compiled with them is what is compiled without.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { compile, defaults } from "../../compiler/compile.ts";
import { loadPlugins } from "../../compiler/driver/plugins.ts";

const root = path.resolve(import.meta.dirname, "../..");
const work = mkdtempSync(path.join(tmpdir(), "dsc-own-"));
afterAll(() => rmSync(work, { recursive: true }));
const fixture = path.join(root, "test/fixtures/a07-v3-fp8");

/** Names that an entry exports otherwise than their files. */
const aliases: Readonly<Record<string, string>> = { mul: "mulSize as mul", add: "add" };

const familyNamed = (id: string): string =>
  `import { families } from "dsc/codegen";\nconst ${id} = families.${snake(id.replace(/Family$/, ""))};`;
const snake = (id: string): string => id.replaceAll(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);

/** A source file as a plug-in, `ends` behind it. */
function outside(source: string, ends: string, change: (text: string) => string = (t) => t): string {
  const text = readFileSync(path.join(root, source), "utf8").replaceAll(
    /^import (type )?\{([^}]*)\} from "(\.[^"]*)";$/gm,
    (_, type: string | undefined, names: string, from: string) => {
      const to = path.relative(root, path.resolve(root, path.dirname(source), from));
      const [entry] = to.split("/");
      // Families are given by name.
      if (/^codegen\/kernels\/\w+\.ts$/.test(to))
        return names
          .split(",")
          .map((n) => familyNamed(n.trim()))
          .join("\n");
      const isSize = to === "ir/size.ts";
      // What a tile program or a launch is made of is codegen's to give.
      const by = /^ir\/(kernel|machine)/.test(to) ? "codegen" : entry;
      const listed = names
        .split(",")
        .map((n) => n.trim())
        .filter(Boolean);
      return `import ${type ?? ""}{ ${listed.map((n) => (isSize ? (aliases[n] ?? n) : n)).join(", ")} } from "dsc/${by}";`;
    },
  );
  expect(text).not.toMatch(/from "\./);
  const file = path.join(work, path.basename(source));
  writeFileSync(file, `${change(text)}\n${ends}\n`);
  return file;
}

test.each([
  ["passes/moe/quantise-once.ts", "quantise-once", "quantiseOnce"],
  ["passes/residual/last-rows.ts", "last-rows", "lastRows"],
])("%s", async (source, name, id) => {
  const ends = `export default (pipeline: any[]) => pipeline.map((p) => (p.name === "${name}" ? ${id} : p));`;
  const { pipeline } = await loadPlugins(undefined, [outside(source, ends)], { config: false });
  expect(pipeline.find((p) => p.name === name)?.plugin).toBeDefined();
  const [own, theirs] = [compile(fixture, defaults), compile(fixture, defaults, pipeline)];
  expect(own.outcome.ledger.entries.filter((e) => e.pass === name && e.outcome === "fired").length).toBeGreaterThan(0);
  expect(theirs.files).toEqual(own.files);
  expect(theirs.proofs[0].proved).toBe(true);
});

test("codegen/cuda/sm90/rows/argmax.ts", async () => {
  const ends =
    'import { plugin } from "dsc/plugin";\n' +
    "const tried = { ...argmaxNative, cases: [{ sizes: { B: 3, V: 5000 } }] };\n" +
    'export default plugin({ name: "argmax-outside", natives: { sm_90: [tried] } });';
  const file = outside("codegen/cuda/sm90/rows/argmax.ts", ends, (t) => t.replace(/family: "\w+"/, 'family: "argmax_outside"'));
  const { pipeline, brings } = await loadPlugins(undefined, [file], { config: false });
  const kernels = (options: object): string[] => {
    const { manifest, files } = compile(fixture, { ...defaults, target: "cuda", ...options }, pipeline);
    return Object.values(manifest.kernels)
      .filter((k) => k.family.startsWith("argmax"))
      .map((k) => String(files.get(k.text)).replaceAll("argmax_outside", "argmax_rows"));
  };
  const family = readFileSync(path.join(root, "codegen/cuda/sm90/rows/argmax.ts"), "utf8").match(/family: "(\w+)"/)![1];
  const own = kernels({ natives: family }).map((t) => t.replaceAll(`family ${family}`, "family argmax_rows"));
  expect(own.length).toBeGreaterThan(0);
  expect(kernels({ natives: "argmax_outside", brings })).toEqual(own);
});
