// dsc compile SRC -o OUT: no weights, no GPU; says what each pass did.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { render } from "../../ir/diagnostic.ts";
import { writeArtifact } from "../artifact.ts";
import { compile, type Compiled } from "../compile.ts";
import { storesF32 } from "../stored.ts";
import { compileFlags, optionsOf, type CompileFlags } from "./options.ts";

interface Options extends CompileFlags {
  src: string;
  out: string;
  json: boolean;
}

export const compileCommand = {
  command: "compile <src>",
  describe: "a config (or model folder) to an artifact: kernels, plan, graph after every pass, ledger",
  builder: (y: Argv): Argv<Options> =>
    compileFlags(
      y
        .positional("src", { type: "string", demandOption: true, describe: "a config.json or a folder with one" })
        .option("out", { alias: "o", type: "string", demandOption: true, describe: "folder for the artifact" })
        .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }),
    ) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const c = compile(a.src, { ...optionsOf(a), storesF32: await storesF32(a.src) });
    writeArtifact(c, a.out);
    for (const w of c.warnings) process.stderr.write(render(w) + "\n");
    if (a.json) {
      process.stdout.write(JSON.stringify({ out: a.out, ...facts(c), ledger: c.outcome.ledger.entries }) + "\n");
      return;
    }
    process.stdout.write(`${c.outcome.ledger.summary()}\n\n${describe(c)}\nwritten to ${a.out}\n`);
  },
};

function facts(c: Compiled): { architecture: string; layers: number; functions: number; kernels: string[] } {
  return { architecture: c.spec.architecture, layers: c.spec.layers.length, functions: Object.keys(c.manifest.functions).length, kernels: Object.keys(c.manifest.kernels) };
}

function describe(c: Compiled): string {
  const f = facts(c);
  return `${f.architecture}: ${f.layers} layers as ${f.functions} functions, ${f.kernels.length} kernels for ${c.manifest.target}`;
}
