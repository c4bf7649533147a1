// dsc ops [NAME]: every op, or one: signature, attributes, an example in the text format, and which targets have a kernel for it.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { opByName, ops } from "../../ir/ops/index.ts";
import { notFound } from "../diagnostics.ts";
import { kernelsFor, opFacts, printOp } from "../report/op-page.ts";

interface Options {
  name?: string;
  json: boolean;
}

export const opsCommand = {
  command: "ops [name]",
  describe: "list the ops of the graph, or show one: signature, example, which targets have a kernel for it",
  builder: (y: Argv): Argv<Options> =>
    y
      .positional("name", { type: "string", describe: "an op" })
      .option("json", { type: "boolean", default: false, describe: "one JSON array on stdout" }) as Argv<Options>,
  handler: (a: ArgumentsCamelCase<Options>): void => {
    const op = a.name === undefined ? undefined : opByName.get(a.name);
    if (a.name !== undefined && !op)
      throw new DiagnosticError(
        notFound({ what: `op ${a.name}`, where: "the graph", word: a.name, known: [...opByName.keys()] }),
      );
    if (a.json) return void process.stdout.write(JSON.stringify((op ? [op] : ops).map(opFacts)) + "\n");
    if (op) return void process.stdout.write(printOp(op) + "\n");
    const width = Math.max(...ops.map((o) => o.name.length)) + 2;
    for (const o of ops)
      process.stdout.write(`${o.name.padEnd(width)}${kernelsFor(o).targets.join(", ").padEnd(19)}${o.summary}\n`);
  },
};
