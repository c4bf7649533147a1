// own_experts of a rank on a GPU (ir/ops/collective.ts): it depends on the rank and on nothing that another rank has.
import type { KernelText } from "../../../ir/kernel/catalogue.ts";
import { ceildiv } from "../../../ir/size.ts";
import { cudaKernel, input, output, scalar } from "../text/kernel.ts";

const BLOCK = 256;

export const ownExpertsKernel = (): KernelText =>
  cudaKernel({
    name: "dsc_own_experts",
    header: [
      "dsc_own_experts: the choice of experts as this rank sees it: it has experts of them, from number first on.",
      "An expert of another rank counts with weight 0 for one that is here.",
    ],
    params: [
      input("indices", "i32"),
      input("weights", "f32"),
      output("own", "i32"),
      output("by", "f32"),
      ...["first", "experts"].map((name) => scalar(name, "i32")),
    ],
    dims: ["count"],
    launch: { grid: [ceildiv("count", BLOCK), 1, 1], block: BLOCK, sharedBytes: 0 },
    definitions: "",
    body: `
  const int i = blockIdx.x * ${BLOCK} + threadIdx.x;
  if (i >= count) return;
  const int chosen = indices[i];
  const bool here = chosen >= first && chosen < first + experts;
  own[i] = here ? chosen - first : chosen % experts;
  by[i] = here ? weights[i] : 0.f;
`,
  });
