// dsc run --chat and the progress of eval: as a person in a terminal (through a pseudo-terminal of Python's, where there is one), and with piped input.
import { spawn, spawnSync } from "node:child_process";
import { stripVTControlCharacters } from "node:util";
import { expect, test } from "vitest";
import { at, cli, dsc, refusal, root, tiny } from "../commands/dsc.ts";
import { lacks } from "../conditions.ts";
import { cacheAt } from "../kept-proofs.ts";

const env = { ...process.env, DSC_CACHE: cacheAt(at("cache")), TERM: "xterm" };
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
  const { screen, code } = await play(
    ["python3", "-c", bridge, process.execPath, cli, "eval", tiny, "--text", `${root}/LICENSE`, "--window", "64"],
    [],
  );
  expect(screen).toMatch(/window \d+ of \d+, perplexity so far \d+\.\d{3}/);
  expect(screen).toMatch(/perplexity \d+\.\d{4}: /);
  expect(code, screen).toBe(0);
});

test("piped lines are turns; answers alone are on stdout", async () => {
  const run = spawnSync(process.execPath, [cli, ...words, "--max-new", "6", "--draft", "1"], {
    cwd: root,
    env,
    input: "Hello.\n\n/reset\nHello.\nAnd then?\n/exit\nnever read\n",
  });
  expect(run.stderr.toString()).toBe("");
  const answers = run.stdout.toString().trimEnd().split("\n");
  expect(answers.length).toBe(3);
  expect(answers[0]).toBe(answers[1]);
  expect(answers[2]).not.toBe(answers[0]);
  expect(run.status).toBe(0);
});

test("a line that begins with a slash is said to the model, unless it is a command", () => {
  const say = (input: string): string =>
    spawnSync(process.execPath, [cli, ...words, "--max-new", "3"], { cwd: root, env, input }).stdout.toString();
  const lines = say("/nothink Hello.\n/usr/bin is a path\n/reset\nHello.\n/exit\nnever\n").split("\n");
  expect(lines.length).toBe(4);
  expect(lines[2]).toBe(say("Hello.\n").trimEnd());
});

test.each([
  [["--prompt", "a", "--max-new", "1", "--top-k", "5"], /--top-k counts where tokens are drawn/],
  [["--prompt", "a", "--max-new", "1", "--top-p", "0.5", "--temperature", "0"], /--top-p counts where tokens are drawn/],
  [["--prompt", "a", "--max-new", "1", "--nvcc"], /--nvcc compiles CUDA kernels/],
  [["--prompt", "a", "--max-new", "1", "--natives", "none"], /--natives with --target cpu/],
  [
    ["--prompt", "a", "--max-new", "1", "--passes", "none", "--attention", "absorbed"],
    /--attention absorbed is what the pass absorb-mla does/,
  ],
  [
    ["--prompt", "a", "--max-new", "1", "--passes", "add-norm", "--pass-option", "absorb-mla.attention=expanded"],
    /--pass-option is for the pass absorb-mla/,
  ],
  [["--prompt", "a", "--max-new", "1", "--chat-template", "x"], /--chat-template is for --chat/],
  [["--prompt", "a", "--max-new", "1", "--stop-eos"], /--stop-eos is for --ids/],
  [["--prompt", "a", "--max-new", "1", "--taps"], /--taps keeps hidden states and routes, and run shows none[^]*--save FILE/],
  [["--prompt", "a", "--max-new", "1", "--seed", "7"], /--seed counts where tokens are drawn/],
])("%s cannot have its effect and is refused", async (more, message) => {
  expect(await refusal("run", tiny, ...more)).toMatch(message);
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
  [["--save", "x.safetensors"], /--chat does not go with --save/],
  [["--draft", "5"], /--draft is 5[^]*0 to 4/],
  [["--top-p", "0"], /--top-p is 0[^]*above 0 and at most 1/],
])("--chat %s is refused", async (more, message) => {
  expect(await refusal("run", tiny, "--chat", ...more)).toMatch(message);
});

test("--chat --json is refused, in words on stderr and as data on stdout", async () => {
  const { code, stdout, stderr } = await dsc("run", tiny, "--chat", "--json");
  expect(code).toBe(2);
  expect(stderr).toMatch(/^error\[DSC6001\]: --chat does not go with --json/);
  expect(JSON.parse(stdout)).toMatchObject({ errors: [{ code: "DSC6001", title: "--chat does not go with --json" }] });
});
