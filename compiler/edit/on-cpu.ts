// Trials on the CPU: WebAssembly in this process, over memory whose every byte is watched.
import { cpus } from "node:os";
import { evaluate } from "../../ir/size.ts";
import { timedInTurn } from "./in-turn.ts";
import type { Machine, Fault, Program } from "./machine.ts";
import { outcome, Placed } from "./placed.ts";
import type { Trial, TrialLaunch } from "./trial.ts";

const PAGE = 65536;
/** What a WebAssembly memory can hold. */
const MOST_BYTES = 65536 * PAGE;

type Run = (...args: number[]) => void;

/** A module over a memory, in a function of cells. */
function instantiate({ record, binary }: Program, memory: WebAssembly.Memory): Run {
  const module = new WebAssembly.Module(binary as Uint8Array<ArrayBuffer>);
  return new WebAssembly.Instance(module, { env: { memory } }).exports[record.entry] as Run;
}

function placedFor(trial: Trial, programs: readonly Program[]): { placed: Placed; memory: WebAssembly.Memory } {
  let memory: WebAssembly.Memory;
  const records = programs.map((p) => p.record);
  const placed = new Placed(trial, records, (bytes) => {
    memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / PAGE), maximum: 65536, shared: true });
    return new Uint8Array(memory.buffer);
  });
  return { placed, memory: memory! };
}

function launch(placed: Placed, run: Run, { record: { cells, dims } }: Program, l: TrialLaunch): void {
  const sizes = Object.fromEntries(dims.map((d, i) => [d, l.dims[i]]));
  run(0, evaluate(cells!, sizes), placed.scratch, ...l.binds.map((b) => placed.at(b)), ...l.dims);
}

export const onCpu: Machine = {
  on: "cpu",
  where: `WebAssembly on ${cpus()[0]?.model.trim() || process.arch}`,
  fits: (bytes) => bytes < MOST_BYTES - (64 << 20),
  async run(trial, programOf): Promise<{ after: Uint8Array[]; fault?: Fault }> {
    const programs = trial.launches.map((l) => programOf(l.kernel));
    const { placed, memory } = placedFor(trial, programs);
    try {
      for (const [i, l] of trial.launches.entries()) launch(placed, instantiate(programs[i], memory), programs[i], l);
    } catch (e) {
      if (!(e instanceof WebAssembly.RuntimeError)) throw e;
      return { after: placed.results, fault: { problem: `it ends in a trap: ${e.message}` } };
    }
    return outcome(placed);
  },
  async time({ trial, kernel, programs, programOf, rounds }): Promise<number[][]> {
    const all = trial.launches.map((l) => programOf(l.kernel));
    const { placed, memory } = placedFor(trial, [...all, ...programs]);
    for (const [i, l] of trial.launches.entries()) launch(placed, instantiate(all[i], memory), all[i], l);
    const timed = trial.launches.find((l) => l.kernel === kernel)!;
    const runs = programs.map((p) => instantiate(p, memory));
    return timedInTurn(runs.length, (i) => launch(placed, runs[i], programs[i], timed), rounds);
  },
};
