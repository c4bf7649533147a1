// The graph that an export is made of: a config's after a pass, or one that an artifact keeps.
import { existsSync } from "node:fs";
import path from "node:path";
import { machinesOf } from "../../codegen/target.ts";
import { DiagnosticError, didYouMean, type Diagnostic } from "../../ir/diagnostic.ts";
import { everyNode, parseModule, type Module } from "../../ir/index.ts";
import { runPipeline, type Pass } from "../../passes/index.ts";
import { unknownPass } from "../../passes/diagnostics.ts";
import { readArtifact } from "../../runtime/index.ts";
import { reduce, type Reduction } from "../analysis/shrink.ts";
import { fit, type Stored } from "../checkpoint-dtypes.ts";
import { guardOf } from "../driver/plugin-gate.ts";
import { loadSpec } from "../frontend/config.ts";
import { modelModule } from "../frontend/model.ts";
import type { ModelSpec } from "../frontend/spec.ts";

export interface Graphed {
  module: Module;
  /** The last pass that ran, or "frontend". */
  after: string;
  /** Who made an op of this name, in words. */
  maker(op: string): string | undefined;
  /** Whether inputs of FP8 linears are quantised; undefined where no weight is FP8. */
  quantised: boolean | undefined;
  warnings: readonly Diagnostic[];
}

export interface GraphOptions extends Reduction {
  /** The last pass to run; "frontend" or "none": no pass; all of them where it is not said. */
  after?: string;
  activations?: "f32" | "bf16";
  actQuant: "dynamic" | "none";
  set: readonly string[];
  stored: Stored | undefined;
  passOptions: Readonly<Record<string, string>>;
}

export const isArtifact = (src: string): boolean => existsSync(path.join(src, "manifest.json"));

/** Before any pass: what `dsc inspect --after` calls it, and what `--passes` does. */
const PLAIN = ["frontend", "none"];

/** The place of a pass among those there are, the frontend's graph first. */
function placeOf(after: string | undefined, names: readonly string[]): number {
  if (after === undefined || after === "all") return names.length - 1;
  const at = PLAIN.includes(after) ? 0 : names.indexOf(after);
  if (at < 0) throw new DiagnosticError(unknownPass({ name: after, near: didYouMean(after, names), names }));
  return at;
}

/** Who made an op: the first graph that has it. */
const makerIn =
  (graphs: readonly { pass: string; has: (op: string) => boolean }[]) =>
  (op: string): string | undefined => {
    const first = graphs.find((g) => g.has(op));
    return first && (first.pass === "frontend" ? "the frontend wrote it" : `pass ${first.pass} made it`);
  };

/** The graph of a config. */
export function graphOfSpec(spec: ModelSpec, o: GraphOptions, pipeline: readonly Pass[]): Omit<Graphed, "warnings"> {
  const names = ["frontend", ...pipeline.map((p) => p.name)];
  const at = placeOf(o.after, names);
  const written = modelModule(spec, { activations: o.activations ?? spec.dtype, actQuant: o.actQuant, taps: false });
  const how = { guard: guardOf(process.cwd()), contracts: "say", machines: machinesOf() } as const;
  const { module, snapshots } = runPipeline(written, pipeline.slice(0, at), o.passOptions, how);
  const has = (m: Module, op: string): boolean =>
    [...m.funcs.values()].some((f) => [...everyNode(f)].some((n) => n.op.name === op));
  return {
    module,
    after: names[at],
    maker: makerIn(snapshots.map((s) => ({ pass: s.pass, has: (op) => has(s.module, op) }))),
    quantised: spec.fp8 ? o.actQuant === "dynamic" : undefined,
  };
}

/** The graph of SRC: a config.json, or a folder with one. */
export function graphOfConfig(src: string, o: GraphOptions, pipeline: readonly Pass[]): Graphed & { spec: ModelSpec } {
  const { spec: read, warnings } = loadSpec(src, o.set);
  warnings.push(...fit(read, o.stored));
  const spec = reduce(read, o);
  return { ...graphOfSpec(spec, o, pipeline), spec, warnings };
}

/** The graph that an artifact keeps of a pass. */
export async function graphOfArtifact(folder: string, after: string | undefined): Promise<Graphed> {
  const { manifest, files } = await readArtifact(folder, (name) => name.startsWith("graph/"));
  const graphs = Object.keys(manifest.files).filter((f) => f.startsWith("graph/"));
  const texts = graphs.map((file) => ({
    pass: file.replace(/^graph\/\d+-|\.dsc$/g, ""),
    file,
    text: files.get(file)?.toString("utf8") ?? "",
  }));
  const at = placeOf(
    after,
    texts.map((t) => t.pass),
  );
  const { fp8 } = { fp8: manifest.options.scale_fmt !== "none" };
  return {
    module: parseModule(texts[at].text, texts[at].file),
    after: texts[at].pass,
    maker: makerIn(texts.map(({ pass, text }) => ({ pass, has: (op) => text.includes(` = ${op} `) }))),
    quantised: fp8 ? manifest.options.act_quant === "dynamic" : undefined,
    warnings: [],
  };
}
