// Trials on the GPU that is here: texts compiled by NVRTC or nvcc, launched as the runtime launches them, among bytes that no kernel
// may touch.
import type { KernelRecord } from "../../ir/artifact.ts";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { boundBuffers } from "../../ir/kernel/catalogue.ts";
import type { Cuda, CudaKernel } from "../../runtime/devices/cuda/index.ts";
import { median } from "../../runtime/devices/cuda/launch-time.ts";
import type { Fault, Machine, Program } from "./machine.ts";
import { BLANK, type Trial, type TrialBuffer, type TrialLaunch } from "./trial.ts";

const GUARD = 256;
/** What is left to the driver. */
const SPARE = 1 << 30;
/** Sets of buffers that launches are timed over, so that operands are not all in the cache; and replays of a round. */
const SETS = 3;
const REPLAYS = 5;

/** Makes of a program what the driver loads. */
export type Images = (p: Program) => Uint8Array | Promise<Uint8Array>;

export function onCard(cuda: Cuda, imageOf: Images): Machine {
  const loaded = new Map<string, CudaKernel>();
  const kernelOf = async (p: Program): Promise<CudaKernel> => {
    const known = loaded.get(p.text);
    if (known) return known;
    const { params, dims, launch, workspaceBytes, entry } = p.record as KernelRecord & { launch: object };
    const text = { name: p.name, entry, params, dims, launch, ...(workspaceBytes === undefined ? {} : { workspaceBytes }) };
    const kernel = cuda.loadCubin(await imageOf(p), text);
    loaded.set(p.text, kernel);
    return kernel;
  };
  return {
    on: "gpu",
    where: cuda.name,
    fits: (bytes) => bytes < cuda.memory().free - SPARE,
    async run(trial, programOf): Promise<{ after: Uint8Array[]; fault?: Fault }> {
      const kernels: CudaKernel[] = [];
      for (const l of trial.launches) kernels.push(await kernelOf(programOf(l.kernel)));
      const placed = new Placed(cuda, trial);
      try {
        trial.launches.forEach((l, i) => placed.launch(kernels[i], l));
        cuda.synchronize();
        const { beside } = placed;
        return {
          after: placed.results,
          ...(beside === undefined ? {} : { fault: { problem: `it writes past the end of ${beside}` } }),
        };
      } catch (e) {
        // What a kernel broke stays broken: the context is lost.
        if (!(e instanceof DiagnosticError)) throw e;
        return {
          after: trial.buffers.map((b) => b.data),
          fault: { problem: `it ends in an error: ${e.diagnostics[0].title}`, fatal: true },
        };
      } finally {
        placed.free();
      }
    },
    async time({ trial, kernel, programs, programOf, rounds }): Promise<number[][]> {
      const around: CudaKernel[] = [];
      for (const l of trial.launches) around.push(await kernelOf(programOf(l.kernel)));
      const timed: CudaKernel[] = [];
      for (const p of programs) timed.push(await kernelOf(p));
      const sets = Array.from({ length: SETS }, () => new Placed(cuda, trial));
      try {
        const own = trial.launches.find((l) => l.kernel === kernel)!;
        for (const s of sets) trial.launches.forEach((l, i) => s.launch(around[i], l));
        for (const s of sets) for (const k of timed) s.launch(k, own);
        cuda.synchronize();
        const graphs = timed.map((k) => cuda.capture(() => sets.forEach((s) => s.launch(k, own))));
        for (const g of graphs) g.time(2);
        const out = Array.from({ length: rounds }, () => graphs.map((g) => median(g.time(REPLAYS)) / SETS));
        graphs.forEach((g) => g.destroy());
        return out;
      } finally {
        sets.forEach((s) => s.free());
      }
    },
    close: () => cuda.close(),
  };
}

/** Buffers of a trial in the card's memory. */
class Placed {
  readonly #at = new Map<TrialBuffer, number>();
  readonly #cuda: Cuda;

  constructor(cuda: Cuda, trial: Trial) {
    this.#cuda = cuda;
    for (const b of trial.buffers) {
      const address = cuda.alloc(b.data.length + GUARD);
      this.#at.set(b, address);
      cuda.fill(address, BLANK, b.data.length + GUARD);
      if (b.data.length) cuda.upload(address, b.data);
    }
  }

  launch(kernel: CudaKernel, l: TrialLaunch): void {
    const names = boundBuffers(kernel.text.params);
    const bound = Object.fromEntries(names.map((name, i) => [name, this.#at.get(l.binds[i])!]));
    this.#cuda.launch(kernel, bound, Object.fromEntries(kernel.text.dims.map((d, i) => [d, l.dims[i]])));
  }

  get results(): Uint8Array[] {
    return [...this.#at].map(([b, at]) => (b.data.length ? this.#cuda.download(at, b.data.length) : new Uint8Array()));
  }

  /** A buffer behind which something was written. */
  get beside(): string | undefined {
    const found = [...this.#at].find(([b, at]) => this.#cuda.download(at + b.data.length, GUARD).some((x) => x !== BLANK));
    return found?.[0].name;
  }

  free(): void {
    for (const at of this.#at.values()) this.#cuda.free(at);
  }
}
