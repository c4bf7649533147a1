// Files that commands read and write: what is no file is refused at once, what cannot be written is said before the work where it
// can be known then, nothing half-written stays, nothing of others is replaced; and what the system refuses is no fault of dsc.
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { lacks } from "../conditions.ts";
import { describe, expect, test } from "vitest";
import { coded, DiagnosticError, place, render } from "../../ir/diagnostic.ts";
import { Checkpoint } from "../../runtime/index.ts";
import { at, cli, dsc, dscIn, refusal, root, work } from "./dsc.ts";

const small = path.join(root, "test/fixtures/a06-v3-dense");
const fifo = (name: string): string => {
  execFileSync("mkfifo", [at(name)]);
  return at(name);
};
const ran = ["--ids", "1,2", "--max-new", "1"];

describe.skipIf(lacks("Linux"))("a FIFO, a device or a folder is refused at once, wherever a file is read", () => {
  test.each<[string, () => string[], RegExp]>([
    ["a config", () => (mkdirSync(at("m1")), fifo("m1/config.json"), ["summary", at("m1")]), /DSC1002.*FIFO/s],
    ["a config that is a device", () => ["summary", "/dev/zero"], /DSC1002.*device/s],
    [
      "a shard",
      () => (
        mkdirSync(at("m2")),
        cpSync(path.join(small, "config.json"), at("m2/config.json")),
        writeFileSync(at("m2/model.safetensors.index.json"), '{"weight_map":{"a":"x.safetensors"}}'),
        fifo("m2/x.safetensors"),
        ["run", at("m2"), ...ran]
      ),
      /DSC50\d\d/,
    ],
    ["a checkpoint by name", () => ["run", small, "--weights", fifo("w.safetensors"), ...ran], /DSC5011.*FIFO/s],
    ["a module's text", () => ["opt", "/dev/zero", "-p", "none"], /DSC6008.*device/s],
    ["ids", () => ["run", small, "--ids", fifo("ids.json"), "--max-new", "1"], /DSC6003.*FIFO/s],
    ["a text to score", () => ["eval", path.join(root, "examples/tiny-r1"), "--text", fifo("text")], /DSC6013.*FIFO/s],
    [
      "a prompt",
      () => ["run", path.join(root, "examples/tiny-r1"), "--prompt-file", fifo("prompt"), "--max-new", "1"],
      /DSC6013.*FIFO/s,
    ],
    ["a plug-in", () => ["compile", small, "-o", at("o1"), "--plugin", fifo("plug.ts")], /DSC3\d{3}.*FIFO/s],
    ["a manifest", () => (mkdirSync(at("art")), fifo("art/manifest.json"), ["inspect", at("art")]), /DSC5001.*FIFO/s],
    [
      "a tokenizer",
      () => (
        cpSync(path.join(root, "examples/tiny-r1"), at("m4"), { recursive: true, filter: (f) => !f.endsWith("tokenizer.json") }),
        fifo("m4/tokenizer.json"),
        ["run", at("m4"), "--prompt", "a", "--max-new", "1"]
      ),
      /DSC50\d\d.*FIFO/s,
    ],
  ])("%s", async (_, words, message) => {
    const { code, stderr } = await dsc(...words());
    expect(code).toBeGreaterThan(0);
    expect(stderr).toMatch(message);
  });
});

describe("run --save", () => {
  test("replaces what an earlier one wrote, and nothing else; links and devices neither", async () => {
    const file = at("s.safetensors");
    for (const _ of [1, 2]) expect((await dsc("run", small, ...ran, "--save", file)).code).toBe(0);
    const taps = await Checkpoint.open(file);
    expect(taps.tensors.has("logits")).toBe(true);
    await taps.close();
    const model = at("mine.safetensors");
    cpSync(path.join(small, "model.safetensors"), model);
    symlinkSync(file, at("link.safetensors"));
    for (const other of [model, at("link.safetensors"), "/dev/null", work])
      expect(await refusal("run", small, ...ran, "--save", other)).toContain("DSC6002");
    expect(readFileSync(model).equals(readFileSync(path.join(small, "model.safetensors")))).toBe(true);
    expect(readdirSync(work).filter((f) => f.endsWith(".part"))).toEqual([]);
  });

  test.skipIf(lacks("Linux"))("says before the work that the place cannot be written", async () => {
    expect(await refusal("run", small, ...ran, "--save", "/proc/none/x.safetensors")).toContain("DSC6002");
  });
});

describe("dsc weights and dsc opt -o", () => {
  test("replace what they wrote themselves; a shard, a config or a text of somebody else's is refused untouched", async () => {
    const out = at("weights");
    for (const seed of ["1", "2"]) expect((await dsc("weights", small, "--synthetic", seed, "-o", out)).code).toBe(0);
    for (const name of ["model.safetensors", "config.json", "synthetic.json", "mine.safetensors"]) {
      cpSync(out, at(`w-${name}`), { recursive: true });
      writeFileSync(at(`w-${name}/${name}`), "mine");
      expect(await refusal("weights", small, "--synthetic", "3", "-o", at(`w-${name}`))).toContain("DSC6010");
      expect(readFileSync(at(`w-${name}/${name}`), "utf8")).toBe("mine");
      expect(readFileSync(at(`w-${name}/model.safetensors`)).equals(readFileSync(path.join(out, "model.safetensors")))).toBe(
        name !== "model.safetensors",
      );
    }
    const [text, result] = [at("t.dsc"), at("r.dsc")];
    writeFileSync(text, "func @f(%x: [T, 4] f32) {\n  %y = gated %x, %x\n  return y = %y\n}\n");
    for (const _ of [1, 2]) expect((await dsc("opt", text, "-p", "none", "-o", result)).code).toBe(0);
    writeFileSync(at("notes.md"), "mine");
    expect(await refusal("opt", text, "-p", "none", "-o", at("notes.md"))).toContain("DSC6002");
    expect(readFileSync(at("notes.md"), "utf8")).toBe("mine");
  });
});

describe("the cache", () => {
  test("an empty variable is as unset; a home that is none neither: nothing is written where one works", async () => {
    const cwd = at("cwd");
    mkdirSync(cwd);
    for (const env of [
      { DSC_CACHE: "", XDG_CACHE_HOME: "", HOME: at("home") },
      { DSC_CACHE: " ", XDG_CACHE_HOME: "relative", HOME: at("home") },
      { DSC_CACHE: "", XDG_CACHE_HOME: "", HOME: "" },
    ])
      expect((await dscIn({ cwd, env }, "run", small, ...ran)).code).toBe(0);
    expect(readdirSync(cwd)).toEqual([]);
    expect(readdirSync(at("home/.cache/dsc"))).toHaveLength(1);
  });

  test("where it cannot be written, or was changed, a model folder runs all the same, and a note says so", async () => {
    writeFileSync(at("file"), "mine");
    const { code, stdout, stderr } = await dscIn({ env: { DSC_CACHE: at("file/below") } }, "run", small, ...ran);
    expect([code, stdout]).toEqual([0, (await dsc("run", small, ...ran)).stdout]);
    expect(stderr).toMatch(/^note\[DSC6022\]/m);
    const kept = readdirSync(at("cache")).find((n) => existsSync(at(`cache/${n}/ledger.json`)))!;
    writeFileSync(at(`cache/${kept}/ledger.json`), "edited");
    expect((await dsc("run", small, ...ran)).code).toBe(0);
    expect(readFileSync(at(`cache/${kept}/ledger.json`), "utf8")).toBe("edited");
  });
});

describe.skipIf(lacks("Linux"))("what the system refuses is a diagnostic, not a fault of dsc", () => {
  const shell = (command: string): { status: number | null; stderr: string } =>
    spawnSync("bash", ["-c", command], { encoding: "utf8", env: { ...process.env, DSC_CACHE: at("cache") } });
  const run = `"${process.execPath}" "${cli}" run "${small}" ${ran.join(" ")}`;

  test("addresses, and open files", () => {
    expect(shell(`ulimit -v 9000000; ${run}`)).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^error\[DSC5030\]/m) as string,
    });
    for (const files of [24, 40]) {
      const { status, stderr } = shell(`ulimit -n ${files}; ${run}`);
      expect([files, status, /^error\[DSC6019\].*EMFILE/m.test(stderr), /\n\s+at /.test(stderr)]).toEqual([
        files,
        1,
        true,
        false,
      ]);
    }
  });

  test("a full stdout", () => {
    expect(shell(`"${process.execPath}" "${cli}" summary "${small}" > /dev/full`)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("DSC6002") as string,
    });
  });
});

test("a checkpoint that is swapped, or written to, after its header was read is refused", async () => {
  const file = at("swapped.safetensors");
  cpSync(path.join(small, "model.safetensors"), file);
  const c = await Checkpoint.open(file);
  await c.unchanged();
  writeFileSync(file, readFileSync(file));
  await expect(c.unchanged()).rejects.toThrow("DSC5013");
  await c.close();
});

test("control characters of other people's names never reach the terminal raw", async () => {
  const d = coded("DSC1011", {
    name: "",
    means: "",
    example: "",
    fix: "",
    short: () => ({ title: "no key \u001b]0;owned\u0007", notes: ["one\ntwo\u009b"], help: "a\rb" }),
  })({}, { ...place("a\u001b[31m.json"), line: 1, column: 2, text: '{"\u001b[2J\u202e": 1}' });
  expect(render(d)).toBe(
    'error[DSC1011]: no key ␛]0;owned␇\n --> a␛[31m.json:1:2\n  |\n1 | {"␛[2J\ufffd": 1}\n  |  ^\n   = one\ntwo\ufffd\n   help: a␍b',
  );
  expect(new DiagnosticError(d).message).toBe(render(d));
  mkdirSync(at("names"));
  writeFileSync(
    at("names/config.json"),
    JSON.stringify({
      ...(JSON.parse(readFileSync(path.join(small, "config.json"), "utf8")) as object),
      "\u001b]0;owned\u0007": 1,
    }),
  );
  const { stderr } = await dsc("compile", at("names"), "-o", at("names-out"));
  // oxlint-disable-next-line no-control-regex
  expect(stderr).not.toMatch(/[\u0000-\u0008\u000b-\u001f]/);
});
