// The ends of a step that is a graph: two small kernels read the step's tables from pinned memory of the host and write its ids
// there (runtime/devices/cuda/mailbox.ts). A copy by the driver would take several microseconds on either side.
import type { KernelText } from "../../../ir/kernel/catalogue.ts";
import { ANSWER_WORDS, MAILBOX, SLOT_WORDS } from "../../../ir/system.ts";
import { cudaKernel, inout, input, output } from "../text/kernel.ts";

const loose = { restrict: false };
const BLOCK = 1024;

const sizes = `constexpr int SLOTS = ${MAILBOX.slots}, HEADER = ${MAILBOX.headerBytes / 4};  // words`;

export const beginKernel = (): KernelText =>
  cudaKernel({
    name: "dsc_begin",
    header: [
      "dsc_begin: the beginning of a step that is a graph; see runtime/devices/cuda/mailbox.ts.",
      "The tables of step state[0] into place; where the host does not know the ids yet, they are those of the last step.",
    ],
    params: [
      input("mailbox", "i32", loose),
      input("state", "i32", loose),
      output("tables", "i32", loose),
      input("next", "i32", loose),
    ],
    dims: ["words", "ids_at", "sequences"],
    launch: { grid: [1, 1, 1], block: BLOCK, sharedBytes: 0, pdl: true },
    definitions: sizes,
    body: `
  await_previous();
  const volatile int* slot = mailbox + (long long)(state[0] % SLOTS) * ${SLOT_WORDS};
  // A read of the host's memory takes many microseconds: the flag and the first words are asked for at once.
  const int flag = slot[0];
  int word = threadIdx.x < words ? slot[HEADER + threadIdx.x] : 0;
  for (int i = threadIdx.x; i < words; i += ${BLOCK}) {
    if (i >= ${BLOCK}) word = slot[HEADER + i];
    tables[i] = flag != 0 && i >= ids_at && i < ids_at + sequences ? next[i - ids_at] : word;
  }
  // Nobody starts before the tables are there: attention reads them before it awaits the kernel before it.
  __threadfence();
  __syncthreads();
  release_next();
`,
  });

export const endKernel = (): KernelText =>
  cudaKernel({
    name: "dsc_end",
    header: [
      "dsc_end: the end of a step that is a graph; see runtime/devices/cuda/mailbox.ts.",
      "The ids of the step to the host, then the step's number: whoever sees the number sees the ids.",
    ],
    params: [input("next", "i32", loose), inout("state", "i32", loose), output("answers", "i32", loose)],
    dims: ["sequences"],
    launch: { grid: [1, 1, 1], block: MAILBOX.mostIds, sharedBytes: 0, pdl: true },
    definitions: sizes,
    body: `
  release_next();
  await_previous();
  const int step = state[0];
  volatile int* slot = answers + (step % SLOTS) * ${ANSWER_WORDS};
  if (threadIdx.x < sequences) slot[HEADER + threadIdx.x] = next[threadIdx.x];
  __threadfence_system();
  __syncthreads();
  if (threadIdx.x == 0) {
    state[0] = step + 1;
    slot[0] = step + 1;
  }
`,
  });
