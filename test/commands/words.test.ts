// The command line itself: help, versions, and words that name nothing.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { at, cli, dsc, refusal, root, tiny } from "./dsc.ts";

const commands = ["summary", "compile", "run", "eval", "opt", "inspect", "verify", "weights"];

test("without words it shows its help on stderr, and that is no success", async () => {
  const { code, stdout, stderr } = await dsc();
  expect([code, stdout]).toEqual([1, ""]);
  for (const c of commands) expect(stderr).toContain(`dsc ${c} `);
});

test("--help and --version answer on stdout", async () => {
  const [help, version] = await Promise.all([dsc("--help"), dsc("--version")]);
  expect([help.code, help.stderr]).toEqual([0, ""]);
  for (const c of commands) expect(help.stdout).toContain(`dsc ${c} `);
  const { version: wanted } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as { version: string };
  expect(version).toEqual({ code: 0, stdout: `${wanted}\n`, stderr: "" });
});

test.concurrent.each(commands)("%s --help explains every option", async (command) => {
  const { code, stdout } = await dsc(command, "--help");
  expect(code).toBe(0);
  expect(stdout).toMatch(new RegExp(`^dsc ${command} <`));
  // An option without a description is a line that goes straight to its type.
  expect(stdout).not.toMatch(/^ +(-\w, )?--[\w-]+ +\[/m);
});

describe.concurrent("what is meant is suggested", () => {
  test.each([
    ["comple", "did you mean compile?"],
    ["frobnicate", "dsc --help"],
    ["summary examples/tiny-r1 --jsn", "did you mean --json?"],
    ["summary examples/tiny-r1 --frobnicate", "summary has no option --frobnicate"],
    ["--versoin", "did you mean --version?"],
    ["summary", "summary needs SRC"],
    ["summary examples/tiny-r1 another", "one word too many: another"],
    ["compile examples/tiny-r1", "compile needs --out"],
    ["compile examples/tiny-r1 -o", "--out needs a value"],
    ["compile examples/tiny-r1 -o a --out b", "--out is given twice"],
    ["compile examples/tiny-r1 -o a --target cpu --target cuda", "--target is given twice"],
    ["compile examples/tiny-r1 -o a --target cuad", "did you mean cuda?"],
    ["compile examples/tiny-r1 -o a --attention exapnded", "did you mean expanded?"],
    ["run examples/tiny-r1 --ids 1,2", "run needs --max-new"],
    ["run examples/tiny-r1 --ids --max-new 2", "--ids needs a value"],
    ["opt x.dsc", "opt needs --passes"],
    ["weights examples/tiny-r1 -o x", "weights needs --synthetic"],
    ["summary examples/nowhere", "there is no such file or folder"],
    ["summary examples", "no config.json"],
  ])("dsc %s", async (line, wanted) => {
    expect(await refusal(...line.split(" "))).toContain(wanted);
  });
});

test("--set takes one value or several, before SRC and after it", async () => {
  const forms = [
    ["--set", "vocab_size=2000", "num_hidden_layers=2", tiny],
    [tiny, "--set", "vocab_size=2000", "num_hidden_layers=2"],
    [tiny, "--set", "vocab_size=2000", "--set", "num_hidden_layers=2"],
    [tiny, "--set=vocab_size=2000", "--set=num_hidden_layers=2"],
  ];
  const answers = await Promise.all(forms.map((f) => dsc("summary", ...f)));
  for (const a of answers) expect(a).toEqual({ code: 0, stderr: "", stdout: answers[0].stdout });
  expect(answers[0].stdout).toContain("Embedding(2000, 256)");
});

test("a reader that goes away ends it quietly", async () => {
  const { stdout, stderr } = await promisify(execFile)("bash", ["-c", 'set -o pipefail; "$0" "$1" summary "$2" --depth 6 | head -1', process.execPath, cli, tiny]);
  expect([stdout, stderr]).toEqual(["DeepseekV3ForCausalLM(\n", ""]);
});

test("messages do not depend on the language of the machine", async () => {
  const { stderr } = await promisify(execFile)("bash", ["-c", 'LC_ALL=de_DE.UTF-8 LANGUAGE=de "$0" "$1" run --help 1>&2', process.execPath, cli]);
  expect(stderr).toContain("Options:");
  expect(at("x")).toBeTruthy();
});
