// Tokenizers beside Python's tokenizers and tiktoken: ids, texts and streams of texts. Forty texts are kept; where a Python has
// the libraries (DSC_PYTHON), ten thousand new ones are compared.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { differences, fixture, readReference } from "./tokenizers.ts";
import { lacks } from "../conditions.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-tokenizer-"));
afterAll(() => rmSync(work, { recursive: true }));

const python = process.env.DSC_PYTHON ?? "python3";

describe("ids and texts are the Python libraries'", () => {
  const kept = readReference(fixture);
  test.each(kept.names)("%s", async (name) => {
    expect(await differences(kept, name, work)).toEqual([]);
  });
});

test.skipIf(lacks("tokenizer libraries"))("ten thousand new texts have the ids of the Python libraries", async () => {
  const folder = path.join(work, "python");
  const seed = process.env.FUZZ === undefined ? "1" : String(Date.now() % 1e6);
  const made = spawnSync(python, [path.join(import.meta.dirname, "tokenizer_reference.py"), folder, "10000", seed], {
    encoding: "utf8",
  });
  expect(made.status, made.stderr).toBe(0);
  const live = readReference(folder);
  for (const name of live.names)
    expect((await differences(live, name, path.join(work, "live"))).slice(0, 3), `${name}, seed ${seed}`).toEqual([]);
});
