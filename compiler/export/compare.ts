// Exported graphs beside our own runtime: a small model with synthetic weights, a prompt, more rows on it, and a step, through both.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Pass } from "../../passes/index.ts";
import { Checkpoint, load, writeSynthetic } from "../../runtime/index.ts";
import { writeArtifact } from "../artifact/write.ts";
import { compileSpec, defaults } from "../compile.ts";
import { storedTensors } from "../frontend/weights.ts";
import type { ModelSpec } from "../frontend/spec.ts";
import { graphOfSpec } from "./graph.ts";
import { exportOnnx } from "./onnx.ts";
import { openOnnx } from "./onnxruntime.ts";

export interface OnnxProof {
  after: string;
  attention: "expanded" | "absorbed";
  /** Largest difference of any logit, by what was run. */
  prefill: number;
  extend: number;
  decode: number;
  holds: boolean;
}

/** Above rounding of f32 sums in another order, far below a wrong term; times the largest logit, where that is more than 1. */
const CLOSE = 5e-4;

/** Rows of a prompt, rows on it, and a step. */
const calls = { prefill: 7, extend: 3, decode: 1 } as const;
type Call = keyof typeof calls;
const names = Object.keys(calls) as Call[];

/** Logits of every row, by call. */
type Rows = Record<Call, Float32Array>;

const idsOf = (spec: ModelSpec): number[] => Array.from({ length: 11 }, (_, i) => (i * 29 + 7) % spec.vocab);

/** Every call in turn, each given its share of the ids. */
async function inTurn(spec: ModelSpec, run: (ids: number[], first: boolean) => Promise<Float32Array>): Promise<Rows> {
  const ids = idsOf(spec);
  const out: Partial<Rows> = {};
  for (const name of names) out[name] = (await run(ids.splice(0, calls[name]), name === "prefill")).slice();
  return out as Rows;
}

/** The model in our runtime, on the CPU. */
async function ours(spec: ModelSpec, folder: string, pipeline: readonly Pass[]): Promise<Rows> {
  const artifact = path.join(folder, "artifact");
  writeArtifact(compileSpec(spec, { ...defaults, taps: true, actQuant: "none" }, pipeline), artifact);
  const model = await load(artifact, { weights: folder, threads: 1 });
  try {
    const session = model.session({ maxTokens: 16, sequences: 1 });
    const rows = await inTurn(spec, async (ids, first) => {
      const { taps } = first ? await session.prefill([ids]) : await session.extend([ids]);
      return taps.logits.data as Float32Array;
    });
    session.close();
    return rows;
  } finally {
    await model.close();
  }
}

/** The graph before any pass, with latents absorbed, and after the last pass in both forms of attention. */
function stagesOf(pipeline: readonly Pass[]): { after: string; attention: "expanded" | "absorbed" }[] {
  const last = pipeline.at(-1)?.name ?? "frontend";
  const absorb = pipeline.some((p) => p.name === "absorb-mla");
  return [
    { after: "frontend", attention: "expanded" },
    ...(absorb ? [{ after: "absorb-mla", attention: "absorbed" } as const] : []),
    ...(last === "frontend" ? [] : [{ after: last, attention: "expanded" } as const]),
    ...(absorb ? [{ after: last, attention: "absorbed" } as const] : []),
  ];
}

/** Runs them all; throws a DiagnosticError where there is no onnxruntime-node. */
export async function compareOnnx(
  spec: ModelSpec,
  pipeline: readonly Pass[],
  passOptions: Readonly<Record<string, string>>,
  tell: (doing: string) => void = () => {},
): Promise<OnnxProof[]> {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-verify-"));
  try {
    await writeSynthetic(folder, storedTensors(spec), 0, { ue8m0: spec.fp8?.scale === "ue8m0" });
    tell("our own runtime");
    const want = await ours(spec, folder, pipeline);
    const largest = Math.max(1, ...names.flatMap((n) => [...want[n]].map(Math.abs)));
    const checkpoint = await Checkpoint.open(folder);
    const proofs: OnnxProof[] = [];
    try {
      for (const { after, attention } of stagesOf(pipeline)) {
        tell(`onnxruntime, after ${after}, ${attention} attention`);
        const given = { activations: "f32", actQuant: "none", set: [], stored: undefined } as const;
        const graphed = graphOfSpec(
          spec,
          { ...given, after, passOptions: { ...passOptions, ...formOf(pipeline, attention) } },
          pipeline,
        );
        const file = path.join(folder, "model.onnx");
        writeFileSync(file, (await exportOnnx(graphed, checkpoint, file, true)).bytes);
        const model = await openOnnx(file);
        const got = await inTurn(spec, model.rows);
        await model.close();
        const apart = Object.fromEntries(names.map((n) => [n, farthest(got[n], want[n])])) as Record<Call, number>;
        proofs.push({ after, attention, ...apart, holds: names.every((n) => apart[n] < CLOSE * largest) });
      }
    } finally {
      await checkpoint.close();
    }
    return proofs;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The form of attention as an option of its pass, where that is there. */
const formOf = (pipeline: readonly Pass[], attention: string): Record<string, string> =>
  pipeline.some((p) => p.name === "absorb-mla") ? { "absorb-mla.attention": attention } : {};

const farthest = (a: Float32Array, b: Float32Array): number =>
  a.length === b.length
    ? a.reduce((d, v, i) => Math.max(d, Number.isNaN(v - b[i]) ? Infinity : Math.abs(v - b[i])), 0)
    : Infinity;
