// dsc inspect OUT [NAME]: what is in an artifact, and where each part came from. Its modes are in compiler/commands/inspecting.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError, type Diagnostic } from "../../ir/diagnostic.ts";
import { readArtifact } from "../../runtime/index.ts";
import { shellWord, usage } from "../diagnostics.ts";
import { launchesIn } from "../analysis/origins.ts";
import { folded } from "../report/graph.ts";
import { originsOf, printing } from "../artifact/side-files.ts";
import { typed } from "./effects.ts";
import { deviceFlags } from "./device.ts";
import { taking } from "../taking.ts";
import type { Options, Read } from "./inspecting/artifact.ts";
import { tellCosts } from "./inspecting/cost.ts";
import { tellFunction } from "./inspecting/function.ts";
import { graphOf } from "./inspecting/graph.ts";
import { tellLine, tellLines, tellWanted } from "./inspecting/lines.ts";
import { tellMachineCode } from "./inspecting/machine-code.ts";
import { printOrigin } from "./inspecting/origin.ts";
import { facts, overview } from "./inspecting/overview.ts";

export const inspect = {
  command: "inspect <out> [name]",
  describe: "list an artifact's functions and kernels, or print one of them, where a kernel came from, or the graph after a pass",
  builder: (y: Argv): Argv<Options> =>
    taking<Options>(
      deviceFlags(y)
        .positional("out", { type: "string", demandOption: true, describe: "an artifact folder" })
        .positional("name", {
          type: "string",
          describe: "a kernel, or a function of the graph (decode/moe_layer); with --batch or --context its launches and buffers",
        })
        .option("ir", {
          type: "boolean",
          default: false,
          describe: "print the graph after the last pass, runs of equal calls folded (the files of OUT/graph are whole)",
        })
        .option("after", { type: "string", describe: "print the graph after this pass (frontend: before any)" })
        .option("origin", {
          type: "boolean",
          default: false,
          describe: "of a kernel: every launch, its line of the graph, tensors, config keys and rules",
        })
        .option("line", {
          type: "number",
          describe: "of a kernel: what line N of its text is, its ops, and where its numbers came from",
        })
        .option("op", { type: "string", describe: "launches of an op (gated_quant); of a kernel its lines" })
        .option("key", {
          type: "string",
          describe: "launches that a config key (kv_lora_rank) makes; of a kernel the lines it stands in",
        })
        .option("tensor", {
          type: "string",
          describe: "launches that read a tensor, by its name or its module's (q_b_proj); of a kernel the lines that read it",
        })
        .option("asm", { type: "boolean", default: false, describe: "of a kernel in C: its machine code, by objdump" })
        .option("ptx", { type: "boolean", default: false, describe: "of a CUDA kernel: its PTX, by nvcc" })
        .option("sass", {
          type: "boolean",
          default: false,
          describe: "of a CUDA kernel: its machine code, by cuobjdump or nvdisasm",
        })
        .option("resources", {
          type: "boolean",
          default: false,
          describe: "of a CUDA kernel: registers, local and shared memory, and the blocks that are resident at once",
        })
        .option("cost", {
          type: "boolean",
          default: false,
          describe: "bytes, FLOPs, floor and share of every launch (of a kernel) of a step; of others at sizes of their own",
        })
        .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }),
    ),
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    if (a.origin && a.cost)
      throw new DiagnosticError(usage({ problem: "inspect: give only one of --origin and --cost", word: "--origin" }));
    const { manifest, files } = await readArtifact(a.out, (name) => !name.endsWith(".wasm"));
    const say = (value: object, lines: () => string): void =>
      void process.stdout.write(a.json ? JSON.stringify(value) + "\n" : lines());
    const read: Read = { manifest, files, text: (name) => files.get(name)?.toString("utf8") ?? "", say };
    await tell(a, read);
  },
};

async function tell(a: Options, read: Read): Promise<void> {
  const { manifest, files, text, say } = read;
  const { name } = a;
  const has = (of: object): boolean => name !== undefined && Object.hasOwn(of, name);
  const sized = typed(["batch", "context", "device", "bandwidth"]);
  const func = name?.replace(/^@/, "");
  if (func !== undefined && Object.hasOwn(manifest.functions, func) && sized.length && !a.ir && a.after === undefined && !a.cost)
    return tellFunction(a, func, read);
  if (sized.length && !a.cost)
    throw new DiagnosticError(
      usage({
        problem: `inspect: --${sized[0]} is of --cost, and of a function's launches`,
        help: "give --cost or a function as well, or leave it out",
        word: `--${sized[0]}`,
      }),
    );
  const plain =
    !a.ir && a.after === undefined && !a.origin && !a.cost && a.line === undefined && !a.asm && !a.ptx && !a.sass && !a.resources;
  const { system = {} } = manifest;
  if (name !== undefined && has(system) && plain)
    return say({ kernel: name, ...system[name], source: text(system[name].text) }, () => text(system[name].text));
  const kernel = has(manifest.kernels) ? name : undefined;
  const code = (["ptx", "sass", "resources", "asm"] as const).find((k) => a[k]);
  if (code !== undefined) {
    if (kernel === undefined && !has(manifest.system ?? {})) throw new DiagnosticError(ofKernel(a, `--${code}`));
    return tellMachineCode(a, read, name!, code);
  }
  if (a.line !== undefined) {
    if (kernel === undefined && !has(system)) throw new DiagnosticError(ofKernel(a, "--line"));
    return tellLine(read, name!, a.line);
  }
  if (a.op !== undefined || a.key !== undefined || a.tensor !== undefined) {
    if (name === undefined) return tellWanted(read, a, a.out);
    if (kernel === undefined)
      throw new DiagnosticError(ofKernel(a, a.op === undefined ? (a.key === undefined ? "--tensor" : "--key") : "--op"));
    return tellLines(read, kernel, a, a.out);
  }
  if (a.ir || a.after !== undefined || (name !== undefined && kernel === undefined)) {
    notOfKernels(a, kernel);
    const graph = graphOf(a, read);
    return say(graph, () => folded(graph.text));
  }
  if (a.origin && kernel === undefined) throw new DiagnosticError(ofKernel(a, "--origin"));
  if (a.cost) return tellCosts(a, read, kernel);
  if (kernel === undefined) return say(facts(manifest), () => overview(manifest));
  const launches = launchesIn(originsOf(files)).filter((l) => l.kernel === kernel);
  if (a.origin) return say({ kernel, launches }, () => printing("origins.json", () => printOrigin(kernel, manifest, launches)));
  const record = manifest.kernels[kernel];
  say({ kernel, ...record, sites: launches.map((l) => l.site), source: text(record.text) }, () => text(record.text));
}

const ofKernel = ({ out, name }: Options, option: string): Diagnostic =>
  usage({
    problem: `inspect: ${option} is of a kernel${name === undefined ? "" : `, and ${name} is none`}`,
    help: `dsc inspect ${shellWord(out)} KERNEL ${option}; without a kernel, dsc inspect ${shellWord(out)} lists them`,
    word: option,
  });

/** Refuses what has no meaning for a graph. */
function notOfKernels(a: Options, kernel: string | undefined): void {
  if (kernel !== undefined)
    throw new DiagnosticError(
      usage({
        problem: "inspect: --ir and --after are of the graph, which has no kernels",
        help: `dsc inspect ${shellWord(a.out)} ${kernel} --origin says which lines of it the kernel serves`,
        word: kernel,
      }),
    );
  if (a.origin || a.cost)
    throw new DiagnosticError(
      usage({
        problem: `inspect: ${a.origin ? "--origin" : "--cost"} is of kernels`,
        help: `dsc inspect ${shellWord(a.out)} lists them`,
        word: a.origin ? "--origin" : "--cost",
      }),
    );
}
