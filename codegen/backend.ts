// What a target gives the driver: a catalogue to choose kernels from, and a builder from family and problem to text and binary.
import type { CpuFacts, GpuFacts, KernelRecord } from "../ir/artifact.ts";
import type { TirFunction } from "./tir/ir.ts";
import type { Machine } from "../ir/machine.ts";
import type { Catalogue, KernelText, Problem, Segment, Site } from "../ir/kernel/catalogue.ts";

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
  /** What the lines of the text are. */
  segments: readonly Segment[];
  aot?: { signature: Readonly<Record<string, string>>; options: Readonly<Record<string, number | boolean>> };
  /** What TVM compiles; the driver has it do so. */
  tir?: TirFunction;
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

/** Rows of one cache page, for every target: a ring stage of the attention kernels is as long. */
export const PAGE_ROWS = 64;

/** A target as the driver sees it: a catalogue to choose from and a builder of texts and binaries. */
export interface TargetBackend {
  /** What its kernels are made for. */
  machine: Machine;
  /** Of a GPU, what the artifact says of it. */
  gpu?: GpuFacts;
  catalogue: Catalogue;
  /**
   * For functions in which sequences share a batch, where a sequence's bits must not depend on the others; and the most rows they may
   * have.
   */
  batchInvariant?: { catalogue: Catalogue; rows: number };
  /**
   * The problems that a family or a native makes of a site, each of a launch, without what is chosen beside it (`schedule`, `tile`);
   * none where it does not take the site. By asking again at other sizes it is known which field of a problem is of which size.
   */
  problemsOf(family: string, site: Site): Problem[];
  /** Of a GPU: kernels that the runtime launches for itself, for a model with so many ids; `ranks`: that is divided (ir/system.ts). */
  system?(vocab: number, ranks: boolean): KernelText[];
  /** Where kernels become one library: its texts by path, and what is said of it but the compiler, which the driver finds. */
  library?(kernels: Readonly<Record<string, KernelRecord>>): {
    files: ReadonlyMap<string, string>;
    facts: Omit<CpuFacts, "compiler">;
    /** Where TVM makes it: functions of the library beside its kernels, and TVM's target. */
    tvm?: { services: readonly TirFunction[]; target: Readonly<Record<string, string>> };
  };
  build(family: string, problem: Problem, use?: Use): Built;
  /** The text of a problem without the lines that say where it is used: what another value of a field changes shows in it. */
  sourceOf(family: string, problem: Problem): string;
}
