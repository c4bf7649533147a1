// dsc report OUT -o report.html: an artifact as one page to look at.
import { readFileSync } from "node:fs";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { readArtifact } from "../../runtime/index.ts";
import { checkOut, writeFile } from "../export/out.ts";
import { REPORT_MARK, reportFile } from "../report/html/file.ts";
import { collect } from "../report/html/collect.ts";
import { readRuns } from "../report/html/runs.ts";
import { size } from "../report/summary.ts";
import { taking } from "../taking.ts";
import { archOf } from "../../codegen/cuda/archs.ts";
import { readTuning } from "../tuning/store.ts";
import { type DeviceFlags, deviceFlags, deviceOf, loadOf, machineOf } from "./device.ts";

interface Options extends DeviceFlags {
  out: string;
  output: string;
  runs: string[];
  json: boolean;
}

export const reportCommand = {
  command: "report <out>",
  describe: "an artifact as one HTML file: graphs, passes, ledger, kernels, memory and costs",
  builder: (y: Argv): Argv<Options> =>
    taking<Options>(
      deviceFlags(y)
        .positional("out", { type: "string", demandOption: true, describe: "an artifact folder" })
        .option("output", { alias: "o", type: "string", default: "report.html", describe: "the file to write" })
        .option("runs", {
          type: "string",
          array: true,
          default: [] as string[],
          describe: "a file that dsc profile --json or dsc bench --json printed, once or more: its times lie beside the floors",
        })
        .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }),
    ),
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    checkOut(a.output, isReport);
    const artifact = await readArtifact(a.out, (name) => !name.endsWith(".wasm") && !name.endsWith(".cubin"));
    const machine = await machineOf(a, deviceOf(artifact.manifest.target));
    const { gpu, model } = artifact.manifest;
    const tuned = gpu && readTuning(archOf(gpu.arch).name)?.rows;
    const report = collect(artifact, machine, loadOf(a, model.maxPositions), {
      runs: readRuns(a.runs),
      ...(tuned ? { tuned } : {}),
    });
    const html = reportFile(report);
    writeFile(a.output, Buffer.from(html));
    const facts = { report: a.output, bytes: Buffer.byteLength(html), kernels: Object.keys(report.kernels).length };
    process.stdout.write(
      a.json ? `${JSON.stringify(facts)}\n` : `written to ${a.output} (${size(facts.bytes)}); open it in a browser\n`,
    );
  },
};

/** An earlier report says so in its head. */
const isReport = (file: string): boolean => readFileSync(file, "utf8").slice(0, 400).includes(REPORT_MARK);
