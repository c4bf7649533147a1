// Where passes and codegen meet: a pass names a kernel by family and problem, a target supplies the families.
// Nothing here knows a target; `codegen/target.ts` fills a catalogue, the driver hands it to plan/select.
import type { Size } from "../size.ts";

/** A plain, printable record: shapes, dtypes, strides, flags. Its JSON is the identity of a kernel. */
export type Problem = Record<string, number | string | boolean | readonly number[] | undefined>;

/** What one kernel parameter is, in launch order. */
export type Param =
  | { kind: "buffer"; name: string; dtype: "f32" | "bf16" | "e4m3" | "i32"; access: "in" | "out" | "inout" }
  | { kind: "scalar"; name: string; dtype: "i32" | "f32" }
  /** A TMA descriptor over a buffer: innermost dimension first; passed by value as a __grid_constant__. */
  | { kind: "tensormap"; name: string; of: string; dtype: "bf16" | "e4m3" | "f32"; dims: Size[]; strides: Size[]; box: number[]; swizzle: 0 | 32 | 64 | 128 };

/** How a GPU launcher sizes the launch. Sizes are expressions over the problem's run-time dims ("m", "T", "B", ...). */
export interface Launch {
  grid: [Size, Size, Size];
  block: number;
  sharedBytes: number;
  cluster?: [number, number, number];
  /** Launched with the programmatic-dependent-launch attribute. */
  pdl?: boolean;
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
}
