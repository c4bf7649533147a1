// The package's types in a project of its own, as Node projects set TypeScript up: no browser library, and declarations checked.
import { spawnSync } from "node:child_process";
import { mkdtempSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Node, Project } from "ts-morph";
import { afterAll, beforeAll, expect, test } from "vitest";
import { lacks, olderCompilers } from "../conditions.ts";
import { documented, portable } from "./declarations.ts";

const root = path.resolve(import.meta.dirname, "../..");
const dist = path.join(root, "dist");
const app = mkdtempSync(path.join(tmpdir(), "dsc-types-"));
afterAll(() => rmSync(app, { recursive: true }));

const files = ["ir", "passes", "codegen", "runtime", "compiler"].flatMap((f) =>
  (readdirSync(path.join(dist, f), { recursive: true }) as string[]).map((n) => path.join(dist, f, n)),
);

beforeAll(() => {
  mkdirSync(path.join(app, "node_modules/@types"), { recursive: true });
  symlinkSync(root, path.join(app, "node_modules/dsc"));
  symlinkSync(path.join(root, "node_modules/@types/node"), path.join(app, "node_modules/@types/node"));
  const compilerOptions = {
    target: "es2022",
    lib: ["es2022"],
    module: "nodenext",
    moduleResolution: "nodenext",
    strict: true,
    skipLibCheck: false,
    noEmit: true,
    types: ["node"],
  };
  writeFileSync(path.join(app, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["app.mts"] }));
  writeFileSync(
    path.join(app, "app.mts"),
    `import { compile, load as loadModel } from "dsc";
import { DiagnosticError, load, stream, loadTokenizer } from "dsc/runtime";
import { linear } from "dsc/ir";
import { standard } from "dsc/passes";
import { families } from "dsc/codegen";
import { float } from "dsc/tvm";
const e: unknown = new Error();
if (e instanceof DiagnosticError) console.log(e.diagnostics[0].code);
const model = await load("artifact", { weights: "model" });
for await (const text of stream(model, await loadTokenizer("model"), "She was", { maxNew: 40 })) process.stdout.write(text);
console.log(linear, standard, families, float);
const { folder } = await compile("model", { target: "cuda", out: "artifact" });
await using same = await loadModel(folder, { weights: "model" });
console.log(same);
`,
  );
});

const types = (tsc: string): string => spawnSync(process.execPath, [tsc, "-p", app], { encoding: "utf8" }).stdout;

test("es2022 without a browser library, declarations checked, and the class of errors is a class", () => {
  expect(types(path.join(root, "node_modules/typescript/bin/tsc"))).toBe("");
});

test.skipIf(lacks("older compilers"))("the same under older compilers", () => {
  for (const tsc of olderCompilers()) expect(types(tsc), tsc).toBe("");
});

test("every public name has documentation from its declaration", () => {
  const project = new Project({ compilerOptions: { types: [] } });
  const bare: string[] = [];
  for (const entry of ["compiler", "compiler/plugin", "ir", "passes", "codegen", "runtime", "runtime/tvm"])
    for (const [name, [d]] of project.addSourceFileAtPath(path.join(dist, entry, "index.d.ts")).getExportedDeclarations()) {
      const statement = Node.isVariableDeclaration(d) ? d.getVariableStatement() : d;
      if (!(statement && Node.isJSDocable(statement) && statement.getJsDocs().length)) bare.push(`dsc/${entry} ${name}`);
    }
  expect(bare).toEqual([]);
});

test("declarations say nothing that compilers before 5.7 do not know", () => {
  for (const file of files.filter((f) => f.endsWith(".d.ts"))) {
    const text = readFileSync(file, "utf8");
    expect(portable(text), file).toBe(text);
    expect(text, file).not.toMatch(/(?:Array|Buffer)<Array|WebAssembly\./);
  }
});

test("builders of ops have their op's summary, and words of their own stay", () => {
  expect(readFileSync(path.join(dist, "ir/ops/dense.d.ts"), "utf8")).toMatch(
    /\/\*\* y = x wᵀ\..* \*\/\nexport declare const linear:/,
  );
  for (const file of files.filter((f) => /ir\/ops\/(?!index|module)\w+\.d\.ts$/.test(f)))
    for (const [, before, name] of readFileSync(file, "utf8").matchAll(
      /(.*)\nexport declare const (\w+): import\("[^"]*op\.js"\)\.Builder/g,
    ))
      expect(before, name).toMatch(/\*\/$/);
  expect(documented("/** Mine. */\nexport declare const a: X;", () => "Theirs.")).toBe(
    "/** Mine. */\nexport declare const a: X;",
  );
});

test("maps of sources hold what they map to, and no test is packed", () => {
  for (const file of files.filter((f) => f.endsWith(".js.map")))
    expect(
      (JSON.parse(readFileSync(file, "utf8")) as { sourcesContent?: string[] }).sourcesContent?.length,
      file,
    ).toBeGreaterThan(0);
  const { files: packed } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as { files: string[] };
  expect(packed.filter((f) => f === "dist" || f.includes("test"))).toEqual([]);
});
