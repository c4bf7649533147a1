// A trial on the card that is here: texts compiled by NVRTC or nvcc, launched once, and every result held to the op's reference.
import { familiesWith, type BroughtKernels } from "../../codegen/brought.ts";
import { launchOf, type Arch, type Native } from "../../codegen/cuda/native.ts";
import { cudaText } from "../../codegen/cuda/target.ts";
import type { Family } from "../../codegen/family.ts";
import { builtCall } from "../../codegen/library-function.ts";
import type { LibraryCall } from "../../ir/library-call.ts";
import { boundBuffers, type Chosen } from "../../ir/kernel/catalogue.ts";
import { cachedCompile } from "../../runtime/devices/cuda/cubins.ts";
import type { Cuda } from "../../runtime/devices/cuda/index.ts";
import { BLANK, GUARD, buffersOf, sizeOf, unlike } from "./memory.ts";
import type { Trial } from "./trial.ts";

/** The card that is here, or why there is none for an architecture. */
export async function cardFor(arch: Arch): Promise<Cuda | string> {
  const { openCuda } = await import("../../runtime/devices/cuda/index.ts");
  try {
    return openCuda(arch.machine.arch);
  } catch {
    return `no card of ${arch.name} here`;
  }
}

/** Launches of a native under each of its schedules that can run a trial, or why it takes none. */
export function nativeLaunches(
  n: Native,
  trial: Trial,
  arch: Arch,
): { schedule: string; launches: Chosen[] }[] | { refused: string } {
  const found = n.match(trial.site, arch.machine);
  if ("reason" in found) return { refused: found.reason };
  const candidates = n.schedules.candidates(found.problem, arch.machine);
  if ("reason" in candidates) return { refused: candidates.reason };
  const rows = sizeOf(found.rows);
  const judged = candidates.map((s) => ({
    s,
    why:
      n.schedules.illegal(found.problem, s, arch.machine) ??
      found.follow?.illegal(s) ??
      (rows > (n.schedules.maxRows?.(s) ?? Infinity) ? `it takes ${n.schedules.maxRows!(s)} rows at most` : null),
  }));
  const able = judged.filter((j) => j.why === null).map((j) => j.s);
  if (!able.length) return { refused: judged[0]?.why ?? "it has no schedule" };
  return able.map((s) => ({
    schedule: n.schedules.name(s),
    launches: [launchOf(n, found.problem, s, found.args(s), found.dims), ...(found.follow?.launches(s) ?? [])],
  }));
}

/** The launches of a family's printed tile program. */
export function printedLaunches(f: Family, trial: Trial): Chosen[] | { refused: string } {
  const found = f.match(trial.site);
  return "reason" in found ? { refused: found.reason } : found.map((m): Chosen => ({ ...m, family: f.name }));
}

/** Why launches do not do at a trial what its op says, or null. */
export async function failsOnGpu(
  cuda: Cuda,
  arch: Arch,
  kernels: BroughtKernels,
  trial: Trial,
  launches: readonly Chosen[],
): Promise<string | null> {
  const compile = cachedCompile(arch.machine.arch);
  return onGpu(cuda, trial, launches, async (launch, bound) => {
    const text = cudaText(launch.family, launch.problem, arch, familiesWith(kernels));
    const kernel = cuda.loadCubin(await compile(text.name, text.source), text);
    const names = boundBuffers(text.params);
    if (names.length !== launch.args.length)
      return `${text.name} binds ${names.length} buffers, and match gives ${launch.args.length}`;
    const named = Object.fromEntries(names.map((name, j) => [name, bound[j]]));
    cuda.launch(kernel, named, Object.fromEntries(text.dims.map((d, j) => [d, sizeOf(launch.dims[j])])));
    return null;
  });
}

/** Why a function of a library does not do at a trial what its op says, or null. */
export async function callFailsOnGpu(cuda: Cuda, trial: Trial, launch: Chosen): Promise<string | null> {
  const { LibraryKernel } = await import("../../runtime/devices/cuda/library-kernel.ts");
  const { record } = builtCall(launch.family, launch.problem as LibraryCall);
  return onGpu(cuda, trial, [launch], async (_, bound) => {
    const dims = Object.fromEntries(record.dims.map((d, j) => [d, sizeOf(launch.dims[j])]));
    try {
      new LibraryKernel(launch.family, { ...record, call: record.call! }).enqueue(cuda.stream, bound, dims);
      return null;
    } catch (e) {
      return (e as Error).message;
    }
  });
}

/** Enqueues launches one by one over the buffers of a trial, and holds what they leave to the op's reference. */
async function onGpu(
  cuda: Cuda,
  trial: Trial,
  launches: readonly Chosen[],
  start: (launch: Chosen, bound: readonly number[]) => Promise<string | null>,
): Promise<string | null> {
  const buffers = buffersOf(trial, launches);
  if ("reason" in buffers) return null;
  const at = new Map(buffers.all.map((b) => [b, cuda.alloc(Math.max(16, b.data.length) + GUARD)]));
  try {
    for (const [b, address] of at) {
      cuda.fill(address, BLANK, Math.max(16, b.data.length) + GUARD);
      if (b.data.length) cuda.upload(address, b.data);
    }
    for (const [i, launch] of launches.entries()) {
      const problem = await start(
        launch,
        buffers.bound[i].map((b) => at.get(b)!),
      );
      if (problem !== null) return problem;
    }
    cuda.synchronize();
    for (const [b, address] of at)
      if (cuda.download(address + b.data.length, GUARD).some((x) => x !== BLANK)) return `it writes past the end of ${b.name}`;
    return unlike(
      [...at].map(([bytes, address]) => ({ bytes, after: cuda.download(address, bytes.data.length) })),
      trial,
    );
  } finally {
    for (const address of at.values()) cuda.free(address);
  }
}
