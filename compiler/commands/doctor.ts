// dsc doctor: what of this machine can be used. Says; never fails.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { examine } from "../doctor/index.ts";
import { version } from "../artifact/version.ts";

interface Options {
  json: boolean;
}

export const doctorCommand = {
  command: "doctor",
  describe: "what dsc finds on this machine, what is missing, and what each part is for",
  builder: (y: Argv): Argv<Options> =>
    y.option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }),
  handler: async ({ json }: ArgumentsCamelCase<Options>): Promise<void> => {
    const checks = await examine();
    const can = {
      compile: checks.filter((c) => c.required).every((c) => c.state === "ok"),
      run_cpu: checks.filter((c) => c.required).every((c) => c.state === "ok"),
      run_cuda: ["koffi", "CUDA driver", "GPU"].every((p) => checks.some((c) => c.part === p && c.state === "ok")),
    };
    if (json)
      return void process.stdout.write(
        JSON.stringify({ dsc: version, platform: `${process.platform}-${process.arch}`, can, checks }) + "\n",
      );
    const width = Math.max(...checks.map((c) => c.part.length));
    process.stdout.write(`dsc ${version} on ${process.platform}-${process.arch}\n\n`);
    for (const c of checks)
      process.stdout.write(
        `${c.state === "ok" ? "ok     " : "missing"}  ${c.part.padEnd(width)}  ${c.found}\n${" ".repeat(width + 11)}for ${c.needed_for}\n` +
          (c.state === "missing" && c.looked_for ? `${" ".repeat(width + 11)}looked for: ${c.looked_for}\n` : ""),
      );
    process.stdout.write(
      `\ncompiles: ${yes(can.compile)}; runs on the CPU: ${yes(can.run_cpu)}; runs on a GPU: ${yes(can.run_cuda)}\n`,
    );
  },
};

const yes = (can: boolean): string => (can ? "yes" : "no");
