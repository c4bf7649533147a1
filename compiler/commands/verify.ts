// dsc verify SRC: proves the passes on a small config derived from SRC that keeps its structure and its oddness, by
// interpreting the graph before and after each pass; with --onnx, runs exported graphs beside our own runtime.
import type { ArgumentsCamelCase, Argv } from "yargs";
import { DiagnosticError } from "../../ir/diagnostic.ts";
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
import { proveGroups, seen, type Found, type GroupProof } from "../analysis/mesh-groups.ts";
import { shrinkFor } from "../analysis/shrink-mesh.ts";
import { reduce } from "../analysis/shrink.ts";
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
    const forced = a.passOption.find((w) => /^(absorb-mla\.)?attention=/.test(w));
    if (forced !== undefined)
      throw new DiagnosticError(
        usage({
          problem: `--pass-option ${forced}: verify proves the passes with attention expanded and absorbed, both`,
          help: "leave it out",
          word: "--pass-option",
        }),
      );
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
    if (mesh && a.onnx)
      throw new DiagnosticError(
        usage({
          problem: "--onnx with --mesh: exported graphs are of one rank",
          help: "leave one of the two out",
          word: "--mesh",
        }),
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
    let proofs: Proof[];
    let groups: GroupProof[] | undefined;
    try {
      if (mesh) line.show(`every group alone over ${meshWords(mesh)}`);
      groups = mesh && proveGroups(small, mesh);
      proofs = mesh
        ? prove(
            small,
            withRanks(chosen),
            { ...passOptions, "shard.mesh": meshWords(mesh) },
            { guard: guardOf(process.cwd()), contracts: false },
            line.show,
          )
        : prove(small, chosen, passOptions, { guard: guardOf(process.cwd()) }, line.show);
    } finally {
      line.end();
    }
    const failed = proofs
      .filter((p) => !p.holds)
      .map((p) =>
        passChanges({
          pass: p.pass,
          where: `${p.entry}, ${p.attention} attention`,
          difference: p.difference,
          lost: p.lost ?? [],
        }),
      );
    failed.push(
      ...(groups ?? []).flatMap((g) => groupProblems(g).map((p) => meshUnproved({ group: g.group, mesh: a.mesh!, ...p }))),
    );
    if (!a.json)
      process.stdout.write(`${table(spec.architecture, derived, proofs)}\n${groups ? `\n${groupTable(groups, a.mesh!)}\n` : ""}`);
    // One object: what was found, and what is wrong in it.
    else
      process.stdout.write(
        JSON.stringify({
          ok: failed.length === 0,
          small: derived,
          proofs,
          ...(groups ? { groups } : {}),
          ...(failed.length ? { errors: failed } : {}),
        }) + "\n",
      );
    if (failed.length) tell(failed, false);
  },
};

/** What does not hold of a group, and which faults were not found. */
function groupProblems(g: GroupProof): { problem: string }[] {
  return [
    ...(g.holds ? [] : [{ problem: `divided alone it moves logits by ${g.difference.toExponential(1)}` }]),
    ...g.faults.filter((f) => !seen(f)).map((f) => ({ problem: `a collective ${f.fault} was not found` })),
  ];
}

/** A line per group: what is divided, and how faults that are made on purpose are found. */
export function groupTable(groups: readonly GroupProof[], mesh: string): string {
  const found = (g: GroupProof, fault: Found["fault"]): string => {
    const f = g.faults.find((x) => x.fault === fault);
    if (!f) return "";
    const logits =
      f.difference === null ? "shapes" : Number.isFinite(f.difference) ? f.difference.toExponential(1) : "ranks differ";
    return `${f.types ? "types, " : ""}${seen(f) ? logits : "NOT FOUND"}`;
  };
  const rows = groups.map((g) => [
    g.group,
    g.group === "router" ? "on every rank" : g.divided.length ? g.divided.join(", ") : `whole: ${g.why}`,
    `${g.collectives}`,
    `${g.holds ? "" : "BROKEN "}${g.difference === 0 ? "0" : g.difference.toExponential(1)}`,
    ...(["dropped", "elsewhere", "twice"] as const).map(
      (f) => found(g, f) || (f === "dropped" ? found(g, "another router") : ""),
    ),
  ]);
  return [
    `${mesh}, a group at a time: difference of the logits to one rank's, and how a collective that is dropped, done one op later or twice is ` +
      "found (of the router: another one on rank 1)",
    "",
    ...lined(["group", "divided", "collectives", "difference", "dropped", "elsewhere", "twice"], rows, [2, 3, 4, 5, 6]),
  ].join("\n");
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
