// dsc plugin new and check, and compile --types: what they write compiles, what they refuse is named with its line.
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { cli, root } from "./dsc.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-plugin-"));
afterAll(() => rmSync(work, { recursive: true }));
const dsc = (...words: string[]): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, [cli, ...words], { cwd: work, encoding: "utf8" });
const small = path.join(root, "test/fixtures/a02-v3-noq-nogroup");

test("new writes a plug-in that is right as it stands, and nothing over what is there", () => {
  expect(dsc("plugin", "new", "my-pass")).toMatchObject({ status: 0, stdout: expect.stringMatching(/^written to my-pass\.ts;/) });
  const text = readFileSync(path.join(work, "my-pass.ts"), "utf8");
  expect(text).toContain('export default plugin({ name: "my-pass", version: "0.1.0", passes: [myPassPass] });');
  const { status, stdout } = dsc("plugin", "check", "my-pass.ts", "--model", small);
  expect(stdout).toMatch(
    /^types: hold\nrule .*: its sides are equal\npass my-pass on a02-v3-noq-nogroup, made small: proved .*\nall of it/,
  );
  expect(status).toBe(0);
  expect(dsc("plugin", "new", "my-pass")).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/my-pass\.ts: it is there already/),
  });
  expect(dsc("plugin", "new", "MyPass")).toMatchObject({ status: 2, stderr: expect.stringMatching(/kebab-case/) });
});

test("check shows what TypeScript says, with its line; --json gives it as data", () => {
  const file = path.join(work, "typo.ts");
  writeFileSync(
    file,
    readFileSync(path.join(work, "my-pass.ts"), "utf8").replace(
      "lastRows({ x, batch }), gain, eps",
      "lastRows({ y: x, batch }), gain, eps",
    ),
  );
  expect(dsc("plugin", "check", "nothere.ts").stderr).toMatch(/DSC3101[^]*there is no such file/);
  const { status, stderr } = dsc("plugin", "check", "typo.ts");
  expect(stderr).toMatch(/^error\[DSC3112\]: .*'y' does not exist.* \(TS2353\)\n *--> typo\.ts:14:\d+\n/);
  expect(stderr).toMatch(/\n14 \| +to: \(.*\n +\| +\^/);
  expect(status).toBe(1);
  const { errors } = JSON.parse(dsc("plugin", "check", "typo.ts", "--json").stdout) as { errors: { code: string }[] };
  expect(errors[0].code).toBe("DSC3112");
  const { findings } = JSON.parse(dsc("plugin", "check", "my-pass.ts", "--json", "--model", small).stdout) as {
    findings: { proved: boolean }[];
  };
  expect(findings.length).toBe(3);
  expect(findings.every((f) => f.proved)).toBe(true);
});

test("--watch checks again at every change, and ends when it is interrupted", async () => {
  const file = path.join(work, "watched.ts");
  copyFileSync(path.join(work, "my-pass.ts"), file);
  const child = spawn(process.execPath, [cli, "plugin", "check", "watched.ts", "--watch", "--model", small], { cwd: work });
  let said = "";
  const heard = new Promise<void>((resolve) => {
    let changed = false;
    const hear = (data: Buffer): void => {
      said += data.toString();
      if (!changed && said.includes("watching")) {
        changed = true;
        writeFileSync(file, readFileSync(file, "utf8").replace('"my-pass"', '"MyPass"'));
      }
      if (/names a pass "MyPass"[^]*watching/.test(said)) resolve();
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
  });
  await heard;
  const ended = new Promise<number | null>((resolve) => child.on("exit", resolve));
  child.kill("SIGINT");
  expect(await ended).toBe(0);
});

test("compile --types: the artifact as a module that compiles under strict, and fails where a kernel is named that there is not", () => {
  const { status, stderr } = dsc("compile", small, "-o", "typed", "--types");
  expect(stderr).not.toMatch(/error/);
  expect(status).toBe(0);
  mkdirSync(path.join(work, "node_modules/@types"), { recursive: true });
  symlinkSync(root, path.join(work, "node_modules/dsc"));
  symlinkSync(path.join(root, "node_modules/@types/node"), path.join(work, "node_modules/@types/node"));
  const kernel = Object.keys(
    (JSON.parse(readFileSync(path.join(work, "typed/manifest.json"), "utf8")) as { kernels: object }).kernels,
  )[0];
  const use = (name: string): string => `import { dims, entries, kernels, open, type KernelName } from "./typed/model.ts";
const hidden: 64 = dims.hidden;
const shape: readonly ["T", 131] = entries.decode.results.logits.shape;
const name: KernelName = "${name}";
console.log(hidden, shape, kernels[name].family);
export const model = open({ weights: "x", threads: 1 });
`;
  const compilerOptions = {
    target: "es2022",
    lib: ["es2022"],
    module: "nodenext",
    moduleResolution: "nodenext",
    allowImportingTsExtensions: true,
    strict: true,
    noEmit: true,
    types: ["node"],
  };
  writeFileSync(path.join(work, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["use.mts"] }));
  writeFileSync(path.join(work, "package.json"), '{ "type": "module" }');
  const types = (name: string): string => {
    writeFileSync(path.join(work, "use.mts"), use(name));
    return spawnSync(process.execPath, [path.join(root, "node_modules/typescript/bin/tsc"), "-p", "."], {
      cwd: work,
      encoding: "utf8",
    }).stdout;
  };
  expect(types(kernel)).toBe("");
  expect(types("no_such_kernel")).toMatch(/TS2322/);
  // It is one of the artifact's own files: the next compile takes it away.
  expect(dsc("compile", small, "-o", "typed").status).toBe(0);
  expect(existsSync(path.join(work, "typed/model.ts"))).toBe(false);
});
