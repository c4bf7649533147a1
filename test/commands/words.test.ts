// The command line itself: help, versions, and words that name nothing.
import { execFile, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { at, cli, dsc, refusal, root, tiny } from "./dsc.ts";

const commands = ["summary", "compile", "run", "eval", "opt", "inspect", "verify", "weights"];

test("without words it shows its help on stderr, and that is no success", async () => {
  const { code, stdout, stderr } = await dsc();
  expect([code, stdout]).toEqual([2, ""]);
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

describe.concurrent("a wrong value is underlined itself", () => {
  test.each([
    ["compile examples/tiny-r1 -o a --target gpu", "gpu", "did you mean cuda?"],
    ["compile examples/tiny-r1 -o a --target=gpu", "gpu", "did you mean cuda?"],
    ["plan examples/tiny-r1 --context hot", "hot", '--context "hot" is not a number'],
    ["plan examples/tiny-r1 --context 0", "0", "give a whole number of at least 1"],
    ["run examples/tiny-r1 --prompt x --max-new 4 --temperature hot", "hot", '--temperature "hot" is not a number'],
    ["run examples/tiny-r1 --prompt x --max-new 4 --temperature=-1", "-1", "--temperature"],
    ["run examples/tiny-r1 --ids 1,2,x --max-new 4", "1,2,x", "x is no id"],
    ["completion csh", "csh", "give one of bash, zsh"],
    ["summary examples/tiny-r1 --layers 99", "99", "give a number from 1 to 4"],
    ["opt x.dsc -p a,,b", "a,,b", "has an empty name"],
  ])("dsc %s", async (line, word, wanted) => {
    const said = await refusal(...line.split(" "));
    expect(said).toContain(wanted);
    const [text, mark] = said.split("\n").filter((l) => / \| /.test(l));
    expect(text.slice(mark.indexOf("^"), mark.lastIndexOf("^") + 1)).toBe(word);
  });
});

test("4k and 4K are numbers", async () => {
  const plan = async (context: string): Promise<number> =>
    (
      JSON.parse((await dsc("plan", "examples/tiny-r1", "--bandwidth", "10", "--json", "--context", context)).stdout) as {
        prefill: { rows: number };
      }
    ).prefill.rows;
  expect(await Promise.all(["1k", "1K", "0.5K"].map(plan))).toEqual([1000, 1024, 512]);
});

test("a prompt can come from a file or stdin, and is the same prompt", async () => {
  writeFileSync(at("prompt.txt"), "She was\n");
  const piped = spawnSync(process.execPath, [cli, "run", tiny, "--prompt", "-", "--max-new", "4"], {
    input: "She was\n",
    encoding: "utf8",
  });
  const [typed, file] = await Promise.all([
    dsc("run", tiny, "--prompt", "She was", "--max-new", "4"),
    dsc("run", tiny, "--prompt-file", at("prompt.txt"), "--max-new", "4"),
  ]);
  expect(typed.stdout).toMatch(/^She was \w/);
  expect([file.stdout, piped.stdout]).toEqual([typed.stdout, typed.stdout]);
  expect(await refusal("run", tiny, "--prompt", "x", "--prompt-file", at("prompt.txt"), "--max-new", "4")).toContain(
    "give only one of --prompt and --prompt-file",
  );
  expect(await refusal("run", tiny, "--prompt-file", at("nothing.txt"), "--max-new", "4")).toContain("cannot read");
});

test("help and version are words too", async () => {
  const [help, dashed, word, option, version] = await Promise.all([
    dsc("help", "plan"),
    dsc("plan", "--help"),
    dsc("help"),
    dsc("--help"),
    dsc("version"),
  ]);
  expect([help, word]).toEqual([dashed, option]);
  expect([help.code, version.code, version.stderr]).toEqual([0, 0, ""]);
  expect(version.stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});

test("under --json errors are data on stdout, with the same exit code", async () => {
  for (const [line, code, name] of [
    ["summary examples/nowhere", 1, "DSC1002"],
    ["inspect examples/tiny-r1 --jsn", 2, "DSC6001"],
    ["passes nothing", 2, "DSC3001"],
  ] as const) {
    const answer = await dsc(...line.split(" "), "--json");
    expect(answer.code).toBe(code);
    const { errors } = JSON.parse(answer.stdout) as {
      errors: { code: string; title: string; spans: unknown[]; notes: string[]; help: string }[];
    };
    expect(errors.map((e) => e.code)).toEqual([name]);
    expect(answer.stderr).toContain(errors[0].title);
  }
});

test("colour is for terminals, and NO_COLOR turns it off", async () => {
  const err = async (env: Record<string, string>): Promise<string> =>
    (
      await promisify(execFile)(process.execPath, [cli, "frobnicate"], { env: { ...process.env, ...env } }).catch(
        (e: { stderr: string }) => e,
      )
    ).stderr;
  const plain = await err({ NO_COLOR: "1", FORCE_COLOR: "1" });
  expect(plain).not.toContain("\x1b");
  const colour = await err({ NO_COLOR: "", FORCE_COLOR: "1" });
  expect(colour).toContain("\x1b[31m");
  // oxlint-disable-next-line no-control-regex
  expect(colour.replaceAll(/\x1b\[\d+m/g, "")).toBe(plain);
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
  const { stdout, stderr } = await promisify(execFile)("bash", [
    "-c",
    'set -o pipefail; "$0" "$1" summary "$2" --depth 6 | head -1',
    process.execPath,
    cli,
    tiny,
  ]);
  expect([stdout, stderr]).toEqual(["DeepseekV3ForCausalLM(\n", ""]);
});

test("messages do not depend on the language of the machine", async () => {
  const { stderr } = await promisify(execFile)("bash", [
    "-c",
    'LC_ALL=de_DE.UTF-8 LANGUAGE=de "$0" "$1" run --help 1>&2',
    process.execPath,
    cli,
  ]);
  expect(stderr).toContain("Options:");
  expect(at("x")).toBeTruthy();
});
