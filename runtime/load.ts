// Opens an artifact folder: manifest.json is the only file trusted by name, every other one by the digest it gives.
// Refuses foreign formats, other targets, missing or altered files.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join, normalize, sep } from "node:path";
import type { Manifest, Target } from "../ir/artifact.ts";
import { CpuDevice, type CpuKernel } from "./devices/cpu.ts";
import * as diagnostics from "./diagnostics.ts";
import type { LoadOptions } from "./model.ts";
import { Model } from "./model.ts";

const FORMAT = "dsc-artifact/1";

/** The manifest of an artifact folder, its files checked against their digests; `files` holds what `keep` asks for. */
export async function readArtifact(
  folder: string,
  keep: (path: string) => boolean = () => false,
): Promise<{ manifest: Manifest; files: Map<string, Buffer<ArrayBuffer>> }> {
  const path = join(folder, "manifest.json");
  const text = await readFile(path, "utf8").catch((e: Error) => {
    throw diagnostics.notAnArtifact(folder, e.message);
  });
  let manifest: Manifest;
  try {
    manifest = JSON.parse(text) as Manifest;
  } catch (e) {
    throw diagnostics.notAnArtifact(folder, `manifest.json is not JSON: ${(e as Error).message}`);
  }
  if (typeof manifest !== "object" || manifest === null || manifest.format !== FORMAT)
    throw diagnostics.foreignFormat(folder, manifest?.format, FORMAT);
  for (const key of ["options", "model", "weights", "kernels", "functions", "entries", "files"] as const)
    if (typeof manifest[key] !== "object" || manifest[key] === null)
      throw diagnostics.brokenFile("manifest.json", `it has no ${key}`);
  if (!Array.isArray(manifest.load)) throw diagnostics.brokenFile("manifest.json", "it has no load list");
  const files = new Map<string, Buffer<ArrayBuffer>>();
  for (const [name, digest] of Object.entries(manifest.files)) {
    if (normalize(name) !== name.replaceAll("/", sep) || name.startsWith("..") || name.startsWith("/"))
      throw diagnostics.brokenFile(name, "its path leads out of the artifact");
    const data = await readFile(join(folder, name)).catch((e: Error) => {
      throw diagnostics.brokenFile(name, e.message);
    });
    const seen = createHash("sha256").update(data).digest("hex");
    if (seen !== digest) throw diagnostics.brokenFile(name, `its sha256 is ${seen}; the manifest says ${digest}`);
    if (keep(name)) files.set(name, data as Buffer<ArrayBuffer>);
  }
  return { manifest, files };
}

/** Loads a model compiled for the CPU: checks the artifact, places the weights, starts the threads. */
export async function load(folder: string, options: LoadOptions): Promise<Model> {
  const { manifest, files } = await readArtifact(folder, (path) => path.endsWith(".wasm"));
  expectTarget(manifest.target, "cpu");
  const kernels = Object.entries(manifest.kernels).map(([name, k]): CpuKernel => {
    const binary = k.binary === undefined ? undefined : files.get(k.binary);
    if (!binary) throw diagnostics.badKernel(name, `its compiled form ${k.binary ?? ""} is not in the artifact`);
    return { name, binary, entry: k.entry, scratchBytes: k.scratchBytes ?? 0 };
  });
  return Model.open(manifest, await CpuDevice.open(manifest, kernels, options), options);
}

function expectTarget(seen: Target, wanted: Target): void {
  if (seen !== wanted) throw diagnostics.wrongTarget(seen, wanted);
}
