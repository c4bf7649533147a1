// Steps that follow the one before them: every sequence one row on, the ids those that were just chosen, nothing else new. The
// kernel moves the tables on where they lie; the host knows by the same rule what they have become (runtime/devices/cuda/advance.ts).
import type { KernelText } from "../../../ir/kernel/catalogue.ts";
import { MAILBOX } from "../../../ir/system.ts";
import { cudaKernel, inout, input } from "../text/kernel.ts";

const loose = { restrict: false };

export const advanceKernel = (): KernelText =>
  cudaKernel({
    name: "dsc_advance",
    header: [
      "dsc_advance: the tables of the step before, one row on; see runtime/devices/cuda/advance.ts.",
      "Rows that fill the batch up stay the first of their sequence; so would a sequence of one row, which the host then writes.",
    ],
    params: [inout("tables", "i32", loose), input("next", "i32", loose)],
    dims: ["positions_at", "lengths_at", "ids_at", "sequences"],
    launch: { grid: [1, 1, 1], block: MAILBOX.mostIds, sharedBytes: 0, pdl: true },
    definitions: "",
    body: `
  await_previous();
  const int i = threadIdx.x;
  if (i < sequences) {
    if (tables[lengths_at + i] > 1) {
      tables[positions_at + i]++;
      tables[lengths_at + i]++;
    }
    // Negative: logits that are no numbers, which the host will say; the step must not read before its tables.
    tables[ids_at + i] = max(next[i], 0);
  }
  // Nobody starts before the tables are there: attention reads them before it awaits the kernel before it.
  __threadfence();
  __syncthreads();
  release_next();
`,
  });
