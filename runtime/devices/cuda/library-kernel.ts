// A function of somebody's library in the place of a kernel: called with tensors over device memory, its launches on the stream that
// is current then.
import type { KernelRecord } from "../../../ir/artifact.ts";
import type { LibraryCall } from "../../../ir/library-call.ts";
import type { Dims } from "../../../ir/size.ts";
import { callFailed } from "../../diagnostics.ts";
import { withStream } from "../../tvm/index.ts";
import { BoundCall } from "../../tvm/bound-call.ts";
import type { Enqueued } from "./kernel.ts";

export class LibraryKernel implements Enqueued {
  readonly text: Enqueued["text"];
  readonly moves = 0;
  private readonly name: string;
  private readonly dims: readonly string[];
  private readonly bound: BoundCall;

  /** Opens the library. Throws a TvmError, DSC5701 and DSC5705. */
  constructor(name: string, { params, dims, call }: Pick<KernelRecord, "params" | "dims"> & { call: LibraryCall }, device = 0) {
    [this.name, this.text, this.dims] = [name, { params }, dims];
    this.bound = new BoundCall(call, dims, { type: "cuda", id: device });
  }

  /** Throws DSC5044 with what the function raised. */
  enqueue(stream: number, addresses: readonly number[], dims: Dims): void {
    const sizes = this.dims.map((d) => dims[d]);
    try {
      withStream({ type: "cuda", id: 0 }, stream, () => this.bound.run(addresses, sizes));
    } catch (e) {
      const { name, message } = e as Error;
      throw callFailed({ kernel: this.name, site: "a launch", why: `${name}: ${message}` });
    }
  }
}
