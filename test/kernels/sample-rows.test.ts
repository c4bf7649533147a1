// The kernel that draws ids against the sampler that defines them: the same ids, whatever lies in the logits and for any options,
// rows with options of their own in one launch.
import { describe, expect, test } from "vitest";
import { h200 } from "../../codegen/cuda/arch/h200.ts";
import { sampleKernel, type SampleShape } from "../../codegen/cuda/system/sample.ts";
import { nativeOnHost } from "./native-on-host.ts";
import { sampleRows } from "./sample-rows.ts";
import { lacks } from "../conditions.ts";

describe.skipIf(lacks("g++ 12")).each<[number, SampleShape]>([
  [67, { blocks: 1, threads: 64 }],
  [1292, { blocks: 1, threads: 128 }],
  [5003, { blocks: 8, threads: 128 }],
])("%i ids, %j", (vocab, shape) => {
  test("the kernel draws what the sampler draws", () => {
    const kernel = nativeOnHost(sampleKernel(vocab, h200, shape));
    const { buffers, want } = sampleRows(vocab);
    const y = new Int32Array(kernel.run(buffers, { m: want.length }, { SMs: 4 }).buffer);
    kernel.close();
    expect([...y]).toEqual(want);
  });
});
