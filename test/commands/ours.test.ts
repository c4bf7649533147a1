// dsc compile -o OUT replaces only what dsc wrote and nobody changed. Every folder of somebody else's is refused as it is, byte for
// byte, and what lies beside an artifact's own files stays.
import { lstatSync, mkdirSync, readFileSync, readdirSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { manifestText, writeArtifact } from "../../compiler/artifact/write.ts";
import { compile, defaults } from "../../compiler/compile.ts";
import type { Manifest } from "../../ir/artifact.ts";
import { filesOfManifest } from "../../runtime/manifest-text.ts";
import { at, dscIn, root } from "./dsc.ts";

const small = path.join(root, "test/fixtures/a06-v3-dense");
const all = compile(small, defaults);
const none = compile(small, { ...defaults, passes: "none" });
let count = 0;

/** A folder of these files; a name that ends in @ is a link to the text. */
function folder(files: Record<string, string>): string {
  const out = at(`ours-${count++}`);
  mkdirSync(out, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(out, name.replace(/@$/, ""));
    mkdirSync(path.dirname(file), { recursive: true });
    if (name.endsWith("@")) symlinkSync(text, file);
    else writeFileSync(file, text);
  }
  return out;
}

/** Everything in a folder: names, kinds, links' targets, bytes. */
function picture(at: string): string[] {
  return readdirSync(at, { withFileTypes: true }).flatMap((e) => {
    const p = path.join(at, e.name);
    if (e.isDirectory()) return [`${p}/`, ...picture(p)];
    return [`${p} ${e.isSymbolicLink() ? `-> ${readlinkSync(p)}` : readFileSync(p, "latin1")} ${lstatSync(p).mtimeMs}`];
  });
}

/** An artifact in a folder, and then a change to it. */
function artifact(change: (out: string, m: Manifest) => void): string {
  const out = at(`ours-${count++}`);
  writeArtifact(all, out);
  change(out, structuredClone(all.manifest));
  return out;
}

const kernel = Object.keys(all.manifest.files).find((f) => f.startsWith("kernels/") && !f.endsWith(".wasm"))!;
const elsewhere = folder({ "kernels/mine.txt": "mine", "one.txt": "mine" });

describe("a folder of somebody else's is refused untouched", () => {
  test.each<[string, () => string]>([
    [
      "a manifest.json with a files key that names what is there",
      () => folder({ "src/main.c": "mine", ".git/config": "mine", "manifest.json": '{"files":{"src/x":"",".git/y":""}}' }),
    ],
    [
      "a browser extension",
      () =>
        folder({
          "manifest.json": '{"manifest_version":3}',
          "kernels/mine.txt": "mine",
          "graph/mine.txt": "mine",
          "ledger.json": "{}",
        }),
    ],
    [
      "a manifest of our format with digests of others' files, without its own",
      () =>
        folder({
          "src/main.c": "mine",
          "manifest.json": JSON.stringify({ format: "dsc-artifact/1", files: { "src/main.c": "0" } }),
        }),
    ],
    ["a manifest that is no JSON", () => folder({ "manifest.json": "{", "kernels/k.cu": "mine" })],
    ["a manifest that is a folder", () => folder({ "manifest.json/x": "mine" })],
    ["a manifest that is a link", () => folder({ "manifest.json@": path.join(elsewhere, "one.txt") })],
    ["a model folder", () => folder({ "config.json": readFileSync(path.join(small, "config.json"), "utf8") })],
    ["a folder with one hidden file", () => folder({ ".bashrc": "mine" })],
    [
      "a folder with the folder of a writer that was killed, and a file",
      () => folder({ ".dsc-1073741824-abc/graph/x": "mine", "graph/mine.txt": "mine" }),
    ],
    ["an artifact whose kernel was edited", () => artifact((out) => writeFileSync(path.join(out, kernel), "edited"))],
    [
      "an artifact whose manifest was edited",
      () =>
        artifact((out, m) =>
          writeFileSync(path.join(out, "manifest.json"), manifestText({ manifest: m }).replace('"DeepseekV3', '"Mine')),
        ),
    ],
    [
      "an artifact whose ledger is a link to a file of the same bytes",
      () =>
        artifact((out) => {
          const copy = path.join(elsewhere, `ledger-${count}.json`);
          writeFileSync(copy, readFileSync(path.join(out, "ledger.json")));
          rmSync(path.join(out, "ledger.json"));
          symlinkSync(copy, path.join(out, "ledger.json"));
        }),
    ],
    [
      "an artifact whose kernels are a link to a folder elsewhere",
      () =>
        artifact((out) => {
          rmSync(path.join(out, "kernels"), { recursive: true });
          symlinkSync(path.join(elsewhere, "kernels"), path.join(out, "kernels"));
        }),
    ],
    [
      "an artifact with a file of mine where the new one has a kernel",
      () =>
        artifact((out) => {
          const name = Object.keys(none.manifest.files).find(
            (f) => f.startsWith("kernels/") && !Object.hasOwn(all.manifest.files, f),
          )!;
          writeFileSync(path.join(out, name), "mine");
        }),
    ],
  ])("%s", (_, make) => {
    const out = make();
    const before = [picture(out), picture(elsewhere)];
    expect(() => writeArtifact(none, out)).toThrow("DSC6002");
    expect([picture(out), picture(elsewhere)]).toEqual(before);
  });

  test("by the command, before it compiles; the working folder and a file too", async () => {
    const out = folder({ "src/main.c": "mine", "manifest.json": '{"files":{"src/x":""}}' });
    const before = picture(out);
    for (const [words, cwd] of [
      [["-o", out], undefined],
      [["-o", "."], out],
      [["-o", path.join(out, "src/main.c")], undefined],
      [["-o", ""], undefined],
    ] as const) {
      const { code, stdout, stderr } = await dscIn(cwd === undefined ? {} : { cwd }, "compile", small, ...words);
      expect([code > 0, stdout]).toEqual([true, ""]);
      expect(stderr).toMatch(/DSC600[12]/);
    }
    expect(picture(out)).toEqual(before);
  });
});

test("what lies beside an artifact's own files stays, inside its folders too; empty folders of the old one go", () => {
  const out = artifact((o) => {
    writeFileSync(path.join(o, "kernels/notes.md"), "mine");
    mkdirSync(path.join(o, "graph/sub"));
    writeFileSync(path.join(o, "graph/sub/a.dsc"), "mine");
    symlinkSync(path.join(elsewhere, "one.txt"), path.join(o, "kernels/link"));
  });
  writeArtifact(none, out);
  expect(readFileSync(path.join(out, "kernels/notes.md"), "utf8")).toBe("mine");
  expect(readFileSync(path.join(out, "graph/sub/a.dsc"), "utf8")).toBe("mine");
  expect(readlinkSync(path.join(out, "kernels/link"))).toBe(path.join(elsewhere, "one.txt"));
  expect(readFileSync(path.join(elsewhere, "one.txt"), "utf8")).toBe("mine");
  for (const name of Object.keys(all.manifest.files))
    if (!Object.hasOwn(none.manifest.files, name))
      expect(lstatSync(path.join(out, name), { throwIfNoEntry: false }), name).toBeUndefined();
  expect(readdirSync(out).filter((n) => n.startsWith(".dsc-"))).toEqual([]);
});

test("every file a target writes is known for dsc's: of an artifact for CUDA replaced by another nothing is left", () => {
  const out = at(`ours-${count++}`);
  const cuda = { ...defaults, target: "cuda", activations: "bf16" } as const;
  const first = compile(path.join(root, "examples/printed-model"), cuda);
  expect([...first.files.keys()]).toContain("instead.json");
  writeArtifact(first, out);
  writeArtifact(all, out);
  expect(readdirSync(out).toSorted()).toEqual(
    [...new Set(["manifest.json", ...all.files.keys()].map((f) => f.split("/")[0]))].toSorted(),
  );
});

test("files of an artifact that are gone are no obstacle, nor is a link to an empty folder as OUT", () => {
  const out = artifact((o) => rmSync(path.join(o, kernel)));
  writeArtifact(none, out);
  const link = at(`ours-${count++}`);
  mkdirSync(`${link}-real`);
  symlinkSync(`${link}-real`, link);
  writeArtifact(all, link);
  writeArtifact(none, link);
  expect(readFileSync(path.join(`${link}-real`, "manifest.json"), "utf8")).toBe(manifestText(none));
});

test("without -o, the artifact goes to .dsc/NAME where one works, by the name of the model's folder or of the file", async () => {
  const cwd = folder({ "named.json": readFileSync(path.join(small, "config.json"), "utf8") });
  for (const [src, out] of [
    [small, ".dsc/a06-v3-dense"],
    [path.join(small, "config.json"), ".dsc/a06-v3-dense"],
    ["named.json", ".dsc/named"],
  ]) {
    const { code, stdout } = await dscIn({ cwd }, "compile", src);
    expect(code).toBe(0);
    expect(stdout).toContain(`written to ${out}; dsc inspect ${out} lists it`);
    expect(filesOfManifest(readFileSync(path.join(cwd, out, "manifest.json"), "utf8"))?.size).toBeGreaterThan(10);
  }
  const mine = folder({ ".dsc/named/mine.txt": "mine", "named.json": readFileSync(path.join(small, "config.json"), "utf8") });
  expect((await dscIn({ cwd: mine }, "compile", "named.json")).stderr).toContain("DSC6002");
  expect(readdirSync(path.join(mine, ".dsc/named"))).toEqual(["mine.txt"]);
});
