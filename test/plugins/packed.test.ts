// The example from outside the tree: the package as npm packs it, installed in a folder of its own, with the plug-in beside it.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packedApp, root, type App } from "./packed-app.ts";

let app: string;
let dsc: App["dsc"];
afterAll(() => rmSync(app, { recursive: true }));

beforeAll(() => {
  ({ folder: app, dsc } = packedApp());
  copyFileSync(path.join(root, "examples/plugin-pass/last-row-norm.ts"), path.join(app, "last-row-norm.ts"));
  mkdirSync(path.join(app, "model"));
  copyFileSync(path.join(root, "examples/printed-model/config.json"), path.join(app, "model/config.json"));
});

test("it compiles, and the artifact records it", () => {
  const { status, out } = dsc("compile", "model/config.json", "-o", "out", "--plugin", "last-row-norm.ts");
  expect(out).toContain("normalise the last rows only");
  expect(status).toBe(0);
  expect(readFileSync(path.join(app, "out/manifest.json"), "utf8")).toMatch(
    /"plugins": "last-row-norm \(last-row-norm\.ts sha256:/,
  );
  const after = readdirSync(path.join(app, "out/graph")).find((n) => n.endsWith("-last-row-norm.dsc"))!;
  expect(readFileSync(path.join(app, "out/graph", after), "utf8")).toMatch(/%\w+ = last_rows %h_3, %batch .*\n.*rms_norm/);
});

test("dsc.config.ts in the working directory does the same", () => {
  writeFileSync(
    path.join(app, "dsc.config.ts"),
    `import { insertBefore, standard } from "dsc/passes";\nimport lastRowNorm from "./last-row-norm.ts";\nexport default { pipeline: insertBefore(standard, "last-rows", lastRowNorm) };\n`,
  );
  const { status, out } = dsc("compile", "model/config.json", "-o", "configured");
  rmSync(path.join(app, "dsc.config.ts"));
  expect(status).toBe(0);
  expect(out).toContain("plug-ins of the working directory: dsc.config.ts");
  expect(readFileSync(path.join(app, "configured/kernels/rms_norm_7168.txt"), "utf8").length).toBeGreaterThan(0);
  const functions = (folder: string): unknown =>
    (JSON.parse(readFileSync(path.join(app, folder, "manifest.json"), "utf8")) as { functions: unknown }).functions;
  expect(functions("configured")).toEqual(functions("out"));
});

test("it is proved on a small model, before and after", () => {
  const { status, out } = dsc("verify", "model/config.json", "--plugin", "last-row-norm.ts");
  expect(out).toMatch(/last-row-norm( +0)+/);
  expect(status).toBe(0);
});

test("its types are those of the package", () => {
  writeFileSync(
    path.join(app, "tsconfig.json"),
    JSON.stringify({
      compilerOptions: { module: "nodenext", target: "es2023", strict: true, noEmit: true, types: [] },
      files: ["last-row-norm.ts"],
    }),
  );
  const tsc = spawnSync(process.execPath, [path.join(root, "node_modules/typescript/bin/tsc"), "-p", "."], {
    cwd: app,
    encoding: "utf8",
  });
  expect(tsc.stdout + tsc.stderr).toBe("");
  // And they check something: a misspelt operand is an error.
  writeFileSync(
    path.join(app, "last-row-norm.ts"),
    readFileSync(path.join(app, "last-row-norm.ts"), "utf8").replace("lastRows({ x, batch })", "lastRows({ y: x, batch })"),
  );
  const wrong = spawnSync(process.execPath, [path.join(root, "node_modules/typescript/bin/tsc"), "-p", "."], {
    cwd: app,
    encoding: "utf8",
  });
  expect(wrong.stdout).toContain("error TS");
});
