// Under compute-sanitizer (race.ts): one compiled kernel of MLA decode over batches that reach each of its ways: one row, a stage and
// its neighbours, several stages a block, ragged sequences, more tokens than clusters.
import { readFileSync } from "node:fs";
import type { Cuda } from "../../runtime/devices/cuda/index.ts";
import { arena, batchOf, buffersOf, forms, release } from "./mla-decode.ts";
import type { Row } from "./device.ts";
import { kernels } from "./race.ts";

const batches: readonly (readonly [lengths: number[], queries: number])[] = [
  [[1], 1],
  [[63], 1],
  [[65], 1],
  [[130], 1],
  [[1100], 1],
  [[2, 66, 700], 2],
  [[5, 300, 64, 1000, 17, 129, 40], 1],
  [Array.from({ length: 40 }, (_, i) => 1 + i * 13), 1],
];

export async function check(cuda: Cuda): Promise<Row[]> {
  const [form, heads] = kernels[process.env.DSC_RACE_KERNEL!];
  const text = forms[form](heads);
  const kernel = cuda.loadCubin(readFileSync(process.env.DSC_RACE_CUBIN!), { ...text, launch: { ...text.launch, pdl: false } });
  const a = arena(cuda, 256, 64);
  for (const [lengths, queries] of batches) {
    const b = batchOf(a, lengths, queries);
    cuda.launch(kernel, buffersOf(cuda, a, b), { T: b.T, P: b.P });
    cuda.synchronize();
  }
  release(cuda, a);
  return [];
}
