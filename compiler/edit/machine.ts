// What runs trials: a target, or what stands in for one.
import type { EditProof, KernelRecord } from "../../ir/artifact.ts";
import type { Trial } from "./trial.ts";

/** A kernel as it is run: its record, its text, and its binary where it has one. */
export interface Program {
  name: string;
  record: KernelRecord;
  text: string;
  binary?: Uint8Array;
}

/** What a kernel did that no result shows. */
export interface Fault {
  problem: string;
  /** Nothing else can be tried after it. */
  fatal?: true;
}

export interface Machine {
  on: EditProof["on"];
  /** In words. */
  where: string;
  /** Whether operands and results of so many bytes fit. */
  fits(bytes: number): boolean;
  /** Runs the launches of a trial; gives what every buffer holds then, in the trial's order. */
  run(
    trial: Trial,
    programOf: (kernel: string) => Program,
    originalOf: (kernel: string) => Program,
  ): Promise<{ after: Uint8Array[]; fault?: Fault }>;
  /** Microseconds of a launch of each of several programs of one kernel, in turn; absent where nothing can be timed. */
  time?(timing: Timing): Promise<number[][]>;
  close?(): void;
}

/** Programs of a kernel to be timed at a trial, so many times. */
export interface Timing {
  trial: Trial;
  kernel: string;
  programs: readonly Program[];
  /** Of the launches around it. */
  programOf: (kernel: string) => Program;
  rounds: number;
}
