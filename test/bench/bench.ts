// npm run bench: what the CPU path reaches of what the machine can do, as ratios measured side by side on two threads.
// The result goes to test/bench/results with date, hardware and commit. --only NAME runs one case, --rounds N sets how often all
// take turns, --json FILE names another file; with --only there is none unless named.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { about } from "../../runtime/tvm/index.ts";
import { native } from "./native.ts";
import { tvmCalls } from "./tvm-calls.ts";
import { THREADS, compiling, decode, gemm, loading, memory, small, type Row } from "./cases.ts";

/** Without libtvm_ffi there is nothing to call. */
function hasTvm(): boolean {
  try {
    return about().path !== "";
  } catch {
    return false;
  }
}

const cases = {
  decode: { run: decode, rounds: 31 },
  native: { run: native, rounds: 15 },
  gemm: { run: gemm, rounds: 5 },
  load: { run: loading, rounds: 7 },
  tiny: { run: small, rounds: 9 },
  memory: { run: memory, rounds: 1 },
  compile: { run: compiling, rounds: 7 },
  ...(hasTvm() ? { tvm: { run: tvmCalls, rounds: 15 } } : {}),
} satisfies Record<string, { run: (rounds: number) => Promise<Row[]>; rounds: number }>;

const { values } = parseArgs({ options: { only: { type: "string" }, json: { type: "string" }, rounds: { type: "string" } } });
const chosen = Object.entries(cases).filter(([name]) => values.only === undefined || name === values.only);
if (chosen.length === 0) {
  process.stderr.write(`no case ${values.only}; there are ${Object.keys(cases).join(", ")}\n`);
  process.exit(2);
}

const digits = (x: number | undefined, n: number): string => (x === undefined ? "" : x.toFixed(n));

function table(rows: readonly Row[]): string {
  const cells = rows.map((r) => [
    r.name,
    `${digits(r.value, r.value < 100 ? 2 : 0)} ${r.unit}`,
    r.over ? `${r.over}, ${digits(r.ceiling, 1)}` : "",
    digits(r.ratio, 2),
    digits(r.best, 2),
    r.most === undefined ? digits(r.wanted, 2) : `< ${r.most}`,
  ]);
  const all = [["what", "median", "of", "ratio", "best", "wanted"], ...cells];
  const widths = all[0].map((_, i) => Math.max(...all.map((line) => line[i].length)));
  return (
    all
      .map((line) =>
        line
          .map((c, i) => (i === 1 || i > 2 ? c.padStart(widths[i]) : c.padEnd(widths[i])))
          .join("  ")
          .trimEnd(),
      )
      .join("\n") + "\n"
  );
}

const results: Record<string, { load: number; rows: Row[] }> = {};
for (const [name, { run, rounds }] of chosen) {
  const busy = loadavg()[0];
  const rows = await run(values.rounds ? Number(values.rounds) : rounds);
  results[name] = { load: busy, rows };
  process.stdout.write(`${name}\n${table(rows)}\n`);
}

const date = new Date().toISOString().slice(0, 10);
const file = values.json ?? (values.only === undefined ? `test/bench/results/cpu-${date}.json` : undefined);
if (file !== undefined) {
  const round = (_: string, v: unknown): unknown => (typeof v === "number" ? Number(v.toPrecision(4)) : v);
  let commit = "unknown";
  try {
    commit = execFileSync("git", ["rev-parse", "--short=12", "HEAD"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    // Not a checkout: the package.
  }
  const [cpu] = cpus();
  const head = { date, commit, cpu: cpu.model, cores: cpus().length, threads: THREADS, node: process.version };
  mkdirSync(path.dirname(path.resolve(file)), { recursive: true });
  writeFileSync(file, JSON.stringify({ ...head, cases: results }, round, 1) + "\n");
}
