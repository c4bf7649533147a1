// --target tvm and --target native where things are missing or break: TVM, its version, its process, a linker. What needs no TVM stands on
// folders that look like one.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeArtifact } from "../../compiler/artifact/write.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { targetMeant } from "../../compiler/driver/native.ts";
import { noBrings } from "../../compiler/plugin/brings.ts";
import { findTvmCompiler } from "../../compiler/tvm/version.ts";
import { generate, load } from "../../runtime/index.ts";
import { lacks } from "../conditions.ts";
import { dsc } from "./dsc.ts";

const model = path.resolve(import.meta.dirname, "../fixtures/a06-v3-dense");
const work = mkdtempSync(path.join(tmpdir(), "dsc-tvm-target-"));
beforeAll(() => void (process.env.DSC_CACHE = path.join(work, "cache")));
afterAll(() => rmSync(work, { recursive: true }));

const byTvm = (): ReturnType<typeof compile> => compile(model, { ...defaults, target: "tvm", arch: "x86-64" });

/** Runs a body with these variables. */
function within<T>(variables: Record<string, string>, body: () => T): T {
  const before = Object.keys(variables).map((k) => [k, process.env[k]] as const);
  Object.assign(process.env, variables);
  try {
    return body();
  } finally {
    for (const [k, v] of before)
      if (v === undefined) delete process.env[k];
      else process.env[k] = v;
  }
}

/** A folder of packages that has a TVM of this version, with libraries that are none. */
function packages(version: string, libraries: readonly string[]): string {
  const site = mkdtempSync(path.join(work, "site-"));
  mkdirSync(path.join(site, "tvm/lib"), { recursive: true });
  mkdirSync(path.join(site, `apache_tvm-${version}.dist-info`));
  for (const name of libraries) writeFileSync(path.join(site, "tvm/lib", `lib${name}.so`), "");
  return site;
}
const both = ["tvm_runtime", "tvm_compiler"];

test("no TVM, TVM without its compiler, another version", () => {
  expect(() => within({ DSC_TVM: "/nonexistent" }, byTvm)).toThrow(/DSC6050.*libtvm_compiler is not found/s);
  const site = packages("0.27.0", ["tvm_runtime"]);
  expect(() => within({ DSC_TVM: site }, byTvm)).toThrow(/DSC6050.*there is none in .*tvm\/lib/s);
  const old = packages("0.26.1", both);
  expect(() => within({ DSC_TVM: old }, byTvm)).toThrow(/DSC6051.*TVM is 0\.26\.1; its constructors are known here for 0\.27/s);
});

test.skipIf(lacks("Linux"))("a process that is killed, and libraries that cannot be opened", () => {
  const site = packages("0.27.0", both);
  const kill = path.join(work, "kill.cjs");
  writeFileSync(kill, 'if (/compile-process/.test(process.argv[1])) process.kill(process.pid, "SIGKILL");');
  expect(() => within({ DSC_TVM: site, NODE_OPTIONS: `--require=${kill}` }, byTvm)).toThrow(/DSC6052.*ended by SIGKILL/s);
  expect(() => within({ DSC_TVM: site }, byTvm)).toThrow(/DSC6052.*libtvm_ffi cannot be opened/s);
  expect(existsSync(path.join(work, "cache/libraries"))).toBe(false);
});

test("native: C where there is a compiler, else WebAssembly with a note that says why", async () => {
  const nothing = { CC: "/nonexistent", DSC_TVM: "/nonexistent" };
  if (!lacks("C compiler")) expect(targetMeant("native", noBrings)).toEqual({ target: "c" });
  const { target, said } = within(nothing, () => targetMeant("native", noBrings));
  expect([target, said?.[0].code, said?.[0].severity]).toEqual(["cpu", "DSC6054", "warning"]);
  const ran = await within(nothing, () => dsc("compile", model, "--target", "native", "-o", path.join(work, "native")));
  expect(ran.code, ran.stderr).toBe(0);
  expect(ran.stderr).toMatch(/DSC6054.*kernels are WebAssembly.*there is no C compiler.*there is no TVM 0\.27/s);
  expect(ran.stdout).toContain("for cpu: ");
  const other = within({ ...nothing, DSC_TVM: packages("0.26.1", both) }, () => targetMeant("native", noBrings));
  expect(other.said?.[0].notes).toContain("TVM is 0.26.1, and 0.27 is known here");
});

test.skipIf(lacks("TVM compiler", "Linux"))("no linker", () => {
  expect(() => within({ LD: "/nonexistent" }, byTvm)).toThrow(/DSC6053.*no linker makes a library: \/nonexistent/s);
  expect(within({ CC: "/nonexistent", LD: "/nonexistent" }, () => targetMeant("native", noBrings)).target).toBe("cpu");
});

/** A load far outside its memory. */
const outOfBounds = `
  const code = [0,97,115,109,1,0,0,0,1,6,1,96,1,127,1,127,3,2,1,0,5,3,1,0,1,7,5,1,1,102,0,0,10,9,1,7,0,32,0,40,2,0,11];
  const { f } = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(code))).exports;
  try { f(1e8); } catch (e) { console.log(e.constructor.name); }
`;

test.skipIf(lacks("TVM compiler", "Linux"))(
  "an artifact by TVM: kept by digest, run with no TVM, by native too; its text and machine code are shown",
  async () => {
    expect(within({ CC: "/nonexistent" }, () => targetMeant("native", noBrings))).toEqual({ target: "tvm" });
    const compiled = byTvm();
    const { cpu, kernels } = compiled.manifest;
    expect(cpu).toMatchObject({
      processor: "x86-64",
      library: "kernels/library.so",
      compiler: expect.stringMatching(/^TVM 0\.27/),
    });
    // The second time nothing is compiled: the process would not find its linker.
    const again = within({ LD: "/nonexistent" }, byTvm);
    expect(again.manifest.files).toEqual(compiled.manifest.files);
    const out = path.join(work, "tvm");
    writeArtifact(compiled, out);
    const [name, { text }] = Object.entries(kernels)[0];
    expect(readFileSync(path.join(out, text), "utf8")).toMatch(
      /\n# from tvm\.script import tirx as T\n\n\n@T\.prim_func\(s_tir=True\)\ndef \w+\(/,
    );
    const inspected = await dsc("inspect", out, name);
    expect(inspected.stdout).toContain("@T.prim_func");
    expect((await dsc("inspect", out, name, "--asm")).stdout).toMatch(new RegExp(`^dsc_${name}:\n.*ret`, "s"));
    const exported = await dsc("export", "tvm", out, "-o", path.join(work, "kernels.so"));
    expect(exported.stderr).toContain("compiled by TVM, without launchers of tvm-ffi's ABI");
    const loaded = await load(out, { weights: model, threads: 2 });
    for await (const step of generate(loaded, [[1, 2, 3]], { maxNew: 2 })) expect(step.ids).toHaveLength(1);
    await loaded.close();
    expect(readFileSync("/proc/self/maps", "utf8")).not.toContain("libtvm_compiler");
  },
);

test.skipIf(lacks("TVM compiler", "Linux"))("loading TVM's compiler leaves WebAssembly's traps as they are", () => {
  const found = findTvmCompiler() as { ffi: string[]; libraries: string[] };
  const bindings = path.resolve(import.meta.dirname, "../../dist/runtime/tvm/library.js");
  const script = `
    import { library, openGlobally, useLibrary } from ${JSON.stringify(bindings)};
    useLibrary(...${JSON.stringify(found.ffi)});
    for (const file of ${JSON.stringify(found.libraries)}) openGlobally(file);
    ${outOfBounds}`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
  expect([status, stdout], stderr).toEqual([0, "RuntimeError\n"]);
});
