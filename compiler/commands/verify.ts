// dsc verify SRC: proves the passes on a small config derived from SRC that keeps its structure and its oddness, by
// interpreting the graph before and after each pass; with --onnx, runs exported graphs beside our own runtime.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError, type Diagnostic } from "../../ir/diagnostic.ts";
import { meshWords, parseMesh } from "../../ir/mesh.ts";
import { withRanks } from "../../passes/shard/pipeline.ts";
import { choosePasses } from "../../passes/index.ts";
import { badValue, meshUnproved, onnxDiffers, passChanges, usage } from "../diagnostics.ts";
import { loadSpec } from "../frontend/config.ts";
import { undivided } from "../driver/divides.ts";
import { modelModule } from "../frontend/model.ts";
import { guardOf } from "../driver/plugin-gate.ts";
import { compareOnnx, type OnnxProof } from "../export/compare.ts";
import { progressLine } from "../progress.ts";
import { prove, type Proof } from "../analysis/verify.ts";
import { proveGroups, seen, type GroupProof } from "../analysis/mesh-groups.ts";
import { shrinkFor } from "../analysis/shrink-mesh.ts";
import { reduce } from "../analysis/shrink.ts";
import { groupTable } from "../report/mesh-groups.ts";
import { table as lined } from "../report/table.ts";
import { say, tell } from "../tell.ts";
import { passWords, pipelineOf, pluginFlags, reduceFlags, reductionOf, type PluginFlags, type ReduceFlags } from "./options.ts";

interface Options extends ReduceFlags, PluginFlags {
  src: string;
  passes: string;
  set: string[];
  mesh?: string;
  onnx: boolean;
  json: boolean;
}

export const verifyCommand = {
  command: "verify <src>",
  describe: "prove every pass on a small config derived from SRC",
  builder: (y: Argv): Argv<Options> =>
    pluginFlags(reduceFlags(y))
      .positional("src", { type: "string", demandOption: true, describe: "a config.json or a folder with one" })
      .option("passes", {
        type: "string",
        default: "all",
        describe: "which to run and prove: all, or names with commas; all,-NAME leaves one out",
      })
      .option("set", { type: "string", array: true, default: [] as string[], describe: "key=value laid over the config" })
      .option("mesh", {
        type: "string",
        describe: "divide the small model over ranks first, and prove that too: tp=2, or tp=4,ep=2",
      })
      .option("onnx", {
        type: "boolean",
        default: false,
        describe: "instead: run exported graphs in onnxruntime-node, beside our runtime",
      })
      .option("json", { type: "boolean", default: false, describe: "one JSON object on stdout" }) as Argv<Options>,
  handler: async (a: ArgumentsCamelCase<Options>): Promise<void> => {
    checkForm(a);
    const { spec, warnings } = loadSpec(a.src, a.set);
    warnings.forEach(say);
    // Interpreting in float64 takes a small model, asked for or not.
    const mesh = a.mesh === undefined ? undefined : parseMesh(a.mesh);
    const kept = reduce(spec, { ...reductionOf(a), shrink: false });
    const small = mesh ? shrinkFor(kept, mesh) : reduce(kept, { shrink: true });
    const { pipeline, passOptions } = await pipelineOf(a.src, a);
    const chosen = choosePasses(passWords(a.passes), pipeline);
    if (!chosen.length)
      throw new DiagnosticError(
        badValue(`--passes ${a.passes}: there is nothing to prove`, "give all, or names with commas", "--passes"),
      );
    if (mesh) undivided(modelModule(spec, { activations: "f32", actQuant: "dynamic", taps: false }), mesh).forEach(say);
    const line = progressLine();
    const derived = { hidden: small.hidden, heads: small.heads, layers: small.layers.length, experts: small.moe?.experts ?? 0 };
    if (a.onnx) {
      const onnx = await compareOnnx(small, chosen, passOptions, line.show).finally(line.end);
      const failed = onnx.filter((p) => !p.holds).map((p) => onnxDiffers(p));
      if (a.json)
        process.stdout.write(
          JSON.stringify({ ok: failed.length === 0, small: derived, onnx, ...(failed.length ? { errors: failed } : {}) }) + "\n",
        );
      else process.stdout.write(onnxTable(spec.architecture, derived, onnx) + "\n");
      if (failed.length) tell(failed, false);
      return;
    }
    let found: Found;
    try {
      if (mesh) line.show(`every group alone over ${meshWords(mesh)}`);
      const groups = mesh && proveGroups(small, mesh);
      const [passes, options] = mesh
        ? [withRanks(chosen), { ...passOptions, "shard.mesh": meshWords(mesh) }]
        : [chosen, passOptions];
      const how = { guard: guardOf(process.cwd()), ...(mesh ? { contracts: false } : {}) };
      found = { proofs: prove(small, passes, options, how, line.show), ...(groups ? { groups } : {}) };
    } finally {
      line.end();
    }
    const failed = failures(found, a.mesh ?? "");
    if (!a.json) {
      const groups = found.groups ? `\n${groupTable(found.groups, a.mesh!)}\n` : "";
      process.stdout.write(`${table(spec.architecture, derived, found.proofs)}\n${groups}`);
    }
    // One object: what was found, and what is wrong in it.
    else
      process.stdout.write(
        JSON.stringify({ ok: failed.length === 0, small: derived, ...found, ...(failed.length ? { errors: failed } : {}) }) +
          "\n",
      );
    if (failed.length) tell(failed, false);
  },
};

interface Found {
  proofs: Proof[];
  groups?: GroupProof[];
}

/** Which options go together. */
function checkForm(a: Options): void {
  const forced = a.passOption.find((w) => /^(absorb-mla\.)?attention=/.test(w));
  if (forced !== undefined)
    throw new DiagnosticError(
      usage({
        problem: `--pass-option ${forced}: verify proves the passes with attention expanded and absorbed, both`,
        help: "leave it out",
        word: "--pass-option",
      }),
    );
  if (a.mesh !== undefined && a.onnx)
    throw new DiagnosticError(
      usage({
        problem: "--onnx with --mesh: exported graphs are of one rank",
        help: "leave one of the two out",
        word: "--mesh",
      }),
    );
}

/** What does not hold. */
const failures = ({ proofs, groups = [] }: Found, mesh: string): Diagnostic[] => [
  ...proofs
    .filter((p) => !p.holds)
    .map((p) =>
      passChanges({
        pass: p.pass,
        where: `${p.entry}, ${p.attention} attention`,
        difference: p.difference,
        lost: p.lost ?? [],
      }),
    ),
  ...groups.flatMap((g) => groupProblems(g).map((p) => meshUnproved({ group: g.group, mesh, ...p }))),
];

/** What does not hold of a group, and which faults were not found. */
function groupProblems(g: GroupProof): { problem: string }[] {
  return [
    ...(g.holds ? [] : [{ problem: `divided alone it moves logits by ${g.difference.toExponential(1)}` }]),
    ...g.faults.filter((f) => !seen(f)).map((f) => ({ problem: `a collective ${f.fault} was not found` })),
  ];
}

/** A line per exported graph, a column per call. */
function onnxTable(name: string, small: Record<string, number>, proofs: readonly OnnxProof[]): string {
  const sizes = Object.entries(small).map(([k, v]) => `${v} ${k}`);
  const row = (p: OnnxProof): string[] => [
    p.after,
    p.attention,
    ...[p.prefill, p.extend, p.decode].map((d) => d.toExponential(1)),
    p.holds ? "" : "DIFFERS",
  ];
  return [
    `${name}, exported from ${sizes.join(", ")}: difference of the logits in onnxruntime and in our runtime`,
    "",
    ...lined(["after", "attention", "prefill", "extend", "decode", ""], proofs.map(row), [2, 3, 4]),
    "",
    `${proofs.filter((p) => p.holds).length} of ${proofs.length} hold`,
  ].join("\n");
}

/** A line per pass, a column per entry point and form of attention; largest difference of any logit. */
export function table(name: string, small: Record<string, number>, proofs: readonly Proof[]): string {
  const columns = [...new Set(proofs.map((p) => `${p.attention} ${p.entry}`))];
  const forms = [...new Set(proofs.map((p) => p.attention))];
  const per = columns.length / Math.max(1, forms.length);
  const changes = [...new Set(proofs.flatMap((p) => (p.change === undefined ? [] : [p.change])))];
  const cell = (p: Proof): string => {
    const difference = p.difference === 0 ? "0" : p.difference.toExponential(1);
    const note = p.change === undefined ? "" : ` (${changes.indexOf(p.change) + 1})`;
    return `${p.holds ? "" : "BROKEN "}${difference}${note}`;
  };
  const width = Math.max(...proofs.map((p) => p.pass.length)) + 2;
  const each = Math.max(12, ...proofs.map((p) => cell(p).length + 2));
  const lines = [
    `${name}, proved on ${Object.entries(small)
      .map(([k, v]) => `${v} ${k}`)
      .join(", ")}: difference of the logits before and after each pass`,
    "",
    "".padEnd(width) + forms.map((f) => `${f} attention`.padStart(each * per)).join(""),
    "pass".padEnd(width) + columns.map((c) => c.split(" ")[1].padStart(each)).join(""),
  ];
  for (const pass of new Set(proofs.map((p) => p.pass))) {
    const row = columns.map((c) =>
      cell(proofs.find((p) => p.pass === pass && c === `${p.attention} ${p.entry}`)!).padStart(each),
    );
    lines.push(pass.padEnd(width) + row.join(""));
  }
  lines.push("");
  for (const [i, c] of changes.entries()) {
    const most = Math.max(...proofs.filter((p) => p.change === c).map((p) => p.unquantised!));
    lines.push(
      `(${i + 1}) declared: ${c}; without activation quantisation the difference is ${most === 0 ? "0" : most.toExponential(1)}`,
    );
  }
  const good = proofs.filter((p) => p.holds).length;
  return [...lines, `${good} of ${proofs.length} hold`].join("\n");
}
