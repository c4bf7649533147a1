// dsc tune SRC: measures a config's own products on the card that is here; compiles for its architecture then choose by that.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { archOf } from "../../codegen/cuda/archs.ts";
import type { TunedRow } from "../../codegen/cuda/tuned.ts";
import { openCuda } from "../../runtime/devices/cuda/index.ts";
import type { Problem } from "../../ir/kernel/catalogue.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { compile } from "../compile.ts";
import { usage } from "../diagnostics.ts";
import { progressLine } from "../progress.ts";
import { measure } from "../tuning/measure.ts";
import { writeTuning } from "../tuning/store.ts";
import { tunablesOf, trialsOf, type Tunable } from "../tuning/trials.ts";
import { checkWhole, compileFlags, optionsOf, pipelineOf, type CompileFlags } from "./options.ts";

interface Options extends CompileFlags {
  src: string;
  rows: number[];
  json: boolean;
}

/** Row counts at which choices are made. */
const ROWS = [1, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096];

export const tune = {
  command: "tune <src>",
  describe: "measure a config's own products on this machine's card; compiles for it then choose by these times",
  builder: (y: Argv): Argv<Options> =>
    compileFlags(
      y
        .positional("src", { type: "string", demandOption: true, describe: "a config.json or a folder with one" })
        .option("rows", { type: "number", array: true, default: ROWS, describe: "numbers of rows to measure at" })
        .option("json", { type: "boolean", default: false, describe: "one JSON array on stdout: every time" }),
    ).default("target", "cuda") as unknown as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    if (a.target !== "cuda")
      throw new DiagnosticError(usage(`--target ${a.target}: only CUDA kernels have schedules`, "leave it out", "--target"));
    for (const rows of a.rows) checkWhole("--rows", rows, 1);
    const arch = archOf(a.arch);
    const cuda = openCuda(arch.machine.arch);
    const line = progressLine();
    try {
      const { pipeline, passOptions } = await pipelineOf(a.src, a);
      const { manifest, files } = compile(a.src, { ...optionsOf(a), passOptions, tuned: undefined }, pipeline);
      const problems = JSON.parse(String(files.get("problems.json"))) as Record<string, Problem>;
      const found = tunablesOf(manifest, problems, arch);
      const measured: TunedRow[] = [];
      for (const [i, tunable] of found.entries()) {
        line.show(`${i + 1} of ${found.length}: ${inWords(tunable)}`);
        const rows = await measure(cuda, tunable, a.rows, arch);
        line.end();
        measured.push(...rows);
        if (!a.json) for (const count of a.rows) say(tunable, count, rows, trialsOf(tunable, count, arch)[0]?.expected.us);
      }
      const file = writeTuning(arch.name, { device: cuda.name, rows: measured });
      if (a.json) process.stdout.write(`${JSON.stringify(measured)}\n`);
      else process.stdout.write(`${measured.length} times of ${cuda.name} written to ${file}\n`);
    } finally {
      line.end();
      cuda.close();
    }
  },
};

const inWords = ({ native, problem }: Tunable): string =>
  `${native.family} ${Object.entries(problem)
    .map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : String(value)}`)
    .join(", ")}`;

/** The fastest at so many rows, beside what was expected of the one that would have been chosen. */
function say(t: Tunable, count: number, rows: readonly TunedRow[], expected: number | undefined): void {
  const here = rows.filter((r) => r.rows === count);
  if (!here.length) return;
  const best = here.reduce((least, r) => (r.us < least.us ? r : least));
  const before = expected === undefined ? "" : `, expected ${expected.toFixed(1)}`;
  process.stdout.write(
    `${inWords(t)} at ${count}: ${t.native.schedules.name(best.schedule)} ${best.us.toFixed(1)} us of ${here.length}${before}\n`,
  );
}
