// What processors kernels of loops are made for: vectors, registers, and the instructions that a machine must have. A machine is one of
// them by the flags that it reports.
import type { Registers } from "./schedule.ts";

export interface Processor extends Registers {
  /** As compilers call the level of instructions: "x86-64-v4". */
  name: string;
  /** As Node calls the architecture. */
  arch: "x64" | "arm64";
  /** Flags of a C compiler. */
  flags: readonly string[];
  /** What a machine must have, as Linux names it in /proc/cpuinfo. */
  requires: readonly string[];
  /** Registers of tiles of bf16, by which products of bf16 weights go: of target c. */
  matrix?: true;
}

const v3 = ["avx2", "fma", "f16c", "bmi1", "bmi2", "movbe", "abm"];
const v4 = [...v3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"];

/** The best first. */
export const processors: readonly Processor[] = [
  {
    name: "x86-64-v4-amx",
    arch: "x64",
    lanes: 16,
    registers: 32,
    flags: ["-march=x86-64-v4", "-mamx-tile", "-mamx-bf16"],
    requires: [...v4, "amx_tile", "amx_bf16"],
    matrix: true,
  },
  { name: "x86-64-v4", arch: "x64", lanes: 16, registers: 32, flags: ["-march=x86-64-v4"], requires: v4 },
  { name: "x86-64-v3", arch: "x64", lanes: 8, registers: 16, flags: ["-march=x86-64-v3"], requires: v3 },
  { name: "x86-64", arch: "x64", lanes: 4, registers: 16, flags: ["-march=x86-64"], requires: [] },
  { name: "armv8-a", arch: "arm64", lanes: 4, registers: 32, flags: ["-march=armv8-a"], requires: [] },
];

/** The processor of that name. */
export const processorNamed = (name: string): Processor | undefined => processors.find((p) => p.name === name);

/** What of these instructions a machine with such flags lacks. */
const lacking = ({ requires }: Pick<Processor, "requires">, flags: readonly string[]): string[] =>
  requires.filter((f) => !flags.includes(f));

/** The best processor that a machine is, by its architecture and the flags that it reports; `matrix`: with tiles, if it has some. */
export const processorOf = (arch: string, flags: readonly string[], matrix = false): Processor | undefined =>
  processors.find((p) => p.arch === arch && (matrix || !p.matrix) && lacking(p, flags).length === 0);
