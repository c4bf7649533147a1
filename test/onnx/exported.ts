// Exports of fixtures, made as `dsc export onnx` makes them, in a folder that has a copy of the checkpoint.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll } from "vitest";
import { storedIn } from "../../compiler/checkpoint-dtypes.ts";
import { graphOfConfig, type GraphOptions } from "../../compiler/export/graph.ts";
import { exportOnnx } from "../../compiler/export/onnx.ts";
import { standard, type Pass } from "../../passes/index.ts";
import { Checkpoint } from "../../runtime/index.ts";

/** Graphs that are exported: as written, with latents absorbed, and after every pass. */
export const stages: Readonly<Record<string, Pick<GraphOptions, "after" | "passOptions">>> = {
  "no pass": { after: "frontend", passOptions: {} },
  "absorb-mla": { after: "absorb-mla", passOptions: { "absorb-mla.attention": "absorbed" } },
  "all passes, expanded": { passOptions: { "absorb-mla.attention": "expanded" } },
  "all passes, absorbed": { passOptions: { "absorb-mla.attention": "absorbed" } },
};

const work = mkdtempSync(path.join(tmpdir(), "dsc-onnx-"));
afterAll(() => rmSync(work, { recursive: true }));
const copies = new Map<string, string>();

/** A copy of a fixture without its answers. */
export function copyOf(fixture: string): string {
  const known = copies.get(fixture);
  if (known !== undefined) return known;
  const to = path.join(work, path.basename(fixture));
  cpSync(fixture, to, { recursive: true, filter: (f) => !f.endsWith("expected.safetensors") });
  copies.set(fixture, to);
  return to;
}

export interface Made {
  file: string;
  bytes: Uint8Array;
}

const made = new Map<string, Promise<Made>>();

/** An .onnx of this name beside the fixture's weights, made once; portable, and inputs of FP8 linears as they are, unless said. */
export function exported(...given: Parameters<typeof fresh>): Promise<Made> {
  const key = `${given[0]} ${given[2]?.name}`;
  const known = made.get(key) ?? fresh(...given);
  made.set(key, known);
  return known;
}

async function fresh(
  fixture: string,
  options: Partial<GraphOptions> = {},
  { name = "model", portable = true, pipeline = standard as readonly Pass[] } = {},
): Promise<Made> {
  const folder = copyOf(fixture);
  const activations = portable ? { activations: "f32" as const } : {};
  const given: GraphOptions = {
    ...activations,
    actQuant: "none",
    set: [],
    stored: await storedIn(folder),
    passOptions: {},
    ...options,
  };
  const graphed = graphOfConfig(folder, given, pipeline);
  const checkpoint = await Checkpoint.open(folder);
  try {
    const file = path.join(folder, `${name.replace(/\W+/g, "-")}.onnx`);
    const { bytes } = await exportOnnx(graphed, checkpoint, file, portable);
    writeFileSync(file, bytes);
    return { file, bytes };
  } finally {
    await checkpoint.close();
  }
}
