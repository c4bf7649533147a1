// What a target gives the driver: a catalogue to choose kernels from, and a builder from family and problem to text and binary.
import type { KernelRecord, Target } from "../ir/artifact.ts";
import type { Catalogue, Problem } from "../ir/kernel/catalogue.ts";
import { cpuTarget } from "./cpu/target.ts";
import { cudaTarget } from "./cuda/target.ts";
import { tritonTarget } from "./triton/target.ts";

/** A kernel as it goes into the artifact. */
export interface Built {
  /** Readable and, mostly, unique; the driver numbers the rest. */
  name: string;
  /** What a person reads, and its file type. */
  text: string;
  textType: string;
  binary?: Uint8Array;
  binaryType?: string;
  /** What Triton's compiler needs beside the text; the driver runs it. */
  aot?: { signature: Readonly<Record<string, string>>; options: Readonly<Record<string, number | boolean>> };
  record: Omit<KernelRecord, "text" | "binary">;
}

/** What is known of a kernel's first use: for the header of its text, and for messages about it. */
export interface Use {
  op: string;
  site: string;
  /** Config keys and rules the node came from; empty for copies. */
  origin: string;
  /** Bytes and operations of the node at the sizes the cost model assumes, e.g. "T = 16, B = 16". */
  cost?: { bytes: number; flops: number; at: string };
}

export interface TargetBackend {
  catalogue: Catalogue;
  build(family: string, problem: Problem, use?: Use): Built;
}

/** The back end for a target under the options of a compile; refuses what it cannot mean. */
export function targetOf(target: Target, options: { activations: "f32" | "bf16"; natives?: "all" | "none" }): TargetBackend {
  if (target === "cpu") return cpuTarget(options);
  return target === "cuda" ? cudaTarget(options.natives !== "none") : tritonTarget();
}
