// Where passes and codegen meet: a pass names a kernel by family and problem, a target supplies the families.
// Nothing here knows a target; `codegen/target.ts` fills a catalogue, the driver hands it to plan/select.
import type { Size } from "../size.ts";

/**
 * A plain, printable record: shapes, dtypes, strides, flags, and the schedule of a kernel that has several. Its JSON is the
 * identity of a kernel.
 */
export type Problem = object;

/** What one kernel parameter is, in launch order. */
export type Param =
  | { kind: "buffer"; name: string; dtype: "f32" | "bf16" | "e4m3" | "i32"; access: "in" | "out" | "inout" }
  | { kind: "scalar"; name: string; dtype: "i32" | "f32" }
  /** A TMA descriptor over a buffer: innermost dimension first; passed by value as a __grid_constant__. */
  | {
      kind: "tensormap";
      name: string;
      of: string;
      dtype: "bf16" | "e4m3" | "f32";
      dims: Size[];
      strides: Size[];
      box: number[];
      swizzle: 0 | 32 | 64 | 128;
    };

/** Buffers a launch binds, in the order of its arguments: by the first parameter that names each. */
export const boundBuffers = (params: readonly Param[]): string[] => [
  ...new Set(params.flatMap((p) => (p.kind === "buffer" ? [p.name] : p.kind === "tensormap" ? [p.of] : []))),
];

/** How a GPU launcher sizes the launch. Sizes are expressions over the problem's run-time dims ("m", "T", "B", ...). */
export interface Launch {
  grid: [Size, Size, Size];
  block: number;
  sharedBytes: number;
  cluster?: [number, number, number];
  /**
   * Launched with the programmatic-dependent-launch attribute: blocks may begin while the launch before still runs, and wait
   * for it inside.
   */
  pdl?: boolean;
  /**
   * Of a kernel with `pdl`: buffers (boundBuffers) that it reads before it waits. Where a launch of the same call makes one, the kernel
   * is launched without the attribute (mayStartEarly in ir/artifact.ts); what it does not name is read and written after the wait.
   */
  early?: string[];
  /** Buffers read before the wait as well, which the launch before had waited for when it let this one begin. */
  chained?: string[];
  /** Null pointers that follow the dims: the scratch a compiled Triton kernel asks for and does not use. */
  nulls?: number;
}

/**
 * A run of lines with one origin: from `line` (the first is 0) up to the next run. A header is comments, by what they say; a helper a
 * named device function; definitions are constants and functions of this kernel alone; a body is statements of a hand-written kernel, by
 * the role of the warps that run them; a statement is one of a tile program, by its text.
 */
export interface Segment {
  line: number;
  kind: "header" | "helper" | "definitions" | "entry" | "body" | "statement";
  name?: string;
  /** Of a kernel for a fused op: the ops of its graph that the lines compute; absent where they serve all of it. */
  ops?: readonly string[];
}

/** One entry point: readable text in its target's language plus all that a launcher must know. */
export interface KernelText {
  name: string;
  language: "cuda" | "triton" | "wat";
  source: string;
  params: Param[];
  /** Names of the run-time dims, i32, in the order they follow the other params. */
  dims: string[];
  launch: Launch;
  /** Bytes of scratch the launcher provides, zeroed once before the first launch. */
  workspaceBytes?: Size;
  /** What the lines of the source are. */
  segments?: readonly Segment[];
}

/** One buffer operand of a node as it lies in memory: extents and strides in elements, symbolic where a size varies. */
export interface View {
  dtype: "f32" | "bf16" | "i32" | "e4m3";
  /** Scaled tensors only: "1x128" or "128x128"; their scales are a second, contiguous buffer. */
  scaled?: "1x128" | "128x128";
  shape: Size[];
  strides: Size[];
}

/** A paged cache of one layer: rows of `width` lanes, `pageRows` to a page. */
export interface CacheView {
  name: string;
  width: number;
  pageRows: number;
}

/** A node as a target sees it when it is asked for kernels. */
export interface Site {
  op: string;
  attrs: Readonly<Record<string, number | string | boolean | readonly (number | string)[]>>;
  /** Tensor operands only, in order; batch and cache operands are named by `Arg`. */
  ins: View[];
  outs: View[];
  /** The caches that the op reads or writes, in the order of its operands. */
  caches?: readonly CacheView[];
}

/** What a launch passes for each kernel buffer, in the kernel's order (boundBuffers). */
export type Arg =
  /** `ahead`: it is only sent for to L2, for a launch that follows. */
  | { in: number; part?: "scales"; ahead?: true }
  | { out: number; part?: "scales" }
  | { batch: "positions" | "sequence" | "starts" | "lengths" | "pages" }
  /** One of the layer's caches, by name. */
  | { cache: string }
  /** A row-major buffer that lives for this node only, shared by the launches of one choice that give it the same name. */
  | { scratch: string; dtype: View["dtype"]; shape: readonly Size[] };

/** One kernel launch: the family and problem name the kernel, dims are its run-time sizes in the kernel's order. */
export interface Chosen {
  family: string;
  problem: Problem;
  args: Arg[];
  dims: Size[];
  /** The part that it serves, where the op of the site is made of others; its operands are those of the part. */
  part?: Site;
  /** Hand-written kernels that serve the op and do not run here. */
  instead?: readonly Instead[];
}

/** A kernel that could have been chosen, and why it was not. */
export interface Instead {
  family: string;
  reason: string;
}

/** Launches that depend on a run-time size: the first case whose `most` is no less than `on` runs; the last one's is null. */
export interface Cases {
  on: Size;
  cases: { most: number | null; launches: Chosen[] }[];
}

/** The launches of a node: always the same, or by a run-time size. */
export type Choice = Chosen[] | Cases;

/** What a target can run. `choose` gives the launches of a node, or why there are none. */
export interface Catalogue {
  target: string;
  /** Bytes at whose multiples operands begin; a view that begins elsewhere is copied first. 1 when absent. */
  align?: number;
  /** Rows of a cache page that its kernels are made for: a fact of the artifact, by which the runtime keeps its tables. */
  pageRows: number;
  choose(site: Site): Choice | { reason: string };
  /** Launches that copy one strided view into another of the same shape. */
  copy(from: View, to: View): Chosen[] | { reason: string };
}
