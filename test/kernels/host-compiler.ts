// What g++ makes for tests: a program or a library for each text, built once however many tests and files of a run ask for it, behind
// headers that are parsed once. The folder is the run's (test/host-builds.ts), or this process's own.
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";

/** A text for g++. */
export interface HostSource {
  text: string;
  /** What stands before it, and before others. */
  header?: string;
  flags: readonly string[];
  /** Behind the text on the command line. */
  libraries?: readonly string[];
}

let own: string | undefined;

/** Where builds are kept. */
function folder(): string {
  if (process.env.DSC_HOST_BUILDS) return process.env.DSC_HOST_BUILDS;
  if (own === undefined) {
    own = fs.mkdtempSync(path.join(os.tmpdir(), "dsc-host-"));
    process.once("exit", () => fs.rmSync(own!, { recursive: true, force: true }));
  }
  return own;
}

const digest = (...parts: readonly string[]): string => createHash("sha256").update(parts.join("\0")).digest("hex").slice(0, 24);

/** A step of g++ that is still to be done, and what is to be called by its name then. */
interface Task {
  words: readonly string[];
  made: string;
  as: string;
}

/** Another process may have been faster. */
function keep({ made, as }: Task): void {
  try {
    fs.renameSync(made, as);
  } catch (e) {
    if (!fs.existsSync(as)) throw e;
    fs.rmSync(made, { recursive: true });
  }
}

/** The folder of a header that g++ has parsed. */
function headerTask(header: string, flags: readonly string[]): Task {
  const as = path.join(folder(), `header-${digest(header, ...flags)}`);
  const made = fs.mkdtempSync(`${as}-`);
  fs.writeFileSync(path.join(made, "header.h"), header);
  return { made, as, words: [...flags, "-x", "c++-header", "-o", path.join(made, "header.h.gch"), path.join(made, "header.h")] };
}

/** What is left to do for a source, and where its build is then. */
function* tasks({ text, header, flags, libraries = [] }: HostSource): Generator<Task, string> {
  const compile = flags.filter((f) => f !== "-shared");
  const out = path.join(folder(), digest(text, header ?? "", ...flags, ...libraries));
  if (fs.existsSync(out)) return out;
  const include: string[] = [];
  if (header !== undefined) {
    const at = path.join(folder(), `header-${digest(header, ...compile)}`);
    if (!fs.existsSync(at)) yield headerTask(header, compile);
    include.push("-include", path.join(at, "header.h"));
  }
  const made = fs.mkdtempSync(`${out}-`);
  const file = path.join(made, "text.cpp");
  fs.writeFileSync(file, text);
  yield {
    made: path.join(made, "out"),
    as: out,
    words: [...flags, ...include, "-o", path.join(made, "out"), file, ...libraries],
  };
  fs.rmSync(made, { recursive: true });
  return out;
}

/** Builds a source, if nobody has; the path of the program or library, which others use too. Throws with g++'s words. */
export function hostBuild(source: HostSource): string {
  const steps = tasks(source);
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done) return step.value;
    execFileSync("g++", step.value.words, { stdio: ["ignore", "ignore", "pipe"] });
    keep(step.value);
  }
}

const exec = promisify(execFile);

/** The same beside whatever else this thread does. */
export async function hostBuildAside(source: HostSource): Promise<string> {
  const steps = tasks(source);
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done) return step.value;
    await exec("g++", step.value.words, { maxBuffer: 1 << 26 });
    keep(step.value);
  }
}
