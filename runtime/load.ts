// Opens an artifact folder: manifest.json is the only file trusted by name, every other one by the digest it gives.
// Refuses foreign formats, other targets, missing or altered files.
import { readFileSync } from "node:fs";
import { lstat, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { everyKernel, onCpu, type CpuFacts, type KernelRecord, type Manifest, type Target } from "../ir/artifact.ts";
import { DiagnosticError } from "../ir/diagnostic.ts";
import { maybeFlag, maybeWhole, optionsOf, text } from "./arguments.ts";
import { CpuDevice, type CpuKernel } from "./devices/cpu.ts";
import type { CudaFile, CudaOptions } from "./devices/cuda/device.ts";
import { missingOf } from "./devices/native/flags.ts";
import type { Device } from "./device.ts";
import * as diagnostics from "./diagnostics.ts";
import { readRegular } from "./files.ts";
import { parseManifest } from "./manifest.ts";
import { MANIFEST, sha256 } from "./manifest-text.ts";
import { meshWords } from "../ir/mesh.ts";
import { lead, takePart, type Divided } from "./ranks/lead.ts";
import { ordinalOf, peersOf } from "./ranks/gpus.ts";
import type { Hub } from "./ranks/hub.ts";
import { placeOf, type Place } from "./ranks/launchers.ts";
import type { Spoke } from "./ranks/spoke.ts";
import type { Transport } from "./ranks/transport.ts";
import { Lockstep } from "./ranks/lockstep.ts";
import type { LoadOptions } from "./model.ts";
import { Model } from "./model.ts";

interface Artifact {
  manifest: Manifest;
  /** sha256 of the manifest's text, which gives those of all other files. */
  digest: string;
  files: Map<string, Buffer<ArrayBuffer>>;
}

/** How long a reader follows writers that replace the artifact again and again. */
const PATIENCE_MS = 30_000;

/** The manifest of an artifact folder, its files checked against their digests; `files` holds what `keep` asks for. */
export async function readArtifact(folder: string, keep: (path: string) => boolean = () => false): Promise<Artifact> {
  const until = Date.now() + PATIENCE_MS;
  // By digest, from one try to the next: however often the artifact changes meanwhile, files of one that comes back are there.
  const seen = new Map<string, Buffer<ArrayBuffer>>();
  for (;;) {
    const before = await stateOf(folder);
    const text = await readManifest(folder);
    const manifest = parseManifest(folder, text);
    try {
      return { manifest, digest: sha256(text), files: await readFiles(folder, manifest, keep, seen) };
    } catch (e) {
      // A compile that finished meanwhile took the old files with it: what counts is the manifest that lies there now.
      if (Date.now() > until || (await stateOf(folder)) === before) throw e;
    }
  }
}

/** Changes whenever a writer puts another manifest in place, or begins or ends. */
async function stateOf(folder: string): Promise<string> {
  try {
    const { ino, ctimeNs } = await lstat(join(folder, MANIFEST), { bigint: true });
    return [ino, ctimeNs, ...(await readdir(folder)).filter((n) => n.startsWith(STAGE))].join();
  } catch (e) {
    throw diagnostics.notAnArtifact({ folder, why: (e as Error).message });
  }
}

/** How the names of a writer's own entries in an artifact's folder begin. */
const STAGE = ".dsc-";
/** R1's is half a MiB. */
const MOST_MANIFEST = 64 << 20;

const readManifest = (folder: string): Promise<string> =>
  readRegular(join(folder, MANIFEST), MOST_MANIFEST).then(
    (data) => data.toString("utf8"),
    (e: Error) => {
      throw diagnostics.notAnArtifact({ folder, why: e.message });
    },
  );

async function readFiles(
  folder: string,
  manifest: Manifest,
  keep: (path: string) => boolean,
  seen: Map<string, Buffer<ArrayBuffer>>,
): Promise<Artifact["files"]> {
  const files: Artifact["files"] = new Map();
  for (const [name, digest] of Object.entries(manifest.files)) {
    const data = seen.get(digest) ?? (await readTrusted(folder, name, digest));
    seen.set(digest, data);
    if (keep(name)) files.set(name, data);
  }
  return files;
}

/** The file with that digest: in its place, or where a compile that was killed or is at work keeps it (compiler/artifact/write.ts). */
async function readTrusted(folder: string, name: string, digest: string): Promise<Buffer<ArrayBuffer>> {
  let why = "";
  const read = async (from: string): Promise<Buffer<ArrayBuffer> | undefined> => {
    try {
      const data = await readRegular(join(from, name));
      const seen = sha256(data);
      if (seen === digest) return data;
      why ||= `its sha256 is ${seen}; the manifest says ${digest}`;
    } catch (e) {
      why ||= (e as Error).message;
    }
    return undefined;
  };
  const inPlace = await read(folder);
  if (inPlace) return inPlace;
  for (const stage of (await readdir(folder)).filter((n) => n.startsWith(STAGE)))
    for (const from of [join(folder, stage, "old"), join(folder, stage)]) {
      const data = await read(from);
      if (data) return data;
    }
  throw diagnostics.brokenFile({ path: name, why });
}

const WEIGHTS = "weights: a checkpoint's folder or file, or synthetic:SEED; an artifact holds none";

const OPTIONS = ["weights", "threads", "nvcc", "segmentBytes", "profile", "processes", "lost"] as const;

function checkOptions(call: string, folder: string, options: LoadOptions): void {
  text(call, "folder", folder, "the folder of an artifact, which dsc compile writes");
  const { weights, threads, nvcc, segmentBytes, profile, processes } = optionsOf(call, options, OPTIONS, WEIGHTS);
  text(call, "weights", weights, "a checkpoint's folder or file, or synthetic:SEED");
  maybeWhole(call, "threads", threads, 1);
  maybeWhole(call, "segmentBytes", segmentBytes, 1);
  maybeFlag(call, "nvcc", nvcc);
  maybeFlag(call, "profile", profile);
  maybeFlag(call, "processes", processes);
}

/** Files of an artifact that devices read. */
const isCode = (path: string): boolean => /\.(wasm|so|cu|cubin)$/.test(path);

/**
 * Loads a model: checks the artifact, opens the device it is for, places the weights. With `processes`, of an artifact with a mesh, this
 * process is rank 0: the one that a launcher made it (`placeOf`), or one that starts the others.
 */
export async function load(folder: string, options: LoadOptions): Promise<Model> {
  checkOptions("load", folder, options);
  const artifact = await readArtifact(folder, isCode);
  const { manifest, files } = artifact;
  sameLibraries(manifest);
  if (options.processes && manifest.mesh && manifest.mesh.tp > 1) {
    const place = placeOf(process.env, meshWords(manifest.mesh), manifest.mesh.tp);
    if (place && place.rank > 0)
      throw diagnostics.misuse({
        what: `this process is rank ${place.rank}`,
        help: "rank 0 loads the model; followRank is for others",
      });
    return lead(dividedOf(folder, artifact, options), place, options.lost);
  }
  const device = manifest.cpu
    ? await openLibrary(manifest, manifest.cpu, files, options)
    : onCpu(manifest.target)
      ? await openCpu(manifest, files, options)
      : await openCuda(manifest, files, options);
  return Model.open<Device>(manifest, device, options);
}

/**
 * Takes part as a rank that is not rank 0, in the place that `placeOf` gives.
 * Settles when rank 0 is done, rejects with what ends the ranks.
 */
export async function followRank(folder: string, options: LoadOptions, place: Place): Promise<void> {
  checkOptions("followRank", folder, options);
  return takePart(dividedOf(folder, await readArtifact(folder, isCode), options), place);
}

function dividedOf(folder: string, { manifest, digest, files }: Artifact, options: LoadOptions): Divided {
  if (!manifest.mesh)
    throw diagnostics.misuse({ what: "the artifact has no mesh, so there are no ranks", help: "compile with --mesh tp=N" });
  if (manifest.cpu) throw notAlike(manifest.target);
  const { weights, threads } = options;
  const of = { folder, manifest, digest, weights, threads };
  if (!onCpu(manifest.target))
    return { ...of, transport: peersOf, prepare: (place) => prepareCuda(manifest, files, options, place) };
  const prepare = async ({ onHost }: Place) => {
    return async (group: Transport): Promise<Device> => {
      const device = await CpuDevice.open(manifest, kernelsOf(manifest, files), { ...options, ...sharedBy(onHost, options) });
      device.transport = group;
      return device;
    };
  };
  return { ...of, transport: () => "sockets", prepare };
}

/** Memories of several libraries are laid out by each for itself. */
const notAlike = (target: Target): Error =>
  diagnostics.misuse({
    what: `an artifact for ${target} is divided over ranks, whose memories are not laid out alike`,
    help: "compile with --target cpu, or without --mesh",
  });

/** Cores and memory that each of so many ranks has. */
const sharedBy = (ranks: number, { threads }: LoadOptions): { threads: number; sharers: number } => ({
  threads: Math.max(1, Math.floor((threads ?? availableParallelism()) / ranks)),
  sharers: ranks,
});

async function openCpu(
  manifest: Manifest,
  files: ReadonlyMap<string, Buffer<ArrayBuffer>>,
  options: LoadOptions,
): Promise<Device> {
  expectTarget(manifest.target, "cpu");
  const kernels = kernelsOf(manifest, files);
  if (!manifest.mesh) return CpuDevice.open(manifest, kernels, options);
  const { tp } = manifest.mesh;
  const { threads } = sharedBy(tp, options);
  const opened = await Promise.allSettled(
    Array.from({ length: tp }, () => CpuDevice.open(manifest, kernels, { ...options, threads })),
  );
  const failed = opened.find((o) => o.status === "rejected");
  const devices = opened.flatMap((o) => (o.status === "fulfilled" ? [o.value] : []));
  if (!failed) return new Lockstep(devices);
  await Promise.all(devices.map((d) => d.close()));
  throw failed.reason;
}

const kernelsOf = (manifest: Manifest, files: ReadonlyMap<string, Buffer<ArrayBuffer>>): CpuKernel[] =>
  Object.entries(manifest.kernels).map(([name, k]): CpuKernel => {
    if (k.call) return { name, call: k.call, dims: k.dims, scratchBytes: 0 };
    const binary = k.binary === undefined ? undefined : files.get(k.binary);
    if (!binary) throw diagnostics.badKernel({ kernel: name, why: `its compiled form ${k.binary ?? ""} is not in the artifact` });
    return { name, binary, entry: k.entry, scratchBytes: k.scratchBytes ?? 0 };
  });

/** The library lies in a folder of its own while threads load it: what they load is what the digest was taken of. */
async function openLibrary(
  manifest: Manifest,
  { arch, processor, requires, library }: CpuFacts,
  files: ReadonlyMap<string, Buffer<ArrayBuffer>>,
  options: LoadOptions,
): Promise<Device> {
  if (manifest.mesh) throw notAlike(manifest.target);
  const lacks = arch === process.arch ? missingOf(requires) : [arch];
  if (lacks.length) throw diagnostics.otherProcessor({ processor, lacks, here: process.arch });
  const kernels = Object.entries(manifest.kernels).map(([name, k]) => ({ name, scratchBytes: k.scratchBytes ?? 0 }));
  const folder = await mkdtemp(join(tmpdir(), "dsc-library-"));
  try {
    const path = join(folder, basename(library));
    await writeFile(path, files.get(library)!, { mode: 0o700 });
    return await CpuDevice.openLibrary(manifest, path, kernels, options);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** `rank`: of one of several, each of which is a process of its own: its GPU, and how it meets the others. */
async function openCuda(
  manifest: Manifest,
  files: ReadonlyMap<string, Buffer>,
  options: LoadOptions,
  rank: Pick<CudaOptions, "cuda" | "peers"> = {},
): Promise<Device> {
  for (const [kernel, { held, forced }] of Object.entries(manifest.edits ?? {}))
    if (held?.on === "host" && forced === undefined) throw diagnostics.editNotProved({ kernel, where: held.where });
  // Only here: the foreign function interface takes time to load, and a CPU needs none.
  const [{ CudaDevice }, { cachedCompile }] = await Promise.all([
    import("./devices/cuda/device.ts"),
    import("./devices/cuda/cubins.ts"),
  ]);
  const fileOf = ([name, k]: [string, KernelRecord]): [string, CudaFile] => {
    const cubin = k.binary === undefined ? undefined : files.get(k.binary);
    return [name, { source: files.get(k.text)?.toString() ?? "", ...(cubin ? { cubin } : {}) }];
  };
  const texts = new Map(Object.entries(everyKernel(manifest)).map(fileOf));
  const sourceOnly =
    manifest.target === "triton"
      ? [...texts].find(([name, f]) => !f.cubin && name in manifest.kernels && !manifest.kernels[name].call)
      : undefined;
  if (sourceOnly) throw diagnostics.sourceOnly({ kernel: sourceOnly[0] });
  return CudaDevice.open(manifest, texts, {
    reads: !options.weights.startsWith("synthetic:"),
    compile: cachedCompile(manifest.gpu!.arch, options.nvcc ? "nvcc" : undefined),
    ...(options.profile ? { profile: true } : {}),
    ...rank,
  });
}

/** Takes the GPU of a rank that is a process; gives what opens its device once the ranks have come together. */
async function prepareCuda(
  manifest: Manifest,
  files: ReadonlyMap<string, Buffer>,
  options: LoadOptions,
  place: Place,
): Promise<(group: Hub | Spoke) => Promise<Device>> {
  const [{ Cuda }, { Driver }, { openPeers }] = await Promise.all([
    import("./devices/cuda/index.ts"),
    import("./devices/cuda/driver.ts"),
    import("./devices/cuda/peers.ts"),
  ]);
  const cuda = new Cuda(ordinalOf(place, new Driver().devices()), { arch: manifest.gpu!.arch });
  return (group) =>
    openCuda(manifest, files, options, { cuda, peers: (_, system) => openPeers(peersOf(place), group, cuda, system) });
}

/** Holds libraries of others, which an artifact names and does not hold, to their digests. Throws DSC5045. */
function sameLibraries({ kernels }: Manifest): void {
  const seen = new Map<string, string>();
  for (const [kernel, { call }] of Object.entries(kernels)) {
    if (!call) continue;
    const { library } = call;
    try {
      const digest = seen.get(library) ?? sha256(readFileSync(library));
      seen.set(library, digest);
      if (digest !== call.sha256)
        throw diagnostics.otherLibrary({ kernel, library, why: `its sha256 is ${digest}, and was ${call.sha256}` });
    } catch (e) {
      throw e instanceof DiagnosticError ? e : diagnostics.otherLibrary({ kernel, library, why: (e as Error).message });
    }
  }
}

function expectTarget(seen: Target, wanted: Target): void {
  if (seen !== wanted) throw diagnostics.wrongTarget({ target: seen, device: wanted });
}
