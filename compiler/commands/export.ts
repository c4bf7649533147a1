// dsc export FORMAT SRC_OR_OUT -o FILE: a model's graph, or its kernels, for other compilers and runtimes. Without a format it lists
// what there is.
import { closeSync, openSync, readSync, statSync } from "node:fs";
import path from "node:path";
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { Checkpoint } from "../../runtime/index.ts";
import { storedIn } from "../checkpoint-dtypes.ts";
import { badValue, compileOptionOnArtifact, linkedWeights, missing, usage } from "../diagnostics.ts";
import { graphOfArtifact, graphOfConfig, isArtifact, type Graphed } from "../export/graph.ts";
import { exportOnnx, type OnnxExport } from "../export/onnx.ts";
import { checkOut, writeFile } from "../export/out.ts";
import { size } from "../report/summary.ts";
import { say } from "../tell.ts";
import { typed } from "./effects.ts";
import { exportModule } from "./export-relax.ts";
import { exportKernels } from "./export-tvm.ts";
import { pipelineOf, pluginFlags, reduceFlags, reductionOf, type PluginFlags, type ReduceFlags } from "./options.ts";
import { taking } from "../taking.ts";

interface Options extends ReduceFlags, PluginFlags {
  format?: keyof typeof formats;
  src?: string;
  out?: string;
  after?: string;
  portable: boolean;
  weights?: string;
  actQuant: "dynamic" | "none";
  attention: "auto" | "expanded" | "absorbed";
  set: string[];
  kernel: string[];
  json: boolean;
}

const formats = {
  onnx: "the graph after any pass as ONNX, opset 23: one graph for prefill, extend and decode; weights stay in the checkpoint's files",
  relax: "the model as a module of Relax in TVMScript, with the script by which TVM builds and runs it; float32",
  tvm: "the CUDA or C kernels of an artifact as a shared library of tvm-ffi's ABI, for Python, C++ and PyTorch",
} as const;

/** What is of a config only. */
const configOptions = ["act-quant", "attention", "set", "layers", "shrink", "plugin", "pass-option"];

export const exportCommand = {
  command: "export [format] [src]",
  describe: "a model's graph for other compilers and runtimes; without a format, what there is",
  builder: (y: Argv): Argv<Options> =>
    taking<Options>(
      pluginFlags(reduceFlags(y))
        .positional("format", { choices: Object.keys(formats) as (keyof typeof formats)[], describe: "what to write" })
        .positional("src", { type: "string", describe: "a config.json, a folder with one, or an artifact" })
        .option("out", {
          alias: "o",
          type: "string",
          describe: "the file; an .onnx lies beside the checkpoint, or in a folder above it",
        })
        .option("after", { type: "string", describe: "the graph after this pass (frontend: before any; default: after all)" })
        .option("portable", {
          type: "boolean",
          default: false,
          describe: "compute in f32, with the casts that a CPU runtime needs for bf16 and FP8",
        })
        .option("weights", { type: "string", describe: "the checkpoint's folder, where it is not SRC's own" })
        .option("act-quant", {
          choices: ["dynamic", "none"] as const,
          default: "none" as const,
          describe: "quantise the input of FP8 linears, or not",
        })
        .option("attention", {
          choices: ["auto", "expanded", "absorbed"] as const,
          default: "auto" as const,
          describe: "auto decides by cost",
        })
        .option("set", { type: "string", array: true, default: [] as string[], describe: "key=value laid over the config" })
        .option("kernel", {
          type: "string",
          array: true,
          default: [] as string[],
          describe: "tvm: this kernel alone; repeatable",
        })
        .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }),
    ),
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    if (a.format === undefined) return list(a.json);
    const { src, out } = a;
    if (src === undefined || out === undefined)
      throw new DiagnosticError(
        missing(`export ${a.format}`, [...(src === undefined ? ["src"] : []), ...(out === undefined ? ["--out"] : [])]),
      );
    if (a.format === "tvm") return exportKernels(src, out, a);
    if (a.kernel.length)
      throw new DiagnosticError(usage({ problem: "--kernel is of export tvm: a graph is exported whole", word: "--kernel" }));
    if (a.format === "relax") return exportModule(src, out, { ...reductionOf(a), ...given(a) });
    checkOut(out, isExport);
    const where = a.weights ?? (isArtifact(src) ? undefined : folderOf(src));
    if (where === undefined)
      throw new DiagnosticError(
        usage({ problem: "an artifact holds no weights, and a graph points at them", help: "give --weights DIR" }),
      );
    if (where.startsWith("synthetic:"))
      throw new DiagnosticError(
        badValue(
          `--weights ${where}: an .onnx points at files of weights`,
          `dsc weights SRC --synthetic ${where.slice("synthetic:".length) || "0"} -o DIR writes a checkpoint; then --weights DIR`,
          "--weights",
        ),
      );
    const graphed = await graphOf(src, where, a);
    graphed.warnings.forEach(say);
    const checkpoint = await Checkpoint.open(where);
    try {
      const made = await exportOnnx(graphed, checkpoint, out, a.portable);
      writeFile(out, made.bytes);
      if (made.links.length) say(linkedWeights({ links: made.links }));
      report(out, made, graphed, a.json);
    } finally {
      await checkpoint.close();
    }
  },
};

/** What export relax takes of the options. */
const given = ({ after, actQuant, set, json }: Options): Pick<Options, "actQuant" | "set" | "json"> & { after?: string } => ({
  ...(after === undefined ? {} : { after }),
  actQuant,
  set,
  json,
});

const folderOf = (src: string): string => (statSync(src, { throwIfNoEntry: false })?.isDirectory() ? src : path.dirname(src));

function list(json: boolean): void {
  const lines = Object.entries(formats).map(([name, what]) => `${name}  ${what}`);
  process.stdout.write(json ? `${JSON.stringify({ formats })}\n` : `${lines.join("\n")}\n`);
}

async function graphOf(src: string, weights: string, a: ArgumentsCamelCase<Options>): Promise<Graphed> {
  if (isArtifact(src)) {
    const given = typed(configOptions);
    if (given.length) throw new DiagnosticError(compileOptionOnArtifact({ options: given.map((n) => `--${n}`) }));
    return graphOfArtifact(src, a.after);
  }
  const { pipeline, passOptions } = await pipelineOf(src, a);
  const graphed = graphOfConfig(
    src,
    {
      ...reductionOf(a),
      ...(a.after === undefined ? {} : { after: a.after }),
      ...(a.portable ? { activations: "f32" as const } : {}),
      actQuant: a.actQuant,
      set: a.set,
      stored: await storedIn(weights),
      passOptions,
    },
    pipeline,
  );
  if (a.actQuant === "dynamic" && !graphed.spec.fp8)
    throw new DiagnosticError(
      usage({
        problem: "--act-quant dynamic is for FP8 weights, and this model has none",
        help: "leave --act-quant out",
        word: "--act-quant",
      }),
    );
  return graphed;
}

/** How a file begins that dsc exported: the format's version, then the producer's name. */
const HEAD = Buffer.from([0x08, 0x0b, 0x12, 0x03, ...Buffer.from("dsc")]);

function isExport(out: string): boolean {
  const head = Buffer.alloc(HEAD.length);
  const file = openSync(out, "r");
  try {
    readSync(file, head, 0, head.length, 0);
  } finally {
    closeSync(file);
  }
  return head.equals(HEAD);
}

function report(out: string, made: OnnxExport, { quantised }: Graphed, json: boolean): void {
  const { bytes, ...facts } = made;
  if (json) return void process.stdout.write(`${JSON.stringify({ out, bytes: bytes.length, ...facts })}\n`);
  const files = made.weights.length > 3 ? `${made.weights.length} files` : made.weights.join(", ");
  const lines = [
    `${out}: ${size(bytes.length)}, ${made.nodes} nodes, ${made.initializers} initializers, weights in ${files}`,
    `graph ${made.after === "frontend" ? "before any pass" : `after pass ${made.after}`}; functions of ai.dsc: ` +
      `${made.functions.join(", ") || "none"}`,
    ...(quantised === undefined ? [] : [`inputs of FP8 linears are ${quantised ? "" : "not "}quantised`]),
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}
