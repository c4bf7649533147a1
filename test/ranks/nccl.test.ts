// NCCL through a stand-in that moves bytes between processes (nccl-on-host.cpp): what is passed to it, and what is said where it is not
// there, too old, or fails.
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { candidates } from "../../runtime/ranks/nccl/find.ts";
import { Nccl, versionWords } from "../../runtime/ranks/nccl/library.ts";
import { lacks } from "../conditions.ts";
import { hostBuildAside } from "../kernels/host-compiler.ts";
import { run } from "./fake-ranks.ts";

const work = mkdtempSync(path.join(tmpdir(), "dsc-nccl-"));
afterAll(() => rmSync(work, { recursive: true }));
const library = path.join(work, "libnccl.so.2");

test("versions in words", () => {
  expect([versionWords(22_803), versionWords(21_805), versionWords(2708)]).toEqual(["2.28.3", "2.18.5", "2.7.8"]);
});

test("DSC_NCCL names the library or a folder that has it; what cannot be opened is told", () => {
  const before = process.env.DSC_NCCL;
  process.env.DSC_NCCL = work;
  expect(candidates()).toEqual([library, ...["lib", "lib64", "nvidia/nccl/lib"].map((b) => path.join(work, b, "libnccl.so.2"))]);
  process.env.DSC_NCCL = path.join(work, "none.so");
  expect(() => new Nccl()).toThrow(/DSC5100.*NCCL cannot be opened[^]*none\.so/);
  if (before === undefined) delete process.env.DSC_NCCL;
  else process.env.DSC_NCCL = before;
});

describe.skipIf(lacks("g++", "Linux"))("the stand-in", () => {
  beforeAll(async () => {
    const text = readFileSync(path.join(import.meta.dirname, "nccl-on-host.cpp"), "utf8");
    const flags = ["-std=c++17", "-O1", "-w", "-fPIC", "-shared"];
    copyFileSync(await hostBuildAside({ text, flags }), library);
  });
  const env = (more: Record<string, string> = {}): Record<string, string> => ({
    DSC_NCCL: library,
    STANDIN_FOLDER: work,
    ...more,
  });

  test("two ranks exchange an id and get what the collectives mean, runs of columns among them", async () => {
    for (const { rank, code, stdout, stderr } of await run({ ranks: 2, program: "nccl-rank", env: env() })) {
      expect(code, stderr).toBe(0);
      const lines = stdout
        .replace(/^port.*\n/, "")
        .trim()
        .split("\n");
      expect(lines.slice(0, 6)).toEqual(
        ["all_reduce", "all_gather", "reduce_scatter"].flatMap((op) => [`${op} f32 as combine`, `${op} bf16 as combine`]),
      );
      expect(lines[6]).toBe(`all_to_all ${[0, 1].flatMap((r) => [100 * r + 2 * rank, 100 * r + 2 * rank + 1]).join()}`);
    }
  });

  test.each([
    ["an old version", { STANDIN_VERSION: "21604" }, /DSC5101.*NCCL is 2\.16\.4; 2\.18\.0 is the first/],
    ["no id", { STANDIN_FAIL: "ncclGetUniqueId" }, /DSC5102.*ncclGetUniqueId fails: internal error: the stand-in was told/],
    ["no communicator", { STANDIN_FAIL: "ncclCommInitRankConfig" }, /DSC5102.*ncclCommInitRankConfig fails: internal error/],
    ["a collective that fails", { STANDIN_FAIL: "ncclAllReduce" }, /DSC5102.*ncclAllReduce fails[^]*--> all_reduce/],
    ["one in a group", { STANDIN_FAIL: "ncclAllGather" }, /DSC5102.*ncclAllGather fails[^]*--> all_gather/],
    ["an error that comes later", { STANDIN_ASYNC: "40" }, /DSC5102.*remote process exited/],
  ])("%s is told", async (_, more, words) => {
    const [first] = await run({ ranks: 2, program: "nccl-rank", env: env(more) });
    expect(first.stderr).toMatch(words);
    expect(first.code).toBe(1);
  });
});
