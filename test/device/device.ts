// npm run device: correctness of the native kernels on this GPU, then times. Needs a Hopper GPU; results are written after
// every file, because a fault in a kernel takes the process with it.
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DiagnosticError, render } from "../../ir/diagnostic.ts";
import { openCuda, type Cuda } from "../../runtime/devices/cuda/index.ts";

export type Row = Record<string, string | number | boolean>;

interface Part {
  check?: (cuda: Cuda) => Promise<Row[]>;
  measure?: (cuda: Cuda) => Promise<Row[]>;
}

const parts = ["models", "triton-models", "sessions", "slice", "small", "load", "ceilings", "norm-quant", "block-gemm", "grouped-gemm", "bf16", "rows", "mla-decode", "mla-prefill"];

const option = (name: string): string | undefined => {
  const i = process.argv.indexOf(`--${name}`);
  return i < 0 ? undefined : process.argv[i + 1];
};

async function main(): Promise<void> {
  const only = option("only")?.split(",");
  const steps = (option("steps") ?? "check,measure").split(",") as ("check" | "measure")[];
  const file = option("json");
  const cuda = openCuda();
  const report: Record<string, unknown> = {
    date: new Date().toISOString(), gpu: cuda.name, multiprocessors: cuda.multiprocessors, node: process.version, commit: process.env.DSC_COMMIT ?? "unknown",
    conditions: "median of graph replays; weights and caches rotated through more memory than L2 holds; random inputs",
  };
  let failed = false;
  for (const step of steps)
    for (const name of parts) {
      const module = path.join(import.meta.dirname, `${name}.js`);
      if ((only && !only.includes(name)) || !existsSync(module)) continue;
      const run = ((await import(module)) as Part)[step];
      if (!run) continue;
      const from = performance.now();
      let rows: Row[];
      try {
        rows = await run(cuda);
      } catch (e) {
        rows = [{ error: (e as Error).message, ok: false }];
        process.stdout.write(`${(e as Error).stack}\n`);
      }
      const bad = rows.filter((r) => r.ok === false);
      failed ||= bad.length > 0;
      report[`${name}.${step}`] = rows;
      if (file) writeFileSync(file, JSON.stringify(report, null, 1) + "\n");
      process.stdout.write(`${name} ${step}: ${rows.length} rows, ${bad.length} bad, ${((performance.now() - from) / 1000).toFixed(1)} s\n`);
      for (const r of step === "check" ? bad.slice(0, 12) : rows) process.stdout.write(`  ${line(r)}\n`);
    }
  cuda.close();
  process.exitCode = failed ? 1 : 0;
}

const line = (r: Row): string =>
  Object.entries(r)
    .filter(([k]) => k !== "all")
    .map(([k, v]) => `${k} ${typeof v === "number" && !Number.isInteger(v) ? v.toPrecision(4) : v}`)
    .join("  ");

try {
  await main();
} catch (e) {
  if (!(e instanceof DiagnosticError)) throw e;
  // A machine without a GPU is not a fault of this program: say so without a stack trace.
  process.stderr.write(e.diagnostics.map(render).join("\n") + "\n");
  process.exitCode = 1;
}
