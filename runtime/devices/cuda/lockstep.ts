// All ranks on one device: they have run up to a meeting one after another, and one kernel reads what each of them holds and writes what
// each of them gets (codegen/cuda/system/lockstep.ts). So a mesh runs on one card, and steps are graphs as those of one rank are.
import { RANK_APART, RANK_FORMS } from "../../../ir/system.ts";
import type { StreamMeeting, StreamPart, StreamTransport } from "../../ranks/transport.ts";
import type { CudaKernel } from "./kernel.ts";

export type LockstepKernels = Readonly<Record<StreamMeeting["op"], CudaKernel>>;

export class CudaLockstep implements StreamTransport {
  readonly kind = "lockstep";
  readonly captured = true;
  readonly here: readonly number[];
  readonly ranks: number;
  private readonly kernels: LockstepKernels;

  constructor(ranks: number, kernels: LockstepKernels) {
    [this.ranks, this.kernels] = [ranks, kernels];
    this.here = Array.from({ length: ranks }, (_, r) => r);
  }

  enqueue({ op, dtype, outer, inner }: StreamMeeting, parts: readonly StreamPart[], stream: number): void {
    const scalars: Readonly<Record<string, number>> = {
      ranks: this.ranks,
      x_apart: apart(parts.map((p) => p.from)),
      y_apart: apart(parts.map((p) => p.to)),
      form: RANK_FORMS.indexOf(dtype),
    };
    const [{ from, to }] = parts;
    const scalar = (name: string): number => scalars[name];
    this.kernels[op].enqueue(stream, [from, to], { outer, inner, count: outer * inner }, { scalar });
  }

  fault(): undefined {}

  async close(): Promise<void> {}
}

/** How far what one rank has lies from what the next one has, as kernels count. */
function apart(addresses: readonly number[]): number {
  const bytes = addresses[1] - addresses[0];
  if (addresses.some((at, r) => at !== addresses[0] + r * bytes) || bytes % RANK_APART !== 0)
    throw new RangeError(`what ranks hold does not lie evenly: ${addresses.join(", ")}`);
  return bytes / RANK_APART;
}
