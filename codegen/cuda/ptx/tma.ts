// TMA: copies of boxes of a tensor, which one thread asks for. Coordinates run from the innermost dimension. A box is 128-byte
// swizzled where the map says so, and holds zeros outside the tensor; the barrier counts the bytes either way.
import { device, type Entry } from "./entry.ts";

const names = ["x", "y", "z", "w"];
const xs = (rank: number): string =>
  names
    .slice(0, rank)
    .map((n) => `int ${n}`)
    .join(", ");
const registers = (rank: number): string =>
  names
    .slice(0, rank)
    .map((n) => `"r"(${n})`)
    .join(", ");
const numbers = (rank: number, from: number): string =>
  names
    .slice(0, rank)
    .map((_, i) => `%${i + from}`)
    .join(", ");
const four = (rank: number): string => names.map((n, i) => (i < rank ? n : "0")).join(", ");
const loading = (rank: number): string =>
  `cp.async.bulk.tensor.${rank}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes`;

const load = (rank: number): Entry =>
  device({
    doc:
      rank === 2
        ? "TMA writes a box of the tensor, 128-byte swizzled, zeros outside the tensor; the bytes count either way."
        : "",
    is: `void tma_load_${rank}d(u32 to, const TensorMap* map, u32 barrier, ${xs(rank)})`,
    does: `asm volatile("${loading(rank)} [%0], [%1, {${numbers(rank, 3)}}], [%2];"
             :: "r"(to), "l"(map), "r"(barrier), ${registers(rank)} : "memory");`,
    host: `box_to(self->block, to, map, barrier, ${four(rank)});`,
  });

const loadHint = (rank: number): Entry =>
  device({
    is: `void tma_load_${rank}d_hint(u32 to, const TensorMap* map, u32 barrier, ${xs(rank)}, u64 policy)`,
    does: `asm volatile("${loading(rank)}.L2::cache_hint "
             "[%0], [%1, {${numbers(rank, 3)}}], [%2], %${rank + 3};"
             :: "r"(to), "l"(map), "r"(barrier), ${registers(rank)}, "l"(policy) : "memory");`,
    host: `box_to(self->block, to, map, barrier, ${four(rank)});`,
  });

const loadMulticast = (rank: number): Entry =>
  device({
    doc: "To the same place in every block of the cluster that `ranks` has a bit for, counted by the barrier of each.",
    is: `void tma_load_${rank}d_multicast(u32 to, const TensorMap* map, u32 barrier, ${xs(rank)}, u16 ranks)`,
    does: `asm volatile("${loading(rank)}.multicast::cluster "
             "[%0], [%1, {${numbers(rank, 3)}}], [%2], %${rank + 3};"
             :: "r"(to), "l"(map), "r"(barrier), ${registers(rank)}, "h"(ranks) : "memory");`,
    host: `for (Block* b : self->block->cluster->blocks) if (ranks >> b->rank & 1) box_to(b, to, map, barrier, ${four(rank)});`,
  });

const store = (rank: number): Entry =>
  device({
    doc: rank === 2 ? "A box on its way from shared memory; what lies outside the tensor is left out." : "",
    is: `void tma_store_${rank}d(const TensorMap* map, u32 from, ${xs(rank)})`,
    does: `asm volatile("cp.async.bulk.tensor.${rank}d.global.shared::cta.tile.bulk_group [%0, {${numbers(rank, 2)}}], [%1];"
             :: "l"(map), "r"(from), ${registers(rank)} : "memory");`,
    host: `box_from(map, from, ${four(rank)});`,
  });

export const tma: readonly Entry[] = [
  device({
    doc: "Bytes in a row on their way from memory to L2, multiples of 16.",
    is: "void prefetch_l2(const void* from, u32 bytes)",
    does: `asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" :: "l"(from), "r"(bytes) : "memory");`,
    host: `if ((u64)from % 16 || bytes % 16) fail("bytes are no whole words of 16");`,
  }),
  device({
    is: "void tma_prefetch_descriptor(const TensorMap* map)",
    does: `asm volatile("prefetch.tensormap [%0];" :: "l"(map) : "memory");`,
    host: "",
  }),
  device({
    doc: "A box on its way from memory to L2, ahead of the copy that will want it.",
    is: "void tma_prefetch_3d(const TensorMap* map, int x, int y, int z)",
    does: `asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global.tile [%0, {%1, %2, %3}];"
             :: "l"(map), "r"(x), "r"(y), "r"(z) : "memory");`,
    host: "",
  }),
  device({
    doc: `Weights are read once a step and go first when L2 needs room: kernels, gains and rows stay, and so need not queue for memory
behind the rings of the kernels that follow.`,
    is: "u64 l2_evict_first()",
    does: `u64 policy; asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy)); return policy;`,
    host: "return 0;",
  }),
  load(2),
  load(3),
  load(4),
  loadHint(2),
  loadHint(3),
  loadHint(4),
  loadMulticast(2),
  loadMulticast(3),
  store(2),
  store(3),
  device({ is: "void tma_store_commit()", does: `asm volatile("cp.async.bulk.commit_group;" ::: "memory");`, host: "" }),
  device({
    doc: "But for the last LATER stores: the shared side may be written again; the global side may still be on its way.",
    is: "template <int LATER> void tma_store_wait_read()",
    does: `asm volatile("cp.async.bulk.wait_group.read %0;" :: "n"(LATER) : "memory");`,
    host: "",
  }),
  device({ is: "void tma_store_wait()", does: `asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");`, host: "" }),
  device({
    doc: "Bytes in a row, multiples of 16.",
    is: "void cp_async_bulk(u32 to, const void* from, u32 bytes, u32 barrier)",
    does: `asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
             :: "r"(to), "l"(from), "r"(bytes), "r"(barrier) : "memory");`,
    host: `Block* b = self->block;
if (to % 16 || (u64)from % 16 || bytes % 16) fail("bytes are no whole words of 16");
copies.push_back([=] { memcpy(b->shared + to, from, bytes); settle(barrier_at(b, barrier), 0, -(long)bytes); });`,
  }),
  device({
    doc: "Ordinary stores to shared memory become visible to TMA and to the tensor cores.",
    is: "void fence_proxy_async()",
    does: `asm volatile("fence.proxy.async.shared::cta;" ::: "memory");`,
    host: "",
  }),
];
