// dsc verify SRC: proves the passes on a small config derived from SRC that keeps its structure and its oddness, by
// interpreting the graph before and after each pass.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError, error } from "../../ir/diagnostic.ts";
import { loadSpec } from "../frontend/config.ts";
import { prove } from "../prove.ts";
import { shrink } from "../shrink.ts";

interface Options {
  src: string;
  set: string[];
  json: boolean;
}

export const verifyCommand = {
  command: "verify <src>",
  describe: "prove every pass on a small config derived from SRC",
  builder: (y: Argv): Argv<Options> =>
    y
      .positional("src", { type: "string", demandOption: true, describe: "a config.json or a folder with one" })
      .option("set", { type: "string", array: true, default: [] as string[], describe: "key=value laid over the config" })
      .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }) as Argv<Options>,
  handler: (a: ArgumentsCamelCase<Options>): void => {
    const { spec } = loadSpec(a.src, a.set);
    const small = shrink(spec);
    const proofs = prove(small);
    const failed = proofs.filter((p) => !p.holds);
    if (a.json) process.stdout.write(JSON.stringify({ ok: failed.length === 0, small: { hidden: small.hidden, heads: small.heads, layers: small.layers.length }, proofs }) + "\n");
    else {
      process.stdout.write(`proved on ${small.layers.length} layers, hidden ${small.hidden}, ${small.heads} heads, ${small.moe ? `${small.moe.experts} experts` : "no experts"}\n`);
      for (const p of proofs) process.stdout.write(`  ${p.entry.padEnd(8)} ${p.attention.padEnd(9)} ${p.pass.padEnd(18)} ${p.holds ? "holds" : "BROKEN"}  ${p.change ? `difference ${p.difference.toExponential(1)}: ${p.change}` : `difference ${p.difference.toExponential(1)}`}\n`);
    }
    if (failed.length) throw new DiagnosticError(failed.map((p) => error("DSC3020", `${p.pass} changes what ${p.entry} computes`, { notes: [`largest difference ${p.difference}`] })));
  },
};
