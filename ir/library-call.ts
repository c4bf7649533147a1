// A function of somebody's shared library in the place of a kernel: which function, and what it is called with. It is part of an
// artifact's manifest, so everything is plain JSON; the library itself stays where it is, and is known by its digest.
import type { Size } from "./size.ts";

/** What a function is given at one place, in its order. */
export type LibraryArg =
  /** The next buffer of the launch as a tensor, by its extents and strides in elements, over the dims of the kernel. */
  | {
      kind: "tensor";
      dtype: "f32" | "bf16" | "e4m3" | "i32";
      access: "in" | "out" | "inout";
      shape: Size[];
      strides: Size[];
    }
  | { kind: "int"; value: Size }
  | { kind: "float"; value: number }
  | { kind: "bool"; value: boolean }
  | { kind: "text"; value: string }
  | { kind: "none" };

/** A call by tvm-ffi's ABI: `__tvm_ffi_NAME` of a library. */
export interface LibraryCall {
  /** Absolute. */
  library: string;
  /** Of the library's bytes. */
  sha256: string;
  function: string;
  /** Libraries whose symbols it takes for granted, opened before it, in this order: absolute paths. */
  before?: string[];
  /** Bytes at whose multiples its tensors have to begin; those of an element where absent. */
  align?: number;
  /** On a GPU: whether its launches may be recorded into a graph. */
  capture?: boolean;
  args: LibraryArg[];
}
