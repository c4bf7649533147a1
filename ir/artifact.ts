// The compiled package: all that the runtime knows. A folder a person can open:
//   manifest.json   this record, the commit point (moves last, by rename)
//   graph/          the module's text after every pass
//   kernels/        source and compiled form of each kernel
//   edits/          what somebody made of kernels by hand
//   ledger.json     where each pass fired, refused, and why
// Sizes are symbolic (ir/size.ts), so one artifact serves every number of rows; weights are named, never contained.
import type { LibraryCall } from "./library-call.ts";
import type { Mesh, MeshAxis } from "./mesh.ts";
import { boundBuffers, type Launch, type Param } from "./kernel/catalogue.ts";
import type { Size } from "./size.ts";

/** The targets, by name. */
export const targets = ["cpu", "c", "tvm", "cuda", "triton"] as const;
/** What kernels are compiled for. */
export type Target = (typeof targets)[number];
/** Whether kernels run on the processor of this machine: WebAssembly, or a library. */
export const onCpu = (t: Target): boolean => t === "cpu" || inLibrary(t);
/** Whether kernels are a library of machine code for the processor. */
export const inLibrary = (t: Target): boolean => t === "c" || t === "tvm";
/** A dtype as weights are stored. */
export type WeightDType = "f32" | "bf16" | "e4m3/128x128";

/** Facts of the model that a session needs without seeing the graph. */
export interface ModelFacts {
  architecture: string;
  vocab: number;
  hidden: number;
  /** Main layers; the extra prediction layer, where present, has index `layers`. */
  layers: number;
  /** Layers that have caches: the main ones, and the extra prediction layer. */
  cachedLayers: number;
  /** What each of them has, by name: lanes of one cached row, and what they are kept in. */
  caches: Record<string, { width: number; dtype: "f32" | "bf16" }>;
  /** Rows of one cache page. */
  pageRows: number;
  maxPositions: number;
  bos: number | null;
  eos: number[];
  experts: { count: number; perToken: number } | null;
}

/** Where the bytes of one weight come from. `{layer}` and `{0}`, `{1}` (leading indices) are filled in tensor names. */
export type Source =
  | { kind: "checkpoint"; pieces: Piece[] }
  /** Written by a `load` function, once per layer; see FunctionPlan. */
  | { kind: "computed"; by: string; result: string }
  /**
   * cos | sin rows [P, d]: angle = f32(p * invFreq[j]); row = [cos(angle) * factor, ..., sin(angle) * factor, ...]. P =
   * positions in use.
   */
  | { kind: "rope"; invFreq: number[]; factor: number };

/**
 * One checkpoint tensor family placed at `at` of the leading axes; "*" runs over the whole axis, "0..256" over part of it,
 * and both fill `{i}` of that axis i.
 */
export interface Piece {
  at: (number | "*" | `${number}..${number}`)[];
  tensor: string;
  /** Tensor with the f32 block scales, where the weight is e4m3/128x128. */
  scales?: string;
  /** The tensor is rows from .. to of the axis after the leading ones (of two matrices joined); `from` begins a block of scales. */
  rows?: [from: number, to: number];
  /** The tensor is columns from .. to of the last axis. Where no piece lies, rows or columns, the weight is zero. */
  columns?: [from: number, to: number];
  /** What of the tensor a rank reads: a part along each of these, divided over an axis of the mesh. */
  share?: Share;
  /** Not the whole tensor (of the share) but one of several equal parts of it, along rows or columns. Not of a scaled weight. */
  part?: { of: "rows" | "columns"; index: number; count: number };
}

/**
 * A rank's part of a tensor, by what is divided: rows or columns of its matrix, and of a stack of experts which of them; values are
 * axes of the mesh.
 */
export interface Share {
  experts?: MeshAxis;
  rows?: MeshAxis;
  columns?: MeshAxis;
}

/** One weight symbol, e.g. "moe_layer.wq_a". Trailing two axes of an e4m3 weight carry 128x128 blocks per leading index. */
export interface WeightPlan {
  dtype: WeightDType;
  shape: number[];
  /** Layer indices that have an instance, or null for one shared instance. */
  layers: number[] | null;
  source: Source;
  /** Used by load functions only: need not stay resident. */
  staging?: boolean;
}

/** An operand buffer of a step. Byte strides are added once per slice row or expert inside `slices` steps. */
export type Ref = (
  | { slot: number }
  /** A named parameter of this function, bound by its caller: inputs and results alike. */
  | { arg: string }
  | { weight: string; part: "data" | "scales" }
  /** i32: positions [T], sequence [T], starts [B+1], lengths [B], pages [B, P], ids [T]. */
  | { batch: "positions" | "sequence" | "starts" | "lengths" | "pages" | "ids" }
  /** A cache of this call's layer, by name: [pages, pageRows, width]. */
  | { cache: string }
) & {
  /** Constant byte offset. */
  offset?: Size;
  /** Inside `slices`: bytes per row; adds firstRow * rowBytes. */
  rowBytes?: number;
  /** Inside `slices` over experts: adds expert * expertBytes. */
  expertBytes?: number;
};

/**
 * One step. Symbols: T rows, B sequences, P pages per sequence (columns of the page table), and inside `slices`
 * over sequences t, s (cached rows with the new ones), b (index); over experts m (rows), e (index).
 */
export type Step =
  | { kind: "kernel"; kernel: string; args: Ref[]; dims: Size[]; site: string }
  | { kind: "call"; function: string; layer: number; args: Record<string, Ref> }
  /** By a run-time size: the first case whose `most` is no less than `on` runs; the last one's is null and takes the rest. */
  | { kind: "cases"; on: Size; cases: { most: number | null; steps: Step[] }[] }
  | { kind: "slices"; over: "sequences"; steps: Step[] }
  /** offsets: i32 [E+1] written by an earlier step; slices with no rows are skipped. */
  | { kind: "slices"; over: "experts"; offsets: Ref; count: number; steps: Step[] }
  | CollectiveStep;

/** What ranks do together, or what depends on the rank (ir/ops/collective.ts). */
export const collectives = ["all_reduce", "all_gather", "reduce_scatter", "pick_max", "once", "own_experts"] as const;
/** One of them. */
export type CollectiveOp = (typeof collectives)[number];

/**
 * A meeting of all ranks. An operand is `outer` runs of `inner` elements, which lie side by side: of all_gather a rank's runs, which the
 * result has between those of other ranks; of reduce_scatter those of its result. Sizes of own_experts: how many experts a rank has,
 * and how many ranks have the same.
 */
export interface CollectiveStep {
  kind: "collective";
  op: CollectiveOp;
  dtype: "f32" | "bf16" | "i32";
  /** Operands, then results. */
  args: Ref[];
  outer: Size;
  inner: Size;
  experts?: number;
  width?: number;
  site: string;
}

/** Steps directly inside a step: a loop's body, every case. */
export const inside = (s: Step): readonly Step[] =>
  s.kind === "slices" ? s.steps : s.kind === "cases" ? s.cases.flatMap((c) => c.steps) : [];

/** A value a function takes or gives, by name. Shape is in elements; a "cache" has no shape here. */
export interface ArgPlan {
  name: string;
  dtype: "f32" | "bf16" | "i32";
  shape: Size[];
}

/** A function as it is run: parameters, arena slots, steps. */
export interface FunctionPlan {
  name: string;
  inputs: ArgPlan[];
  results: ArgPlan[];
  /**
   * Bytes of every arena slot, evaluated for the dims at hand (inside regions: for the largest slice); callee arenas follow
   * their caller's.
   */
  slots: Size[];
  steps: Step[];
}

/** How a buffer lies in memory: extents and strides in elements, over the dims of the kernel that takes it. */
export interface BufferView {
  shape: Size[];
  strides: Size[];
}

/** A kernel of an artifact: its files, its parameters, how it is launched. */
export interface KernelRecord {
  /** Path in the artifact of the readable text. */
  text: string;
  /** Path of the compiled form (wasm, cubin), absent when the target compiles at load. */
  binary?: string;
  /** Entry symbol. */
  entry: string;
  family: string;
  params: Param[];
  dims: string[];
  /** By buffer, where it is an operand of the op that the kernel serves and its sizes are those of the kernel; absent where none is. */
  views?: Record<string, BufferView>;
  /** CPU: number of independent grid cells, split over threads; dims are the kernel's own dim names. */
  cells?: Size;
  /** CPU: scratch bytes per thread. */
  scratchBytes?: number;
  launch?: Launch;
  workspaceBytes?: Size;
  /** A function of somebody's library that is called in its place. */
  call?: LibraryCall;
}

/** A kernel whose text somebody changed (`dsc kernel`): its record names the files of the edit, which lie in edits/. */
export interface Edit {
  /** The kernel as it was compiled; its files are kept, and the edit is made to their text. */
  original: KernelRecord;
  /** What the edit was held to; absent where it was not proved. */
  held?: EditProof;
  /** Why it runs without a proof: somebody insisted. */
  forced?: string;
}

/** An edit that did what the op of its kernel says, within limits. */
export interface EditProof {
  /** cpu, gpu: on the target itself. host: a CUDA or Triton text without a GPU, which is no proof for one. */
  on: "cpu" | "gpu" | "host";
  /** The processor or the card, or what stood in for one. */
  where: string;
  trials: number;
  /** Largest error of an element, as a part of its limit. */
  error: number;
}

/** Kernels of the steps, and those that the runtime launches for itself. */
export const everyKernel = ({
  kernels,
  system,
}: Pick<Manifest, "kernels" | "system">): Readonly<Record<string, KernelRecord>> => ({
  ...kernels,
  ...system,
});

/**
 * Whether a launch may begin before the one before it has ended (programmatic dependent launch). Not where a buffer that the kernel
 * reads before it waits is a slot or an argument of the function: a launch of this call makes it, perhaps one that still runs, for
 * launches that all begin early can stand in a row. Weights were there before the call; so were the step's tables, which are
 * written by a launch that lets none begin before it has ended, and the rows of the cache that are read early.
 */
export function mayStartEarly(args: readonly Ref[], { params, launch }: Pick<KernelRecord, "params" | "launch">): boolean {
  if (!launch?.pdl) return false;
  const names = boundBuffers(params);
  return (launch.early ?? []).every((name) => {
    const arg = args[names.indexOf(name)];
    return arg !== undefined && !("slot" in arg) && !("arg" in arg);
  });
}

/** The GPU an artifact is for. */
export interface GpuFacts {
  /** As compilers name its architecture: "sm_90a". The runtime compares it with the card's. */
  arch: string;
  /** Dynamic shared memory a block may ask for, bytes. */
  sharedPerBlock: number;
}

/** The processor that an artifact's library of kernels is for. */
export interface CpuFacts {
  /** The level of instructions, as compilers call it: "x86-64-v4". */
  processor: string;
  /** As Node names the architecture. */
  arch: "x64" | "arm64";
  /** f32 lanes of a vector. */
  lanes: number;
  /** Flags that the compiler was given for it. */
  flags: string[];
  /** What a machine must have, as Linux names it in /proc/cpuinfo. */
  requires: string[];
  /** Path of the library. */
  library: string;
  /** The compiler, as it introduces itself. */
  compiler: string;
}

/** manifest.json: all that the runtime trusts of an artifact. */
export interface Manifest {
  format: "dsc-artifact/5";
  compiler: string;
  target: Target;
  /** What kernels for a GPU are compiled for; absent for the CPU. */
  gpu?: GpuFacts;
  /** What a library of kernels for the CPU is compiled for; absent for WebAssembly and GPUs. */
  cpu?: CpuFacts;
  /** The ranks it is divided over: all of them run it, each with its shares of the weights. Absent: it is for one. */
  mesh?: Mesh;
  options: Record<string, string | boolean>;
  model: ModelFacts;
  weights: Record<string, WeightPlan>;
  kernels: Record<string, KernelRecord>;
  functions: Record<string, FunctionPlan>;
  /** Of a GPU: what the runtime launches for itself (ir/system.ts), CUDA whatever the target. */
  system?: Record<string, KernelRecord>;
  /** Kernels that run as somebody edited them, by name. */
  edits?: Record<string, Edit>;
  /**
   * prefill: new rows only. extend: new rows on a cached prefix. decode: one row per sequence.
   * Each takes no inputs beyond the batch and gives logits [B or T, V] ("logits_all" in the taps build: [T, V]), final [T, H] and taps.
   * draft: inputs ids (next tokens, in the batch), hidden [T, H] after the final norm; gives logits.
   */
  entries: { prefill: string; extend: string; decode: string; draft?: string };
  /** Load functions in order, each run once per listed layer after the checkpoint is placed. */
  load: { function: string; layers: number[] }[];
  /** sha256 of every other file of the artifact, by path. */
  files: Record<string, string>;
}
