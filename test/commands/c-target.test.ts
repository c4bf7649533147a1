// --target c where things are missing or break: a compiler, its end, instructions of the machine. No folder is half written.
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { writeArtifact } from "../../compiler/artifact/write.ts";
import { processors } from "../../codegen/loops/processor.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { generate, load } from "../../runtime/index.ts";
import { lacks } from "../conditions.ts";

const model = path.resolve(import.meta.dirname, "../fixtures/a06-v3-dense");
const work = mkdtempSync(path.join(tmpdir(), "dsc-c-target-"));
// A cache of this file's own, and little time spent on code that runs once.
process.env.DSC_CACHE = path.join(work, "cache");
process.env.CFLAGS = "-O0";
afterAll(() => rmSync(work, { recursive: true }));

const inC = (arch?: string): ReturnType<typeof compile> =>
  compile(model, { ...defaults, target: "c", ...(arch === undefined ? {} : { arch }) });

function withCC<T>(cc: string, body: () => T): T {
  const before = process.env.CC;
  process.env.CC = cc;
  try {
    return body();
  } finally {
    if (before === undefined) delete process.env.CC;
    else process.env.CC = before;
  }
}

/** A compiler that introduces itself, and then does this. */
function compilerThat(does: string): string {
  const file = path.join(work, "cc");
  writeFileSync(file, `#!/bin/sh\n[ "$1" = --version ] && { echo cc of a test; exit 0; }\n${does}\n`);
  chmodSync(file, 0o755);
  return file;
}

test("no compiler", () => {
  expect(() => withCC("/nonexistent/cc", () => inC())).toThrow(/DSC6032.*there is no C compiler: \/nonexistent\/cc/s);
});

test.skipIf(lacks("POSIX"))("a compiler that is killed, and one that refuses", () => {
  expect(() => withCC(compilerThat("kill -9 $$"), () => inC())).toThrow(/DSC6033.*SIGKILL/s);
  const ended = `[ -n "$(echo "$*" | grep -- -dM)" ] && exec cc "$@"; kill -9 $$`;
  expect(() => withCC(compilerThat(ended), () => inC())).toThrow(/DSC6033.*SIGKILL/s);
  expect(() => withCC(compilerThat("echo no such flag >&2; exit 1"), () => inC())).toThrow(/DSC6033.*no such flag/s);
  expect(existsSync(path.join(work, "cache", "libraries"))).toBe(false);
});

test.skipIf(lacks("POSIX")).each([
  ["__GNUC__ 9", "gcc 9"],
  ["__clang_major__ 11", "clang 11"],
])("a compiler that says %s of itself is too old", (macro, name) => {
  // clang has gcc's macro too.
  const cc = compilerThat(
    `case "$*" in *-dM*) printf '#define __GNUC__ 4\\n#define ${macro}\\n' | sort -r > made;; *) exit 1;; esac`,
  );
  expect(() => withCC(cc, () => inC())).toThrow(new RegExp(`DSC6048.*is ${name}, and kernels in C need gcc 12 or clang 12`, "s"));
});

test.skipIf(lacks("C compiler"))("an artifact runs where its instructions are, and says what is missing elsewhere", async () => {
  const compiled = inC();
  const { cpu } = compiled.manifest;
  const [here, elsewhere] = ["here", "elsewhere"].map((n) => path.join(work, n));
  writeArtifact(compiled, here);
  writeArtifact({ ...compiled, manifest: { ...compiled.manifest, cpu: { ...cpu!, requires: ["sse99"] } } }, elsewhere);
  await expect(load(elsewhere, { weights: model })).rejects.toThrow(/DSC5048.*lacks sse99/s);
  const kernels = Object.values(compiled.manifest.kernels);
  expect(readFileSync(path.join(here, kernels[0].text), "utf8")).toMatch(/#include "vectors.h"\n\nvoid \w+\(/);
  const loaded = await load(here, { weights: model, threads: 2 });
  for await (const step of generate(loaded, [[1, 2, 3]], { maxNew: 2 })) expect(step.ids).toHaveLength(1);
  await loaded.close();
});

test.skipIf(lacks("C compiler"))("--arch names another processor than this one", async () => {
  const { name } = processors.findLast((p) => p.arch === process.arch)!;
  const compiled = inC(name);
  expect(compiled.manifest.cpu).toMatchObject({ processor: name, requires: [] });
  const least = path.join(work, "least");
  writeArtifact(compiled, least);
  const loaded = await load(least, { weights: model, threads: 1 });
  for await (const step of generate(loaded, [[1, 2, 3]], { maxNew: 1 })) expect(step.ids).toHaveLength(1);
  await loaded.close();
  expect(() => inC("i386")).toThrow(/DSC6001.*no such processor/s);
});
