// Trials on the CPU: WebAssembly in this process, over memory whose every byte is watched.
import { cpus } from "node:os";
import type { KernelRecord } from "../../ir/artifact.ts";
import { evaluate } from "../../ir/size.ts";
import { BLANK, type Trial, type TrialBuffer, type TrialLaunch } from "./trial.ts";
import type { Machine, Fault, Program } from "./machine.ts";

const PAGE = 65536;
/** Bytes around a buffer that no kernel may touch. */
const GUARD = 256;
/** What a WebAssembly memory can hold. */
const MOST_BYTES = 65536 * PAGE;

/** How long programs run before they are timed, and how long one is timed at least in a round. */
const WARM_MS = 60;
const ROUND_US = 200;

type Run = (...args: number[]) => void;

/** A module over a memory, in a function of cells. */
function instantiate({ record, binary }: Program, memory: WebAssembly.Memory): Run {
  const module = new WebAssembly.Module(binary as Uint8Array<ArrayBuffer>);
  return new WebAssembly.Instance(module, { env: { memory } }).exports[record.entry] as Run;
}

/** Buffers of a trial in a memory. */
class Placed {
  readonly memory: WebAssembly.Memory;
  readonly #at = new Map<TrialBuffer, number>();
  readonly scratch = GUARD;
  readonly #from: number;

  constructor(trial: Trial, records: readonly KernelRecord[]) {
    this.#from = GUARD + Math.max(0, ...records.map((r) => r.scratchBytes ?? 0));
    let end = this.#from + GUARD;
    for (const b of trial.buffers) {
      // One element off alignment: views begin anywhere.
      this.#at.set(b, Math.ceil(end / 64) * 64 + 4);
      end = this.#at.get(b)! + b.data.length + GUARD;
    }
    this.memory = new WebAssembly.Memory({ initial: Math.ceil(end / PAGE), maximum: 65536, shared: true });
    new Uint8Array(this.memory.buffer).fill(BLANK);
    this.fill();
  }

  fill(): void {
    const bytes = new Uint8Array(this.memory.buffer);
    for (const [b, at] of this.#at) bytes.set(b.data, at);
  }

  launch(run: Run, { cells, dims }: KernelRecord, l: TrialLaunch): void {
    const sizes = Object.fromEntries(dims.map((d, i) => [d, l.dims[i]]));
    run(0, evaluate(cells!, sizes), this.scratch, ...l.binds.map((b) => this.#at.get(b)!), ...l.dims);
  }

  get results(): Uint8Array[] {
    const bytes = new Uint8Array(this.memory.buffer);
    return [...this.#at].map(([b, at]) => bytes.slice(at, at + b.data.length));
  }

  /** A byte between buffers that was written. */
  get beside(): string | undefined {
    const bytes = new Uint8Array(this.memory.buffer);
    let [at, last] = [this.#from, "its scratch"];
    for (const [b, begin] of [...this.#at, [undefined, bytes.length] as const]) {
      for (; at < begin; at++) if (bytes[at] !== BLANK) return last;
      if (b) [at, last] = [begin + b.data.length, b.name];
    }
    return undefined;
  }
}

export const onCpu: Machine = {
  on: "cpu",
  where: `WebAssembly on ${cpus()[0]?.model.trim() || process.arch}`,
  fits: (bytes) => bytes < MOST_BYTES - (64 << 20),
  async run(trial, programOf): Promise<{ after: Uint8Array[]; fault?: Fault }> {
    const programs = trial.launches.map((l) => programOf(l.kernel));
    const placed = new Placed(
      trial,
      programs.map((p) => p.record),
    );
    try {
      for (const [i, l] of trial.launches.entries())
        placed.launch(instantiate(programs[i], placed.memory), programs[i].record, l);
    } catch (e) {
      if (!(e instanceof WebAssembly.RuntimeError)) throw e;
      return { after: placed.results, fault: { problem: `it ends in a trap: ${e.message}` } };
    }
    const { beside } = placed;
    return {
      after: placed.results,
      ...(beside === undefined ? {} : { fault: { problem: `it writes past the end of ${beside}` } }),
    };
  },
  async time({ trial, kernel, programs, programOf, rounds }): Promise<number[][]> {
    const all = trial.launches.map((l) => programOf(l.kernel));
    const placed = new Placed(
      trial,
      [...all, ...programs].map((p) => p.record),
    );
    const around = all.map((p) => instantiate(p, placed.memory));
    for (const [i, l] of trial.launches.entries()) placed.launch(around[i], all[i].record, l);
    const timed = trial.launches.find((l) => l.kernel === kernel)!;
    const runs = programs.map((p) => instantiate(p, placed.memory));
    const once = (i: number): number => {
      const from = performance.now();
      placed.launch(runs[i], programs[i].record, timed);
      return (performance.now() - from) * 1000;
    };
    // The compiler's second tier replaces a function between two launches.
    const from = performance.now();
    for (let warm = 0; warm < 3 || performance.now() - from < WARM_MS; warm++) programs.forEach((_, i) => once(i));
    const shortest = Math.min(...programs.map((_, i) => once(i)));
    const repeat = Math.max(1, Math.min(2000, Math.ceil(ROUND_US / Math.max(shortest, 0.05))));
    return Array.from({ length: rounds }, (_, round) => {
      const order = programs.map((__, i) => (round % 2 ? programs.length - 1 - i : i));
      const out: number[] = [];
      for (const i of order) out[i] = Array.from({ length: repeat }, () => once(i)).reduce((a, b) => a + b, 0) / repeat;
      return out;
    });
  },
};
