// dsc eval SRC --text FILE: how well the model foresees a text. Windows and means are runtime/score.ts's.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { load, readArtifact, score } from "../../runtime/index.ts";
import { cannotReadText, usage } from "../diagnostics.ts";
import { progressLine } from "../progress.ts";
import { checkTargetEffects } from "./effects.ts";
import { checkWhole, compileFlags } from "./options.ts";
import { sourceOf, tokenizerOf, type SourceFlags } from "./source.ts";
import { readRegularSync } from "../../runtime/files.ts";
import { taking } from "../taking.ts";

interface Options extends SourceFlags {
  text: string;
  window?: number;
  json: boolean;
  threads?: number;
}

export const evalCommand = {
  command: "eval <src>",
  describe: "the perplexity of a text",
  builder: (y: Argv): Argv<Options> =>
    taking<Options>(
      compileFlags(
        y
          .positional("src", {
            type: "string",
            demandOption: true,
            describe: "a model folder, a config.json, or an artifact compiled with --taps",
          })
          .option("text", { type: "string", demandOption: true, describe: "a file of UTF-8 text" })
          .option("weights", { type: "string", describe: "a checkpoint folder, or synthetic:SEED (default: the model folder)" })
          .option("window", { type: "number", describe: "rows scored at once, <bos> included (default: 512)" })
          .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" })
          .option("threads", { type: "number", describe: "worker threads (default: the cores there are)" }),
      ),
    ),
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    checkWhole("--window", a.window, 2);
    checkWhole("--threads", a.threads, 1);
    const text = readText(a.text);
    const source = await sourceOf(a, "eval");
    const ids = (await tokenizerOf(source, "eval")).encode(text, { special: false });
    if (ids.length === 0)
      throw new DiagnosticError(usage({ problem: `${a.text} has no token to score`, help: "give a file with text" }));
    checkTargetEffects((await readArtifact(source.folder)).manifest.target, a);
    const model = await load(source.folder, { weights: source.weights, ...(a.threads ? { threads: a.threads } : {}) });
    const line = progressLine();
    const from = performance.now();
    try {
      const progress = ({ done, of, nll }: { done: number; of: number; nll: number }): void =>
        line.show(`window ${done} of ${of}, perplexity so far ${Math.exp(nll).toFixed(3)}`);
      const s = await score(model, ids, { ...(a.window === undefined ? {} : { window: a.window }), progress });
      const seconds = (performance.now() - from) / 1000;
      line.end();
      const bytes = Buffer.byteLength(text);
      const bits = (s.nll * s.tokens) / Math.LN2 / bytes;
      if (a.json)
        process.stdout.write(JSON.stringify({ ...s, bytes, bits_per_byte: bits, tokens_per_second: s.tokens / seconds }) + "\n");
      else {
        process.stdout.write(
          `perplexity ${s.perplexity.toFixed(4)}: ${s.nll.toFixed(5)} nats a token, ${bits.toFixed(4)} bits a byte\n`,
        );
        process.stderr.write(
          `${s.tokens} tokens in ${s.windows} window${s.windows === 1 ? "" : "s"}, ${(s.tokens / seconds).toFixed(0)} tokens a second\n`,
        );
      }
    } finally {
      line.end();
      await model.close();
    }
  },
};

function readText(file: string): string {
  let bytes: Buffer;
  try {
    bytes = readRegularSync(file);
  } catch (e) {
    throw new DiagnosticError(cannotReadText({ file, problem: (e as Error).message }));
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new DiagnosticError(cannotReadText({ file, problem: "it is not UTF-8" }));
  }
}
