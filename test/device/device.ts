// npm run device: correctness of kernels and models on this GPU, several parts at a time, then times, one part at a time. Every part
// runs in a process of its own with a limit, so that a fault or a hang costs that part only. Needs a Hopper GPU; results are
// written after every part. --only a,b, --steps check,measure, --json FILE, --at-once N, --limit SECONDS; --every and
// --small are for the products' parts.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DiagnosticError, render } from "../../ir/diagnostic.ts";
import { openCuda, type Cuda } from "../../runtime/devices/cuda/index.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

export type Row = Record<string, string | number | boolean>;

type Step = "check" | "measure";
type Part = Partial<Record<Step, (cuda: Cuda) => Promise<Row[]>>>;

/** In the order of their times: the longest checks begin first. What matters most is measured first. */
const parts = [
  "models",
  "triton-models",
  "sessions",
  "sampling",
  "deterministic",
  "block-gemm",
  "grouped-gemm",
  "grouped-bf16",
  "experts",
  "bf16",
  "fused-linear",
  "thin-gemm",
  "slice",
  "printed-fp8",
  "mla-decode",
  "few-heads",
  "small",
  "load",
  "ceilings",
  "mla-prefill",
  "rows",
  "norm-quant",
];

/** Parts that run only when named. */
const asked = [
  "plugins",
  "tune",
  "family-logits",
  "family-load",
  "family-speed",
  "step-schedules",
  "prompts",
  "other-gemm",
  "prompt-gemm",
  "family",
  "race",
  "oracle",
  "sanitize",
  "tvm-library",
  "ranks",
  "trace",
];

const option = (name: string): string | undefined => {
  const i = process.argv.indexOf(`--${name}`);
  return i < 0 ? undefined : process.argv[i + 1];
};

/** Flags that parts read themselves: every schedule instead of the chosen one, only what is small. */
const forAll = process.argv.filter((a) => a === "--every" || a === "--small");

const moduleOf = (name: string): string => path.join(import.meta.dirname, `${name}.js`);

/** The child: one step of one part, its rows to a file. */
async function alone(name: string, step: Step, file: string): Promise<void> {
  const run = ((await import(moduleOf(name))) as Part)[step];
  let rows: Row[] | null = null;
  if (run) {
    const cuda = openCuda(h200.arch);
    rows = await run(cuda).catch((e: Error) => {
      process.stderr.write(`${e.stack}\n`);
      return [{ error: e.message, ok: false }];
    });
    cuda.close();
  }
  writeFileSync(file, JSON.stringify(rows));
}

/** Rows of a step of a part, null where it has none; what went wrong is a row. */
function inProcess(name: string, step: Step, folder: string, seconds: number): Promise<Row[] | null> {
  const file = path.join(folder, `${name}.${step}.json`);
  return new Promise((resolve) => {
    // More threads than Node's four: kernels compile on them.
    const env = { ...process.env, UV_THREADPOOL_SIZE: process.env.UV_THREADPOOL_SIZE ?? "16" };
    const child = spawn(process.execPath, [process.argv[1], "--alone", name, "--step", step, "--rows", file, ...forAll], {
      env,
      stdio: ["ignore", "ignore", "pipe"],
      detached: true,
    });
    // The whole group: a child of a part would go on and disturb what is measured next.
    const late = setTimeout(() => process.kill(-child.pid!, "SIGKILL"), seconds * 1000);
    let words = "";
    child.stderr.on("data", (d: Buffer) => (words = (words + d.toString()).slice(-2000)));
    child.on("close", (code, signal) => {
      clearTimeout(late);
      if (existsSync(file)) return resolve(JSON.parse(readFileSync(file, "utf8")) as Row[] | null);
      resolve([
        {
          error:
            signal === "SIGKILL"
              ? `not done after ${seconds} s`
              : `ended with ${code ?? signal}: ${words.trim().split("\n").slice(-4).join(" | ")}`,
          ok: false,
        },
      ]);
    });
  });
}

async function main(): Promise<void> {
  const only = option("only")?.split(",");
  const steps = (option("steps") ?? "check,measure").split(",") as Step[];
  const file = option("json");
  const cuda = openCuda(h200.arch);
  const report: Record<string, unknown> = {
    date: new Date().toISOString(),
    gpu: cuda.name,
    multiprocessors: cuda.multiprocessors,
    node: process.version,
    commit: process.env.DSC_COMMIT ?? "unknown",
    conditions: "median of graph replays; weights and caches rotated through more memory than L2 holds; random inputs",
  };
  cuda.close();
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-device-"));
  let failed = false;
  const visit = async (name: string, step: Step): Promise<void> => {
    const from = performance.now();
    const rows = await inProcess(name, step, folder, Number(option("limit") ?? 90));
    if (!rows) return;
    const bad = rows.filter((r) => r.ok === false);
    failed ||= bad.length > 0;
    report[`${name}.${step}`] = rows;
    if (file) writeFileSync(file, JSON.stringify(report, null, 1) + "\n");
    process.stdout.write(
      `${name} ${step}: ${rows.length} rows, ${bad.length} bad, ${((performance.now() - from) / 1000).toFixed(1)} s\n`,
    );
    for (const r of step === "check" ? [...rows.filter((r) => r.summary), ...bad.slice(0, 12)] : rows)
      process.stdout.write(`  ${line(r)}\n`);
  };
  for (const step of steps) {
    const queue = [...(only ? asked : []), ...parts].filter((p) => (!only || only.includes(p)) && existsSync(moduleOf(p)));
    const lane = async (): Promise<void> => {
      for (let p = queue.shift(); p; p = queue.shift()) await visit(p, step);
    };
    await Promise.all(Array.from({ length: step === "check" ? Number(option("at-once") ?? 4) : 1 }, lane));
  }
  rmSync(folder, { recursive: true });
  process.exitCode = failed ? 1 : 0;
}

const line = (r: Row): string =>
  Object.entries(r)
    .filter(([k]) => k !== "all")
    .map(([k, v]) => `${k} ${typeof v === "number" && !Number.isInteger(v) ? v.toPrecision(4) : v}`)
    .join("  ");

try {
  const name = option("alone");
  if (name) await alone(name, option("step") as Step, option("rows")!);
  else await main();
} catch (e) {
  if (!(e instanceof DiagnosticError)) throw e;
  // A machine without a GPU is not a fault of this program: say so without a stack trace.
  process.stderr.write(e.diagnostics.map(render).join("\n") + "\n");
  process.exitCode = 1;
}
