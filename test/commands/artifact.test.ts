// An artifact's folder while it is written: a reader finds the old artifact or the new one, whole, whatever was killed and
// however many write at once.
import { spawn, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { manifestText, writeArtifact } from "../../compiler/artifact/write.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import { readArtifact } from "../../runtime/index.ts";
import { at, cli, dsc, dscIn, filesOf, root } from "./dsc.ts";

const small = path.join(root, "test/fixtures/a06-v3-dense");
const all = compile(small, defaults);
const none = compile(small, { ...defaults, passes: "none" });
const texts = [manifestText(all), manifestText(none)];

/** What a reader finds, or the reason it finds nothing. */
async function found(folder: string): Promise<string> {
  const { manifest, files } = await readArtifact(folder, () => true);
  for (const [name, digest] of Object.entries(manifest.files))
    expect(createHash("sha256").update(files.get(name)!).digest("hex")).toBe(digest);
  return manifestText({ manifest });
}

const leftovers = (folder: string): string[] => readdirSync(folder).filter((n) => n.startsWith(".dsc-"));

/** A process that writes the two artifacts in turn, for ever, with `pause` ms between; resolves when it has begun. */
async function writer(folder: string, first: string, pause = 0): Promise<ChildProcess> {
  const script = `
    const { writeArtifact } = await import(${JSON.stringify(path.join(root, "dist/compiler/artifact/write.js"))});
    const { compile, defaults } = await import(${JSON.stringify(path.join(root, "dist/compiler/compile.js"))});
    const made = ["all", "none"].map((passes) => compile(${JSON.stringify(small)}, { ...defaults, passes }));
    if (${JSON.stringify(first)} === "none") made.reverse();
    process.stdout.write("begun");
    for (;;)
      for (const c of made) {
        writeArtifact(c, ${JSON.stringify(folder)});
        if (${pause} > 0) await new Promise((resolve) => setTimeout(resolve, ${pause}));
      }`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  await new Promise((resolve, reject) => {
    child.stdout.once("data", resolve);
    child.once("exit", (code) => reject(new Error(`the writer ended with ${code}`)));
  });
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  expect(child.exitCode, "the writer ended by itself").toBeNull();
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await ended;
}

test("killing writers at any moment leaves one of the two artifacts, whole, and the next compile tidies up", async () => {
  const folder = at("killed");
  writeArtifact(all, folder);
  const delays = fc.sample(fc.integer({ min: 0, max: 40 }), { seed: 4, numRuns: 100 });
  let torn = 0;
  for (const [i, ms] of delays.entries()) {
    if (i >= 15 && torn) break;
    const child = await writer(folder, i % 2 ? "all" : "none");
    await sleep(ms);
    await kill(child);
    torn += leftovers(folder).length > 0 ? 1 : 0;
    expect(texts).toContain(await found(folder));
  }
  // The test means nothing unless some were caught in the act.
  expect(torn).toBeGreaterThan(0);
  writeArtifact(none, folder);
  writeArtifact(all, folder);
  expect(leftovers(folder)).toEqual([]);
  expect([...filesOf(folder).keys()]).toEqual([...Object.keys(all.manifest.files), "manifest.json"].toSorted());
});

test("killing dsc compile at any moment does too", async () => {
  const folder = at("killed-command");
  const made = await dsc("compile", small, "-o", folder);
  expect(made.code).toBe(0);
  const before = readFileSync(path.join(folder, "manifest.json"), "utf8");
  const delays = fc.sample(fc.integer({ min: 0, max: 700 }), { seed: 5, numRuns: 10 });
  for (const [i, ms] of delays.entries()) {
    const child = spawn(process.execPath, [cli, "compile", small, "-o", folder, ...(i % 2 ? [] : ["--passes", "none"])], {
      stdio: "ignore",
    });
    await sleep(ms);
    if (child.exitCode === null) await kill(child);
    expect(texts).toContain(await found(folder));
  }
  await dsc("compile", small, "-o", folder);
  expect(readFileSync(path.join(folder, "manifest.json"), "utf8")).toBe(before);
  expect(leftovers(folder)).toEqual([]);
});

test("two that write into one folder never mix, and a reader beside them sees whole artifacts only", async () => {
  const folder = at("both");
  writeArtifact(all, folder);
  const writers = await Promise.all([writer(folder, "all", 25), writer(folder, "none", 35)]);
  const seen = new Set<string>();
  for (let reads = 0; reads < 100 || seen.size < 2; reads++) seen.add(await found(folder));
  for (const w of writers) await kill(w);
  expect([...seen].toSorted()).toEqual(texts.toSorted());
  expect(texts).toContain(await found(folder));
});

describe("what lies in the folder already", () => {
  test("two commands at once, into a folder that is not there", async () => {
    const folder = at("race/new");
    const answers = await Promise.all([
      dscIn({}, "compile", small, "-o", folder),
      dscIn({}, "compile", small, "-o", folder, "--passes", "none"),
    ]);
    expect(answers.map((a) => a.code)).toEqual([0, 0]);
    expect(texts).toContain(await found(folder));
    expect(leftovers(folder)).toEqual([]);
  });

  test("a compile killed before it ever finished leaves nothing that passes for an artifact, and is no obstacle", async () => {
    const folder = at("first");
    mkdirSync(path.join(folder, ".dsc-1073741824-abc/graph"), { recursive: true });
    mkdirSync(path.join(folder, "graph"));
    await expect(readArtifact(folder)).rejects.toThrow("DSC5001");
    writeArtifact(all, folder);
    expect(await found(folder)).toBe(texts[0]);
    expect(leftovers(folder)).toEqual([]);
  });

  test("the lock of a process that ended is taken over; what others put beside the artifact stays", async () => {
    const folder = at("stale");
    writeArtifact(all, folder);
    writeFileSync(path.join(folder, ".dsc-lock"), "1073741824");
    writeFileSync(path.join(folder, "notes.md"), "mine");
    writeArtifact(none, folder);
    expect(await found(folder)).toBe(texts[1]);
    expect(readFileSync(path.join(folder, "notes.md"), "utf8")).toBe("mine");
    expect(leftovers(folder)).toEqual([]);
  });

  test("what cannot be written leaves no folder", () => {
    const folder = at("long");
    const bad = { manifest: all.manifest, files: new Map([["x".repeat(300), "too long a name"]]) };
    expect(() => writeArtifact(bad, folder)).toThrow("DSC6002");
    expect(existsSync(folder)).toBe(false);
  });
});
