// What a machine must do to run a model: hold bytes at addresses, take weights, run one function over one batch. Sessions,
// models and weights use only this; CpuDevice and CudaDevice are it. Addresses are plain numbers, meaningful to their device.
import type { Target } from "../ir/artifact.ts";
import type { Walked } from "./plan/walk.ts";
import type { Recipe } from "./synthetic.ts";

/** One run of a function of the manifest. */
export interface Call extends Walked {
  /** The batch's tables, one block: written as the run begins. */
  tables?: { at: number; bytes: Uint8Array };
  /**
   * Where the options of each row lie (sample.ts), and the ids that sequences hold (0: nobody looks): "next" is drawn by them. Only of
   * devices that draw.
   */
  sampling?: { choices: number; seen: number };
  /** Where the ids of the batch lie once the runs before this one have ended: they are copied into its table on the device. */
  idsFrom?: number;
}

/** Elements [start, start + count) of a synthetic tensor, to `at`. */
export interface FillJob {
  at: number;
  recipe: Recipe;
  start: number;
  count: number;
  bytes: number;
  /** Of a part of a matrix: elements of a run, and how far runs begin apart in the tensor and in memory, in elements. */
  runs?: { width: number; pitch: number; apart: number };
}

/** An array of a checkpoint on its way to `at`. */
export interface StoredArray {
  at: number;
  count: number;
  /** "same" keeps the bytes; the others are widened to f32, which is exact. */
  form: "same" | "bf16" | "f16" | "e8m0";
  /** Bytes in the file, without what lies between rows. */
  bytes: number;
  /**
   * Bytes of a row, from one row to the next in memory, where what lies between becomes zero, and in the file, where what lies between
   * is no part of the array; one of the two at most is more than the bytes of a row. Only of form "same".
   */
  rows?: { bytes: number; pitch: number; stored: number };
  /** Reads `target.length` bytes from byte `from` of the array on. */
  read(target: Uint8Array, from: number): Promise<void>;
  /** Where it begins in which file, for devices whose threads read by themselves. */
  file: { path: string; begin: number; tensor: string; identity: string };
  /** What the file holds, in safetensors' words: values are looked at by it as they pass. */
  dtype?: string;
}

/** Values of a weight as they lie in memory. */
export interface StoredPart {
  at: number;
  bytes: number;
  dtype: "F32" | "BF16" | "F8_E4M3";
}

/** What weights are put into: a device, or a rank of several that one device holds. */
export type WeightPlace = Pick<Device, "place" | "fill">;

export interface Device {
  readonly kind: Target;
  /** Where several ranks are in this process, the device of each, in their order: shares of weights go to these. */
  readonly ranks?: readonly WeightPlace[];
  /** Takes bytes at a multiple of 64; the content is undefined. `what` names the need in a refusal. `near`: used with what lies there. */
  allocate(bytes: number, what: string, near?: number): number;
  release(at: number): void;
  /** What is taken next, so many bytes in all, is used together; for devices whose memory is divided. */
  together?(bytes: number): void;
  /** Bytes that could be taken now. */
  available(): number;
  /** The refusal of a need that is larger than that, in the device's words; `help` says what to do where the usual words would not. */
  shortOf(what: string, needed: number, parts: readonly string[], help?: string): Error;
  /** Bytes that one weight of one layer can have, where it is less than all there are. */
  readonly largest?: number;
  /** Columns of a page table that must hold so many pages: a device that keeps programs by their sizes asks for few different ones. */
  columns(pages: number): number;
  /** Rows that a step of so many is filled up to, so that few sizes have programs of their own; absent: as many as there are. */
  rows?(step: string, rows: number): number;
  /** Makes bytes zero, before what is written or placed later. */
  clear(at: number, bytes: number): void;
  /** Copies bytes in; a later run sees them. */
  write(at: number, bytes: Uint8Array): void;
  /** Bytes as they are once no run is under way: a view where memory is shared, else a copy. */
  read(at: number, bytes: number): Uint8Array<ArrayBufferLike>;
  /** Copies bytes from one place to another, after the runs under way; the two do not overlap. */
  copy(from: number, to: number, bytes: number): void;
  /** Brings arrays of a checkpoint to their places, many reads in flight. */
  place(arrays: readonly StoredArray[]): Promise<void>;
  /** Generates synthetic tensors in place. */
  fill(jobs: readonly FillJob[]): Promise<void>;
  /** Which of these parts hold NaN or infinity; of devices that do not look while they place them. */
  notFinite?(parts: readonly StoredPart[]): Promise<number[]>;
  /** Weights are in place: from here on nothing is compiled. */
  seal(): void;
  /** Whether a run may be begun before the last one has ended, to keep the device busy: runs then follow each other without the host. */
  readonly ahead: boolean;
  /** Whether a run can draw its ids: see Call.sampling. */
  readonly draws?: boolean;
  /** Runs a function; runs queue. Resolves when its results can be read, with those named "next" where they come by themselves. */
  run(call: Call): Promise<Int32Array | undefined>;
  /** Weights lie elsewhere now: what was kept with their addresses is forgotten. */
  moved(): void;
  /** Settles when no run is under way or queued. */
  idle(): Promise<void>;
  /** Milliseconds and launches by kernel since the device opened, longest first; zero unless opened with `profile`. */
  timings(): { kernel: string; ms: number; launches: number }[];
  close(): Promise<void>;
}
