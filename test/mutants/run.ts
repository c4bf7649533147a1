// npm run mutants: puts each deliberate bug into a copy of the tree and runs the tests that must see it.
//   --only TEXT          bugs whose names hold TEXT
//   --seed S --fraction F  a part of them, chosen by S
//   --json FILE          the results as JSON as well
//   --no-baseline        do not run the tests without a bug first
// A bug that survives, hangs without saying so, or keeps a test file from loading fails the run.
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { ts } from "ts-morph";
import { hasGpp } from "../kernels/native-on-host.ts";
import { chosen, mutants, needsCompiler } from "./catalogue.ts";
import { edited, type Killer, type Mutant } from "./mutant.ts";

type Outcome = "killed" | "survived" | "hangs" | "does not load" | "no such test" | "fails without the bug" | "skipped";

interface Result {
  name: string;
  outcome: Outcome;
  by: string;
  seconds: number;
}

const root = path.resolve(import.meta.dirname, "../../..");
/** Minutes a killer may take; a busy machine may need more. */
const LIMIT = Number(process.env.DSC_MUTANT_MINUTES) || 20;

/** A program in a copy of the tree; null when it was ended for taking too long. */
function run(cwd: string, words: readonly string[]): Promise<number | null> {
  const child = spawn(process.execPath, words, { cwd, stdio: ["ignore", "ignore", "ignore"], detached: true });
  return new Promise((resolve) => {
    const timer = setTimeout(() => process.kill(-child.pid!, "SIGKILL"), LIMIT * 60_000);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve(code);
    });
  });
}

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  testResults: { status: string; message: string; assertionResults: { status: string; fullName: string }[] }[];
}

/** One killer in a copy: what it says, and which test said it. */
async function tried(tree: string, [file, only]: Killer): Promise<{ outcome: Outcome; by: string }> {
  const out = path.join(tree, "mutant-report.json");
  rmSync(out, { force: true });
  const code = await run(tree, [
    "node_modules/vitest/vitest.mjs",
    "run",
    file,
    ...(only ? ["-t", only] : []),
    "--bail",
    "1",
    "--reporter=json",
    `--outputFile=${out}`,
  ]);
  if (code === null) return { outcome: "hangs", by: file };
  if (!existsSync(out)) return { outcome: "does not load", by: file };
  const report = JSON.parse(readFileSync(out, "utf8")) as Report;
  const failed = report.testResults.flatMap((r) => r.assertionResults).find((a) => a.status === "failed");
  if (failed) return { outcome: "killed", by: `${file} > ${failed.fullName.trim()}` };
  if (report.testResults.some((r) => r.status === "failed"))
    return {
      outcome: "does not load",
      by: report.testResults
        .map((r) => r.message)
        .join(" ")
        .split("\n")[0],
    };
  return report.numPassedTests ? { outcome: "survived", by: "" } : { outcome: "no such test", by: `${file} ${only ?? ""}` };
}

const builtOf = (file: string): string => path.join("dist", file.replace(/\.ts$/, ".js"));

/** A source as tsc emits it, without looking at types. */
const transpiled = (text: string): string =>
  ts.transpileModule(text, {
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      rewriteRelativeImportExtensions: true,
    },
  }).outputText;

class Tree {
  readonly path = mkdtempSync(path.join(tmpdir(), "dsc-mutants-"));

  constructor() {
    const left = new Set(["node_modules", ".git", ".dsc"].map((n) => path.join(root, n)));
    cpSync(root, this.path, { recursive: true, filter: (from) => !left.has(from) });
    symlinkSync(path.join(root, "node_modules"), path.join(this.path, "node_modules"));
  }

  async try(m: Mutant): Promise<{ outcome: Outcome; by: string }> {
    // What tests start in threads and processes comes from dist.
    const files = m.edits.flatMap((e) => [e.file, builtOf(e.file)]);
    const before = new Map(files.map((f) => [f, readFileSync(path.join(this.path, f), "utf8")]));
    try {
      for (const e of m.edits) {
        const file = path.join(this.path, e.file);
        const text = edited(e, readFileSync(file, "utf8"));
        writeFileSync(file, text);
        writeFileSync(path.join(this.path, builtOf(e.file)), transpiled(text));
      }
      let last: { outcome: Outcome; by: string } = { outcome: "survived", by: "" };
      for (const k of m.killers) {
        last = await tried(this.path, k);
        if (last.outcome === "killed" || (last.outcome === "hangs" && m.hangs)) return { outcome: "killed", by: last.by };
      }
      return last;
    } finally {
      for (const [file, text] of before) writeFileSync(path.join(this.path, file), text);
    }
  }
}

/** All that killers want of a file, as one killer: starting it is most of its time. */
function oneAFile(killers: readonly Killer[]): Killer[] {
  const wanted = new Map<string, Set<string | undefined>>();
  for (const [file, only] of killers) wanted.set(file, (wanted.get(file) ?? new Set()).add(only));
  return [...wanted].map(([file, only]) => (only.has(undefined) ? [file] : [file, [...only].join("|")]));
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: "string" },
      seed: { type: "string", default: "0" },
      fraction: { type: "string", default: "1" },
      json: { type: "string" },
      "no-baseline": { type: "boolean", default: false },
    },
  });
  const picked = chosen(values.seed, Number(values.fraction))
    .filter((m) => m.name.includes(values.only ?? ""))
    .toSorted((a, b) => mutants.indexOf(a) - mutants.indexOf(b));
  const results: Result[] = [];
  const trees = [new Tree(), new Tree()];
  // What g++ has built for one test is there for all others.
  const builds = mkdtempSync(path.join(tmpdir(), "dsc-host-"));
  process.env.DSC_HOST_BUILDS = builds;
  const note = (r: Result): void => {
    results.push(r);
    process.stdout.write(
      `${r.outcome.padEnd(10)} ${r.seconds.toFixed(0).padStart(4)} s  ${r.name}${r.by ? `\n                    ${r.by}` : ""}\n`,
    );
  };
  const each = <T>(work: T[], one: (tree: Tree, w: T) => Promise<void>): Promise<unknown> =>
    Promise.all(
      trees.map(async (tree) => {
        for (let w = work.shift(); w !== undefined; w = work.shift()) await one(tree, w);
      }),
    );
  const able = picked.filter((m) => hasGpp || !needsCompiler(m));
  for (const m of picked)
    if (!able.includes(m)) note({ name: m.name, outcome: "skipped", by: "no g++ 12 or later for x64", seconds: 0 });
  try {
    const bad = new Map<string, string>();
    if (!values["no-baseline"])
      await each(oneAFile(able.flatMap((m) => m.killers)), async (tree, k) => {
        const { outcome, by } = await tried(tree.path, k);
        if (outcome !== "survived") bad.set(k[0], `${outcome}: ${by}`);
      });
    await each([...able], async (tree, m) => {
      const from = performance.now();
      const broken = m.killers.map((k) => bad.get(k[0])).find((b) => b !== undefined);
      const said = broken === undefined ? await tree.try(m) : { outcome: "fails without the bug" as const, by: broken };
      note({ name: m.name, ...said, seconds: (performance.now() - from) / 1000 });
    });
  } finally {
    for (const folder of [builds, ...trees.map((t) => t.path)]) rmSync(folder, { recursive: true, force: true });
  }
  const wrong = results.filter((r) => r.outcome !== "killed" && r.outcome !== "skipped");
  const count = (o: Outcome): number => results.filter((r) => r.outcome === o).length;
  process.stdout.write(
    `${results.length} of ${mutants.length} bugs: ${count("killed")} killed, ${count("skipped")} skipped, ${wrong.length} not${wrong.map((r) => `\n  ${r.name}: ${r.outcome}`).join("")}\n`,
  );
  if (values.json)
    writeFileSync(values.json, `${JSON.stringify({ seed: values.seed, fraction: Number(values.fraction), results }, null, 1)}\n`);
  process.exitCode = wrong.length ? 1 : 0;
}

await main();
