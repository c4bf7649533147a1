// A model folder is data: a dsc.config in it never runs, from wherever and by whatever name the folder is given. The working
// directory's own runs, and is named.
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");
const cli = path.join(root, "dist/compiler/cli.js");
const work = mkdtempSync(path.join(tmpdir(), "dsc-own-config-"));
afterAll(() => rmSync(work, { recursive: true }));

const ran = path.join(work, "ran");
const proof = `import { writeFileSync } from "node:fs"; writeFileSync(${JSON.stringify(ran)}, "1"); export default (pipeline) => pipeline;`;
const project = path.join(work, "project");
const model = path.join(project, "model");
mkdirSync(path.join(model, "sub"), { recursive: true });
const fixture = path.join(root, "test/fixtures/a01-v3-yarn");
for (const f of readdirSync(fixture))
  if (/^(config\.json|model\.safetensors)$/.test(f)) copyFileSync(path.join(fixture, f), path.join(model, f));
for (const name of ["dsc.config.ts", "dsc.config.mjs", "sub/dsc.config.ts"]) writeFileSync(path.join(model, name), proof);
symlinkSync(model, path.join(work, "linked"));
// As a hub's cache lays snapshots out: every file is a link.
const snapshot = path.join(work, "snapshot");
mkdirSync(snapshot);
symlinkSync(path.join(model, "config.json"), path.join(snapshot, "config.json"));
const other = path.join(work, "other");
mkdirSync(other);
copyFileSync(path.join(fixture, "config.json"), path.join(other, "config.json"));

beforeEach(() => rmSync(ran, { force: true }));

const dsc = (cwd: string, ...words: string[]): { status: number | null; err: string } => {
  const { status, stderr } = spawnSync(process.execPath, [cli, ...words], {
    cwd,
    encoding: "utf8",
    env: { ...process.env, DSC_CACHE: path.join(work, "cache") },
  });
  return { status, err: stderr };
};
const out = ["-o", path.join(work, "out"), "--passes", "none"];

describe("code in a model folder does not run", () => {
  test.each([
    ["compile of the folder", project, ["compile", "model", ...out]],
    ["compile of its config", project, ["compile", "model/config.json", ...out]],
    ["compile by a link", project, ["compile", path.join(work, "linked"), ...out]],
    ["run", project, ["run", "model", "--ids", "1,2", "--max-new", "1", "--passes", "none"]],
    ["compile from within", model, ["compile", ".", ...out]],
    ["compile from within, by the config", model, ["compile", "config.json", ...out]],
    ["compile from within, by a link", model, ["compile", path.join(work, "linked"), ...out]],
    ["compile from a folder of it", path.join(model, "sub"), ["compile", "..", ...out]],
    ["compile from within, through a snapshot of links", model, ["compile", snapshot, ...out]],
    ["compile of another model, from within", model, ["compile", path.join(other, "config.json"), ...out]],
    [
      "run with its weights, from within",
      model,
      ["run", path.join(other, "config.json"), "--weights", ".", "--ids", "1", "--max-new", "1", "--passes", "none"],
    ],
    ["opt from within", model, ["opt", path.join(work, "text.dsc"), "-p", "none"]],
  ])("%s", (_, cwd, words) => {
    writeFileSync(
      path.join(work, "text.dsc"),
      "module t\n\nfunc @f(%a: [T, 4] f32) assume {T = 16} {\n  %y = scale %a {by = 0.5}\n  return y = %y\n}\n\nentry prefill = @f\nentry extend = @f\nentry decode = @f\n",
    );
    const { status, err } = dsc(cwd, ...words);
    expect(existsSync(ran)).toBe(false);
    expect(err).toMatch(/warning\[DSC3106\]: \S*dsc\.config\.\w+ is not run/);
    expect(status).toBe(0);
  });

  test("it runs when it is asked for by name", () => {
    const { status, err } = dsc(model, "compile", ".", ...out, "--plugin", "dsc.config.ts");
    expect(status).toBe(0);
    expect(existsSync(ran)).toBe(true);
    expect(err).not.toContain("DSC3106");
  });
});

test("the working directory's own runs, and is named on stderr", () => {
  writeFileSync(path.join(project, "dsc.config.mts"), proof);
  const { status, err } = dsc(project, "compile", path.join(other, "config.json"), ...out);
  rmSync(path.join(project, "dsc.config.mts"));
  expect(status).toBe(0);
  expect(existsSync(ran)).toBe(true);
  expect(err).toContain("plug-ins of the working directory: dsc.config.mts");
});

test("Python does not look into the folder it is started from", () => {
  writeFileSync(path.join(model, "triton.py"), `open(${JSON.stringify(ran)}, "w").write("1")`);
  dsc(model, "doctor");
  dsc(model, "compile", ".", "-o", path.join(work, "triton"), "--target", "triton");
  expect(existsSync(ran)).toBe(false);
});
