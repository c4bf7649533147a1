// dsc compile SRC -o OUT: no weights, no GPU; says what each pass did.
import path from "node:path";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError, type Diagnostic } from "../../ir/diagnostic.ts";
import { checkOut } from "../artifact/write.ts";
import { archOf } from "../../codegen/cuda/archs.ts";
import { expectedOf, printedProductsOf, type Expected } from "../analysis/expected.ts";
import { plannedFrom } from "../analysis/planned.ts";
import { compile, type Compiled, type CompileOptions } from "../compile.ts";
import { printedProducts } from "../diagnostics/machine.ts";
import { printExpected } from "../report/plan.ts";
import { shellWord, unseenCheckpoint, usage } from "../diagnostics.ts";
import { writeKeepingEdits } from "../edit/kept.ts";
import { progressLine } from "../progress.ts";
import { size, summarise } from "../report/summary.ts";
import { table } from "../report/table.ts";
import { transcript } from "../report/transcript.ts";
import { storedIn, type Stored } from "../checkpoint-dtypes.ts";
import { say } from "../tell.ts";
import { checkModelEffects } from "./effects.ts";
import { camelNamed, compileFlags, optionsOf, pipelineOf, type CompileFlags } from "./options.ts";

interface Options extends CompileFlags {
  src: string;
  out?: string;
  json: boolean;
  cubin: boolean;
  types: boolean;
  timePasses: boolean;
}

export const compileCommand = {
  command: "compile <src>",
  describe: "a config (or model folder) to an artifact: kernels, plan, graph after every pass, ledger",
  builder: (y: Argv): Argv<Options> =>
    camelNamed(
      compileFlags(
        y
          .positional("src", { type: "string", demandOption: true, describe: "a config.json or a folder with one" })
          .option("out", {
            alias: "o",
            type: "string",
            describe: "folder for the artifact (default: .dsc/NAME, of the model's folder or file)",
          })
          .option("cubin", {
            type: "boolean",
            default: false,
            describe: "cuda: put compiled kernels into the artifact, for machines without a compiler",
          })
          .option("types", {
            type: "boolean",
            default: false,
            describe: "write OUT/model.ts too: the artifact as a typed module",
          })
          .option("time-passes", {
            type: "boolean",
            default: false,
            describe: "say on stderr how long every pass and stage took",
          })
          .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }),
      ),
    ),
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    const from = performance.now();
    const { pipeline, passOptions, brings } = await pipelineOf(a.src, a);
    const options = optionsOf(a, brings);
    if (a.cubin && options.target !== "cuda")
      throw new DiagnosticError(
        usage({
          problem: `--cubin with --target ${options.target}: only CUDA kernels are compiled to cubins`,
          help: "give --target cuda, or leave it out",
        }),
      );
    const out = a.out ?? defaultOut(a.src);
    checkOut(out);
    const { stored, unseen } = await storedBeside(a.src);
    const times: (readonly [stage: string, ms: number])[] = [];
    const timed = (stage: string, ms: number): void => void times.push([stage, ms]);
    const texts = compile(
      a.src,
      {
        ...options,
        ...(a.timePasses ? { timed } : {}),
        passOptions,
        prove: "all",
        reproduceIn: path.dirname(path.resolve(out)),
        stored,
      },
      pipeline,
    );
    checkModelEffects(texts.spec, a);
    texts.warnings.push(...unseen);
    const line = progressLine();
    const c = a.cubin
      ? await (await import("../artifact/cubins.ts")).withCubins(texts, undefined, line.show).finally(line.end)
      : texts;
    const whole = a.types ? await (await import("../artifact/model-module.ts")).withModelModule(c) : c;
    const { said } = await writeKeepingEdits(whole, out);
    c.warnings.push(...said);
    const expected = expectedFor(c, options);
    c.warnings.forEach(say);
    if (a.timePasses)
      process.stderr.write(
        timeTable(
          times,
          c.outcome.snapshots.map((s) => s.pass),
        ),
      );
    const f = facts(c);
    if (a.json) return void process.stdout.write(JSON.stringify({ out, ...f, ledger: c.outcome.ledger.entries }) + "\n");
    process.stdout.write(`${transcript(c.outcome, c.proofs, c.held)}\n\n`);
    process.stdout.write(
      `${f.architecture} for ${f.target}: ${f.layers} layers, ${f.functions} functions, ${f.kernels.length} kernels, ` +
        `${size(f.weight_bytes)} of weights\n`,
    );
    if (expected) process.stdout.write(`${printExpected(expected)}\n`);
    process.stdout.write(`written to ${shellWord(out)}; dsc inspect ${shellWord(out)} lists it\n`);
    // Time is no part of the answer: the same compile prints the same bytes.
    process.stderr.write(`in ${((performance.now() - from) / 1000).toFixed(2)} s\n`);
  },
};

/** Passes below the stage that they are of, with the nodes each left. */
function timeTable(times: readonly (readonly [stage: string, ms: number])[], passes: readonly string[]): string {
  const rows = times.map(([stage, ms]) => [passes.includes(stage) ? `  ${stage}` : stage, ms.toFixed(1)]);
  return `${table(["stage", "ms"], rows, [1]).join("\n")}\n`;
}

/** What the steps of a compile for our GPU should take; products left to printed kernels, unless that was asked for, become a warning. */
function expectedFor(c: Compiled, options: CompileOptions): Expected | undefined {
  const { manifest } = c;
  // What a plug-in brings, this file cannot read back.
  if (manifest.target !== "cuda" || options.brings?.held.length) return undefined;
  const arch = archOf(options.arch);
  const planned = plannedFrom(manifest, (name) => String(c.files.get(name)));
  const load = { batch: 1, context: Math.min(1024, planned.maxPositions) };
  const expected = expectedOf(planned, arch.machine, load, options.tuned);
  const asked = options.natives !== "all" || options.activations === "f32" || options.deterministic;
  const products = expected && !asked ? printedProductsOf(expected, arch) : [];
  if (products.length) c.warnings.push(printedProducts({ arch: arch.name, sites: products }));
  return expected;
}

/** .dsc/NAME where one works: of a model folder, or of the folder of a config.json, else of the file. */
function defaultOut(src: string): string {
  const full = path.resolve(src);
  const name = path.basename(full) === "config.json" ? path.basename(path.dirname(full)) : path.basename(full, ".json");
  return path.join(".dsc", name === "" ? "model" : name);
}

/** What the checkpoint beside a config stores. One that cannot be read is no obstacle here: nothing of it is needed. */
async function storedBeside(src: string): Promise<{ stored: Stored | undefined; unseen: Diagnostic[] }> {
  try {
    return { stored: await storedIn(src), unseen: [] };
  } catch (e) {
    if (!(e instanceof DiagnosticError)) throw e;
    return { stored: undefined, unseen: [unseenCheckpoint({ why: e.diagnostics.map((d) => d.title) })] };
  }
}

interface Facts {
  architecture: string;
  target: string;
  layers: number;
  functions: number;
  kernels: string[];
  /** Of the checkpoint: weights as stored, scales and the extra prediction layer included. */
  weight_bytes: number;
}

const facts = (c: Compiled): Facts => ({
  architecture: c.spec.architecture,
  target: c.manifest.target,
  layers: c.spec.layers.length,
  functions: Object.keys(c.manifest.functions).length,
  kernels: Object.keys(c.manifest.kernels),
  weight_bytes: summarise(c.spec).bytes_with_mtp.total,
});
