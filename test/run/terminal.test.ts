// dsc run --chat and the progress of eval: as a person in a terminal (through a pseudo-terminal of Python's, where there is one), and with piped input.
import { spawn, spawnSync } from "node:child_process";
import { stripVTControlCharacters } from "node:util";
import { expect, test } from "vitest";
import { at, cli, refusal, root, tiny } from "../commands/dsc.ts";
import { lacks } from "../conditions.ts";

const env = { ...process.env, DSC_CACHE: at("cache"), TERM: "xterm" };
const words = ["run", tiny, "--chat", "--temperature", "0"];
const bridge = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
/** Plays lines when what is on the screen asks for them; gives the screen and the exit code. */
function play(program: string[], script: { after: RegExp; type: string }[]): Promise<{ screen: string; code: number | null }> {
  const child = spawn(program[0], program.slice(1), { cwd: root, env, stdio: ["pipe", "pipe", "pipe"] });
  let screen = "";
  let seen = 0;
  const left = [...script];
  const look = (data: Buffer): void => {
    screen += stripVTControlCharacters(data.toString()).replaceAll("\r", "");
    for (;;) {
      const found = left[0]?.after.exec(screen.slice(seen));
      if (!found) return;
      seen += found.index + found[0].length;
      child.stdin.write(left.shift()!.type);
    }
  };
  child.stdout.on("data", look);
  child.stderr.on("data", look);
  return new Promise((resolve) => child.on("close", (code) => resolve({ screen, code })));
}

test.skipIf(lacks("pseudo-terminal"))("two turns, a stopped answer and two ways to leave, in a terminal", async () => {
  const pty = ["python3", "-c", bridge, process.execPath, cli, ...words];
  const { screen, code } = await play(pty, [
    { after: /> $/, type: "Emma was not in a humour to be pleased.\r" },
    // The first words of an endless answer are there: stop it.
    { after: /pleased\.\n.*\w+ \w+/, type: "\x03" },
    { after: /stopped; 0 tokens kept, \d+ read, \d+ written\n> $/, type: "And he?\r" },
    { after: /And he\?\n.*\w+ \w+/, type: "\x03" },
    { after: /stopped; (?!0 )\d+ tokens kept, 1?\d read, \d+ written\n> $/, type: "/reset\r" },
    { after: /> $/, type: "/exit\r" },
  ]);
  expect(screen).toMatch(/Ctrl-C stops an answer; \/reset begins anew, \/exit leaves\n> /);
  expect(screen).toContain("Emma was not in a humour");
  expect(code, screen).toBe(0);

  const left = await play(pty, [
    { after: /> $/, type: "Hello.\r" },
    { after: /Hello\.\n.*\w+ \w+/, type: "\x03" },
    { after: /stopped.*\n> $/, type: "\x03" },
  ]);
  expect(left.code, left.screen).toBe(0);
});

test.skipIf(lacks("pseudo-terminal"))("eval shows how far it is, on a terminal only", async () => {
  const { screen, code } = await play(["python3", "-c", bridge, process.execPath, cli, "eval", tiny, "--text", `${root}/LICENSE`, "--window", "64"], []);
  expect(screen).toMatch(/window \d+ of \d+, perplexity so far \d+\.\d{3}/);
  expect(screen).toMatch(/perplexity \d+\.\d{4}: /);
  expect(code, screen).toBe(0);
});

test("piped lines are turns; answers alone are on stdout", async () => {
  const run = spawnSync(process.execPath, [cli, ...words, "--max-new", "6", "--draft", "1"], { cwd: root, env, input: "Hello.\n\n/reset\nHello.\nAnd then?\n/exit\nnever read\n" });
  expect(run.stderr.toString()).toBe("");
  const answers = run.stdout.toString().trimEnd().split("\n");
  expect(answers.length).toBe(3);
  expect(answers[0]).toBe(answers[1]);
  expect(answers[2]).not.toBe(answers[0]);
  expect(run.status).toBe(0);
});

test("a turn that does not fit is a diagnostic, and the conversation goes on", () => {
  const long = "word ".repeat(1100);
  const run = spawnSync(process.execPath, [cli, ...words, "--max-new", "3"], { cwd: root, env, input: `${long}\nHello.\n` });
  expect(run.stderr.toString()).toMatch(/^error\[DSC5055\]: .*room for 1024\n[^]*\/reset/);
  expect(run.stdout.toString()).toMatch(/^.*\w.*\n$/);
  expect(run.status).toBe(1);
});

test.each([
  [["--prompt", "a"], /only one of --prompt and --chat/],
  [["--json"], /--chat does not go with --json/],
  [["--save", "x.safetensors"], /--chat does not go with --save/],
  [["--draft", "5"], /--draft is 5[^]*0 to 4/],
  [["--top-p", "0"], /--top-p is 0[^]*above 0 and at most 1/],
])("--chat %s is refused", async (more, message) => {
  expect(await refusal("run", tiny, "--chat", ...more)).toMatch(message);
});
