// Functions of libraries as kernels of the CPU device: one thread calls, with tensors over the WebAssembly memory as it lies.
import type { LibraryCall } from "../../ir/library-call.ts";
import { BoundCall } from "../tvm/bound-call.ts";
import { addressOf, useLibrary } from "../tvm/library.ts";
import type { KernelEntry } from "./cpu-job.ts";

/** Opens libtvm_ffi where the main thread has found it. */
export const open = useLibrary;

/** A call on the memory of a segment; its library is opened. */
export function entryOf(call: LibraryCall, dims: readonly string[], memory: WebAssembly.Memory): KernelEntry {
  // Shared memory grows in place.
  const base = addressOf(new Uint8Array(memory.buffer));
  const buffers = call.args.filter((a) => a.kind === "tensor").length;
  const bound = new BoundCall(call, dims, { type: "cpu", id: 0 });
  return (_begin, _end, _scratch, ...values) => {
    // Words are signed, addresses are not.
    bound.run(
      values.slice(0, buffers).map((v) => base + (v >>> 0)),
      values.slice(buffers),
    );
  };
}
