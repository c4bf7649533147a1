// Sums over ranks by mailboxes. Few words: every rank sends all it has to every other, and adds for itself. More: a rank adds the part
// of its own number and sends the sum, so that words cross twice and fewer of them. Rank order either way: all have the same bits.
import type { KernelText } from "../../../ir/kernel/catalogue.ts";
import { ceildiv } from "../../../ir/size.ts";
import { cudaKernel } from "../text/kernel.ts";
import { lines } from "../text/lines.ts";
import { BLOCK, exchangeDefinitions, exchangeLaunch, exchangeParams, sumDefinitions, wordDefinitions } from "./exchange.ts";

const units = ceildiv("words", 2);
const definitions = `${exchangeDefinitions}\n${wordDefinitions}\n${sumDefinitions}`;
const enter = (block: number): string => `  await_previous();
  const Exchange e = enter(mailboxes, control, rank, ranks, what, limit_ms);
  const int units = (words + 1) / 2, first = blockIdx.x * ${block} + threadIdx.x, step = gridDim.x * ${block};`;

export const pushReduceKernel = (block = BLOCK): KernelText =>
  cudaKernel({
    name: "dsc_push_reduce",
    header: [
      "dsc_push_reduce: the sum over ranks of x [words], words of f32 or pairs of bf16, by mailboxes (codegen/cuda/mailbox/exchange.ts).",
      "Every rank sends all of its x to every other.",
    ],
    params: exchangeParams(),
    dims: ["words"],
    launch: exchangeLaunch(units, block),
    definitions,
    body: lines(
      enter(block),
      `  for (int i = first; i < units; i += step) push(e, i, unit_of(x, words, i));
  for (int i = first; i < units; i += step) {
    Sum sum;
    for (int r = 0; r < ranks; r++) add_unit(sum, r == 0, bf16, r == rank ? unit_of(x, words, i) : received(e, r, i));
    keep_unit(y, words, i, unit_of_sum(sum, bf16));
  }
  leave(e);`,
    ),
  });

export const pushReducePartsKernel = (block = BLOCK): KernelText =>
  cudaKernel({
    name: "dsc_push_reduce_parts",
    header: [
      "dsc_push_reduce_parts: the same sum, in two crossings: rank r adds part r of the ranks' x and sends it to all.",
      "Parts of x come into the first units of a slot, sums into those behind.",
    ],
    params: exchangeParams(),
    dims: ["words"],
    launch: exchangeLaunch(units, block),
    definitions,
    body: lines(
      enter(block),
      `  const int part = (units + ranks - 1) / ranks;
  for (int j = first; j < part; j += step)
    for (int r = 1; r < ranks; r++) {
      const int peer = (rank + r) % ranks, i = peer * part + j;
      if (i < units) push_to(e, peer, j, unit_of(x, words, i));
    }
  for (int j = first; j < part && rank * part + j < units; j += step) {
    Sum sum;
    const int i = rank * part + j;
    for (int r = 0; r < ranks; r++) add_unit(sum, r == 0, bf16, r == rank ? unit_of(x, words, i) : received(e, r, j));
    const uint2 total = unit_of_sum(sum, bf16);
    push(e, part + j, total);
    keep_unit(y, words, i, total);
  }
  for (int j = first; j < part; j += step)
    for (int r = 0; r < ranks; r++)
      if (r != rank && r * part + j < units) keep_unit(y, words, r * part + j, received(e, r, part + j));
  leave(e);`,
    ),
  });
