// dsc tune SRC: measures a config's own products on the card that is here; compiles for its architecture then choose by that.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { archOf } from "../../codegen/cuda/archs.ts";
import type { TunedRow } from "../../codegen/cuda/tuned.ts";
import { openCuda } from "../../runtime/devices/cuda/index.ts";
import type { Problem } from "../../ir/kernel/catalogue.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { compile } from "../compile.ts";
import { badValue, usage } from "../diagnostics.ts";
import { progressLine } from "../progress.ts";
import { measure } from "../tuning/measure.ts";
import { writeTuning } from "../tuning/store.ts";
import { tunablesOf, trialsOf, type Tunable } from "../tuning/trials.ts";
import { checkWhole, compileFlags, optionsOf, pipelineOf, type CompileFlags } from "./options.ts";

interface Options extends CompileFlags {
  src: string;
  rows: string;
  seconds: number;
  json: boolean;
}

/** Row counts at which choices are made. */
const ROWS = "1,4,8,16,32,64,96,128,192,256,384,512,768,1024,2048,4096";

export const tune = {
  command: "tune <src>",
  describe: "measure a config's own products on this machine's card; compiles for it then choose by these times",
  builder: (y: Argv): Argv<Options> =>
    compileFlags(
      y
        .positional("src", { type: "string", demandOption: true, describe: "a config.json or a folder with one" })
        .option("rows", { type: "string", default: ROWS, describe: "numbers of rows to measure at, with commas" })
        .option("seconds", {
          type: "number",
          default: Infinity,
          defaultDescription: "no limit",
          describe: "begin nothing more after so long; what was measured is kept",
        })
        .option("json", { type: "boolean", default: false, describe: "one JSON array on stdout: every time" }),
    ).default("target", "cuda") as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    if (a.target !== "cuda")
      throw new DiagnosticError(
        usage({ problem: `--target ${a.target}: only CUDA kernels have schedules`, help: "leave it out", word: "--target" }),
      );
    const counts = a.rows.split(",").map(Number);
    for (const rows of counts) checkWhole("--rows", rows, 1);
    if (!(a.seconds > 0)) throw new DiagnosticError(badValue(`--seconds ${a.seconds}`, "give a number above 0", "--seconds"));
    const until = performance.now() + a.seconds * 1000;
    const arch = archOf(a.arch);
    const cuda = openCuda(arch.machine.arch);
    const line = progressLine();
    try {
      const { pipeline, passOptions, brings } = await pipelineOf(a.src, a);
      const { manifest, files } = compile(a.src, { ...optionsOf(a, brings), passOptions, tuned: undefined }, pipeline);
      const problems = JSON.parse(String(files.get("problems.json"))) as Record<string, Problem>;
      const found = tunablesOf(manifest, problems, arch);
      const measured: TunedRow[] = [];
      let done = 0;
      let file: string | undefined;
      for (const [i, tunable] of found.entries()) {
        if (performance.now() > until) break;
        line.show(`${i + 1} of ${found.length}: ${inWords(tunable)}`);
        const rows = await measure(cuda, tunable, counts, arch, { until });
        line.end();
        measured.push(...rows);
        if (performance.now() <= until) done++;
        // After every product: a run that is stopped keeps what it has.
        file = writeTuning(arch.name, { device: cuda.name, rows });
        if (!a.json) for (const count of counts) say(tunable, count, rows, trialsOf(tunable, count, arch)[0]?.expected.us);
      }
      if (a.json) process.stdout.write(`${JSON.stringify(measured)}\n`);
      else process.stdout.write(ended(measured.length, cuda.name, file, done, found.length));
    } finally {
      line.end();
      cuda.close();
    }
  },
};

function ended(times: number, card: string, file: string | undefined, done: number, of: number): string {
  const left = done < of ? `; ${of - done} of ${of} products were not done in time` : "";
  return file === undefined ? `nothing was measured${left}\n` : `${times} times of ${card} written to ${file}${left}\n`;
}

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
