// Absorbed attention of 16 and 20 heads on the card (DeepSeek-V2-Lite, Moonlight, Youtu-LLM; GLM-4.7-Flash): both forms against float64,
// then their times beside the floor for batches of 1 to 64 and contexts to 32768.
import type { Cuda } from "../../runtime/devices/cuda/index.ts";
import { next } from "./bf16-pool.ts";
import type { Row } from "./device.ts";
import {
  arena,
  batchOf,
  buffersOf,
  checkOne,
  floorOf,
  formOf,
  kernel,
  release,
  shuffled,
  time,
  type Form,
} from "./mla-decode.ts";

const PAGE = 64;
/** Bytes of a page of the cache. */
const PAGE_BYTES = PAGE * 576 * 2;

const FORMS: readonly [heads: number, forms: readonly Form[]][] = [
  [16, ["balanced", "fixed16", "fixed16x16", "fixed16x2a", "fixed16x4a", "fixed16x8a"]],
  [20, ["balanced", "fixed16", "fixed16x16", "fixed24", "fixed32x16", "fixed24x2a", "fixed24x4a", "fixed24x8a"]],
];

export async function check(cuda: Cuda): Promise<Row[]> {
  const most = 64 * 64;
  const a = arena(cuda, most, 400);
  const out: Row[] = [];
  const ragged = Array.from({ length: 37 }, () => 1 + (next() % 3000));
  const batches: readonly [number[], number][] = [
    ...[1, 63, 64, 65, 1000, 4097, 32768].map((n): [number[], number] => [[n], 1]),
    [[1, 63, 64, 65, 1000], 1],
    [[2, 3, 64, 65, 66, 1000, 5000], 2],
    [ragged, 1],
    [Array.from({ length: 300 }, () => 1 + (next() % 100)), 1],
    [Array<number>(64).fill(4096), 1],
  ];
  for (const [heads, forms] of FORMS)
    for (const [lengths, queries] of batches)
      for (const form of forms)
        out.push(
          checkOne(
            cuda,
            a,
            batchOf(a, lengths, queries, next() % most),
            heads,
            `${lengths.length} of ${Math.max(...lengths)}, ${queries} each`,
            form,
          ),
        );
  release(cuda, a);
  return out;
}

export async function measure(cuda: Cuda): Promise<Row[]> {
  const most = (64 * 32768) / PAGE;
  const a = arena(cuda, most, 64);
  const out: Row[] = [];
  for (const [heads, forms] of FORMS)
    for (const batch of [1, 4, 8, 16, 32, 64])
      for (const cached of [64, 1024, 1040, 2000, 4096, 8192, 32768]) {
        const pages = batch * Math.ceil(cached / PAGE);
        const copies = Math.max(1, Math.min(Math.ceil(150e6 / (pages * PAGE_BYTES)) + 1, Math.floor(most / pages), 200));
        const b = batchOf({ ...a, pages, order: shuffled(pages) }, Array<number>(batch).fill(cached), 1);
        const buffers = buffersOf(cuda, a, b);
        const sets = Array.from({ length: copies }, (_, i) => ({ ...buffers, cache: a.cache + i * pages * PAGE_BYTES }));
        const chosen = formOf(heads, b);
        const times = forms.map((form) => ({ form, us: time(cuda, kernel(cuda, heads, form), b, sets) }));
        for (const name of ["positions", "sequence", "pages"]) cuda.free(buffers[name]);
        const { us } = times.find((t) => t.form === chosen)!;
        const floor = floorOf(batch, cached, 1, heads);
        out.push({
          heads,
          batch,
          cached,
          form: chosen,
          us,
          floor_us: floor.us,
          gb_per_s: floor.bytes / us / 1e3,
          all: times.map((t) => `${t.form} ${t.us.toFixed(1)}`).join(", "),
        });
      }
  release(cuda, a);
  return out;
}
