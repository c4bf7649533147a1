// Opens an artifact folder: manifest.json is the only file trusted by name, every other one by the digest it gives.
// Refuses foreign formats, other targets, missing or altered files.
import { createHash } from "node:crypto";
import { readFile, readdir, stat } from "node:fs/promises";
import { join, normalize, sep } from "node:path";
import type { Manifest, Target } from "../ir/artifact.ts";
import { CpuDevice, type CpuKernel } from "./devices/cpu.ts";
import type { Device } from "./device.ts";
import * as diagnostics from "./diagnostics.ts";
import type { LoadOptions } from "./model.ts";
import { Model } from "./model.ts";

const FORMAT = "dsc-artifact/1";

interface Artifact {
  manifest: Manifest;
  files: Map<string, Buffer<ArrayBuffer>>;
}

/** The manifest of an artifact folder, its files checked against their digests; `files` holds what `keep` asks for. */
export async function readArtifact(folder: string, keep: (path: string) => boolean = () => false): Promise<Artifact> {
  for (let tries = 1, last = ""; ; tries++) {
    const at = await manifestAt(folder);
    // A compile that finished meanwhile took the old files with it: what counts is the manifest that lies there now.
    if (at !== last) [tries, last] = [1, at];
    const text = await readManifest(folder);
    try {
      return await readFiles(folder, text, keep);
    } catch (e) {
      if (tries >= 5 && (await manifestAt(folder)) === at) throw e;
    }
  }
}

/** Which file manifest.json is: each compile puts another in its place, with the same text or not. */
const manifestAt = (folder: string): Promise<string> => stat(join(folder, "manifest.json"), { bigint: true }).then((s) => `${s.ino} ${s.ctimeNs}`, () => "none");

const readManifest = (folder: string): Promise<string> =>
  readFile(join(folder, "manifest.json"), "utf8").catch((e: Error) => {
    throw diagnostics.notAnArtifact(folder, e.message);
  });

async function readFiles(folder: string, text: string, keep: (path: string) => boolean): Promise<Artifact> {
  const manifest = parseManifest(folder, text);
  const files = new Map<string, Buffer<ArrayBuffer>>();
  for (const [name, digest] of Object.entries(manifest.files)) {
    if (normalize(name) !== name.replaceAll("/", sep) || name.startsWith("..") || name.startsWith("/"))
      throw diagnostics.brokenFile(name, "its path leads out of the artifact");
    const data = await readTrusted(folder, name, digest);
    if (keep(name)) files.set(name, data);
  }
  return { manifest, files };
}

/** The file with that digest: in its place, or where a compile that was killed or is at work keeps it (compiler/artifact.ts). */
async function readTrusted(folder: string, name: string, digest: string): Promise<Buffer<ArrayBuffer>> {
  let why = "";
  const read = async (from: string): Promise<Buffer<ArrayBuffer> | undefined> => {
    try {
      const data = (await readFile(join(from, name))) as Buffer<ArrayBuffer>;
      const seen = createHash("sha256").update(data).digest("hex");
      if (seen === digest) return data;
      why ||= `its sha256 is ${seen}; the manifest says ${digest}`;
    } catch (e) {
      why ||= (e as Error).message;
    }
    return undefined;
  };
  const inPlace = await read(folder);
  if (inPlace) return inPlace;
  for (const stage of (await readdir(folder)).filter((n) => n.startsWith(".dsc-")))
    for (const from of [join(folder, stage, "old"), join(folder, stage)]) {
      const data = await read(from);
      if (data) return data;
    }
  throw diagnostics.brokenFile(name, why);
}

function parseManifest(folder: string, text: string): Manifest {
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
  return manifest;
}

/** Loads a model: checks the artifact, opens the device it is for, places the weights. */
export async function load(folder: string, options: LoadOptions): Promise<Model> {
  const { manifest, files } = await readArtifact(folder, (path) => /\.(wasm|cu|cubin)$/.test(path));
  const device = manifest.target === "cuda" || manifest.target === "triton" ? await openCuda(manifest, files, options) : await openCpu(manifest, files, options);
  return Model.open<Device>(manifest, device, options);
}

function openCpu(manifest: Manifest, files: ReadonlyMap<string, Buffer<ArrayBuffer>>, options: LoadOptions): Promise<Device> {
  expectTarget(manifest.target, "cpu");
  const kernels = Object.entries(manifest.kernels).map(([name, k]): CpuKernel => {
    const binary = k.binary === undefined ? undefined : files.get(k.binary);
    if (!binary) throw diagnostics.badKernel(name, `its compiled form ${k.binary ?? ""} is not in the artifact`);
    return { name, binary, entry: k.entry, scratchBytes: k.scratchBytes ?? 0 };
  });
  return CpuDevice.open(manifest, kernels, options);
}

async function openCuda(manifest: Manifest, files: ReadonlyMap<string, Buffer>, options: LoadOptions): Promise<Device> {
  // Only here: the foreign function interface takes time to load, and a CPU needs none.
  const [{ CudaDevice }, { cachedCompile }] = await Promise.all([import("./devices/cuda/device.ts"), import("./devices/cuda/cubins.ts")]);
  const texts = new Map(
    Object.entries(manifest.kernels).map(([name, k]) => {
      const cubin = k.binary === undefined ? undefined : files.get(k.binary);
      if (!cubin && manifest.target === "triton") throw diagnostics.sourceOnly(name);
      return [name, { source: files.get(k.text)?.toString() ?? "", ...(cubin ? { cubin } : {}) }] as const;
    }),
  );
  const own = new Map(Object.entries(manifest.own ?? {}).map(([name, k]) => [name, { source: files.get(k.text)?.toString() ?? "", cubin: files.get(k.binary) }] as const));
  return CudaDevice.open(manifest, texts, { own, reads: !options.weights.startsWith("synthetic:"), compile: cachedCompile(options.nvcc ? "nvcc" : undefined), ...(options.profile ? { profile: true } : {}) });
}

function expectTarget(seen: Target, wanted: Target): void {
  if (seen !== wanted) throw diagnostics.wrongTarget(seen, wanted);
}
