// Trials of the kernels of a library (--target c, tvm): its launchers in this process, over memory whose every byte is watched.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import path from "node:path";
import type { CpuFacts } from "../../ir/artifact.ts";
import { evaluate } from "../../ir/size.ts";
import { missingOf } from "../../runtime/devices/native/flags.ts";
import { NativeLibrary } from "../../runtime/devices/native/library.ts";
import { timedInTurn } from "./in-turn.ts";
import type { Fault, Machine, Program } from "./machine.ts";
import { outcome, Placed } from "./placed.ts";
import type { Trial, TrialLaunch } from "./trial.ts";

const MOST_BYTES = 4e9;
const ALIGN = 64;

/** What of the processor that a library is for this machine lacks. */
export const lacksFor = ({ arch, requires }: CpuFacts): string[] => (arch === process.arch ? missingOf(requires) : [arch]);

/** The machine of a library, which `bytes` are the file of. */
export function onLibrary({ library: name, processor }: CpuFacts, bytes: Uint8Array): Machine {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-library-"));
  const file = path.join(folder, path.basename(name));
  writeFileSync(file, bytes, { mode: 0o700 });
  const library = new NativeLibrary(file);
  return {
    on: "cpu",
    where: `its library for ${processor} on ${cpus()[0]?.model.trim() || process.arch}`,
    fits: (most) => most < MOST_BYTES,
    async run(trial, programOf): Promise<{ after: Uint8Array[]; fault?: Fault }> {
      const laid = new Laid(library, trial, programOf);
      for (const l of trial.launches) laid.launch(l)();
      return outcome(laid.placed);
    },
    async time({ trial, kernel, programs, programOf, rounds }): Promise<number[][]> {
      const laid = new Laid(library, trial, programOf);
      for (const l of trial.launches) laid.launch(l)();
      const run = laid.launch(trial.launches.find((l) => l.kernel === kernel)!);
      return timedInTurn(programs.length, run, rounds);
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** Buffers of a trial in memory of the process. */
class Laid {
  readonly placed: Placed;
  readonly #library: NativeLibrary;
  readonly #programOf: (kernel: string) => Program;
  #base = 0;

  constructor(library: NativeLibrary, trial: Trial, programOf: (kernel: string) => Program) {
    this.#library = library;
    this.#programOf = programOf;
    const records = trial.launches.map((l) => programOf(l.kernel).record);
    this.placed = new Placed(trial, records, (bytes) => {
      const buffer = new SharedArrayBuffer(bytes + ALIGN);
      const address = library.addressOf(buffer);
      this.#base = Math.ceil(address / ALIGN) * ALIGN;
      return new Uint8Array(buffer, this.#base - address, bytes);
    });
  }

  /** A launch, ready to be made; arguments are made once. */
  launch(l: TrialLaunch): () => void {
    const { record } = this.#programOf(l.kernel);
    const run = this.#library.launcher(l.kernel);
    const cells = evaluate(record.cells!, Object.fromEntries(record.dims.map((d, i) => [d, l.dims[i]])));
    const args = Float64Array.from([...l.binds.map((b) => this.#base + this.placed.at(b)), ...l.dims]);
    return () => run(args, 0, 0, cells, this.#base + this.placed.scratch);
  }
}
