// Runs the built command line as a person does, with a cache and a folder that vanish afterwards: in a process that is warm (warm.ts),
// or in one of its own.
import { execFile, fork, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect } from "vitest";
import { cacheAt } from "../kept-proofs.ts";

export const root = path.resolve(import.meta.dirname, "../..");
export const cli = path.join(root, "dist/compiler/cli.js");
export const tiny = path.join(root, "examples/tiny-r1");
export const r1 = path.join(root, "examples/deepseek-r1");

/** A folder for this test file's outputs. */
export const work = mkdtempSync(path.join(tmpdir(), "dsc-commands-"));
afterAll(() => rmSync(work, { recursive: true }));
export const at = (name: string): string => path.join(work, name);

export interface Answer {
  code: number;
  stdout: string;
  stderr: string;
}

const variables = (): NodeJS.ProcessEnv => ({ ...process.env, DSC_CACHE: cacheAt(at("cache")), NO_COLOR: "1" });

/** Rejects where a command says where in the source it stands. */
function checked(words: readonly string[], answer: Answer): Answer {
  if (/\n\s+at .+:\d+:\d+\)?/.test(answer.stderr + answer.stdout))
    throw new Error(`a stack trace from dsc ${words.join(" ")}:\n${answer.stderr}`);
  return answer;
}

let warm: ChildProcess | undefined;
const asked = new Map<number, (answer: Answer | undefined) => void>();
let count = 0;
afterAll(async () => {
  if (!warm) return;
  const ended = new Promise((resolve) => warm!.once("exit", resolve));
  warm.disconnect();
  await ended;
});

/** Asks the warm process; undefined where it ended. */
function askWarm(words: readonly string[]): Promise<Answer | undefined> {
  if (!warm) {
    const child = fork(path.join(root, "dist/test/commands/warm.js"), {
      cwd: root,
      env: variables(),
      execArgv: [],
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    child.on("message", ({ id, ...answer }: Answer & { id: number }) => {
      asked.get(id)!(answer);
      asked.delete(id);
    });
    child.on("exit", () => {
      if (warm === child) warm = undefined;
      for (const give of asked.values()) give(undefined);
      asked.clear();
    });
    warm = child;
  }
  return new Promise((resolve) => {
    asked.set(count, resolve);
    warm!.send({ id: count++, words });
  });
}

/** What ends the process by itself, or stays in it. */
const ofItsOwn = /^(--help|-h|--version|help|completion|--plugin(=.*)?)$/;

/** Never rejects: a failing command is an answer too. A stack trace in it is always a failure of the test. */
export async function dsc(...words: string[]): Promise<Answer> {
  const answer = words.some((w) => ofItsOwn.test(w)) ? undefined : await askWarm(words);
  return answer ? checked(words, answer) : dscIn({}, ...words);
}

/** The same in a process of its own, in another folder or with other variables. */
export function dscIn(
  { cwd = root, env = {} }: { cwd?: string; env?: Record<string, string> },
  ...words: string[]
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      [cli, ...words],
      { cwd, maxBuffer: 1 << 26, env: { ...variables(), ...env } },
      (e, stdout, stderr) => {
        try {
          resolve(checked(words, { code: e ? Number(e.code ?? 99) : 0, stdout, stderr }));
        } catch (trace) {
          reject(trace as Error);
        }
      },
    );
  });
}

/** The one JSON object on stdout of a command that must succeed. */
export async function json<T>(...words: string[]): Promise<T> {
  const { code, stdout, stderr } = await dsc(...words, "--json");
  expect(stderr).toBe("");
  expect(code).toBe(0);
  expect(stdout.endsWith("}\n")).toBe(true);
  return JSON.parse(stdout) as T;
}

/** The diagnostics of a command that must refuse; stdout stays empty. It ends with 2 where the command line is wrong, with 1 otherwise. */
export async function refusal(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await dsc(...words);
  expect(code, stderr).toBe(/--> (command line|the names of passes)/.test(stderr) ? 2 : 1);
  expect(stdout).toBe("");
  expect(stderr).toMatch(/^error\[DSC\d{4}\]: /m);
  expect(stderr).not.toContain("DSC9000");
  return stderr;
}

/** Every file below a folder, by relative path. */
export function filesOf(folder: string): Map<string, Buffer> {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((e) => e.isFile());
  return new Map(
    names
      .map(
        (e) => [path.relative(folder, path.join(e.parentPath, e.name)), readFileSync(path.join(e.parentPath, e.name))] as const,
      )
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
}
