// Artifact folders: loaded when whole; refused when absent, foreign, for another target, altered, or leading elsewhere.
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import type { Manifest } from "../../ir/artifact.ts";
import { load } from "../../runtime/load.ts";
import { manifestText } from "../../runtime/manifest-text.ts";
import { TextStream } from "../../runtime/text-stream.ts";
import { loadTokenizer } from "../../runtime/tokenizer.ts";
import { binaries, manifest } from "./toy.ts";

const root = mkdtempSync(join(tmpdir(), "dsc-load-"));
afterAll(() => rmSync(root, { recursive: true }));
let count = 0;

function artifact(change: (m: Manifest) => void = () => {}, alter?: string): string {
  const folder = join(root, String(count++));
  const m = structuredClone(manifest);
  m.weights.rope.shape = [m.model.maxPositions, 4];
  for (const b of binaries)
    for (const [path, data] of [
      [m.kernels[b.name].binary!, b.binary],
      [m.kernels[b.name].text, b.name],
    ] as const) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), data);
      m.files[path] = createHash("sha256").update(data).digest("hex");
    }
  change(m);
  writeFileSync(join(folder, "manifest.json"), manifestText(m));
  if (alter) writeFileSync(join(folder, alter), "altered");
  return folder;
}

const options = { weights: "synthetic:0", threads: 1 };

test("a whole artifact loads", async () => {
  const model = await load(artifact(), options);
  expect(model.manifest.model.architecture).toBe("Toy");
  await model.close();
});

test.each<[string, (m: Manifest) => void, RegExp, string?]>([
  ["a foreign format", (m) => Object.assign(m, { format: "other/2" }), /DSC5002.*other\/2/s],
  [
    "an artifact of an earlier version",
    (m) => Object.assign(m, { format: "dsc-artifact/4" }),
    /DSC5002.*"dsc-artifact\/4".*reads "dsc-artifact\/5"/s,
  ],
  ["another target", (m) => Object.assign(m, { target: "abacus" }), /DSC5004/],
  ["an altered kernel", () => {}, /DSC5003.*sha256/s, "kernels/add.wasm"],
  [
    "a kernel that is not WebAssembly",
    (m) => (m.files["kernels/add.wasm"] = createHash("sha256").update("altered").digest("hex")),
    /DSC5042.*add/s,
    "kernels/add.wasm",
  ],
  ["a missing file", (m) => (m.files["kernels/none.wasm"] = "0".repeat(64)), /DSC5003/],
  ["a digest that is none", (m) => (m.files["kernels/none.wasm"] = "00"), /DSC5005.*sha256/s],
  ["a path out of the folder", (m) => (m.files["../x"] = "0".repeat(64)), /DSC5003.*out of the artifact/s],
  ["a manifest without functions", (m) => Reflect.deleteProperty(m, "functions"), /DSC5005.*functions/s],
  ["a kernel without its entry", (m) => (m.kernels.add.entry = "go"), /DSC5042.*go/s],
  ["an entry that is no function", (m) => (m.entries.prefill = "none"), /DSC5005.*none/s],
])("%s is refused", async (_, change, message, alter) => {
  await expect(load(artifact(change, alter), options)).rejects.toThrow(message);
});

test("no artifact at all", async () => {
  await expect(load(join(root, "none"), options)).rejects.toThrow(/DSC5001/);
  const folder = artifact();
  writeFileSync(join(folder, "manifest.json"), "{");
  await expect(load(folder, options)).rejects.toThrow(/DSC5001.*not JSON/s);
  writeFileSync(join(folder, "manifest.json"), "null");
  await expect(load(folder, options)).rejects.toThrow(/DSC5002/);
});

test("the tokenizer of the trained model: there and back, streamed, and its absence", async () => {
  const t = await loadTokenizer(fileURLToPath(new URL("../../examples/tiny-r1", import.meta.url)));
  const ids = t.encode("Elizabeth was delighted, déjà vu");
  expect(ids[0]).toBe(t.id("<｜begin▁of▁sentence｜>"));
  expect(t.decode(ids)).toBe("Elizabeth was delighted, déjà vu");
  const stream = new TextStream(t);
  expect(ids.map((id) => stream.push(id)).join("")).toBe("Elizabeth was delighted, déjà vu");
  await expect(loadTokenizer(root)).rejects.toThrow(/DSC5050/);
});
