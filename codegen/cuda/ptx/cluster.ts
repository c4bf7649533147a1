// Blocks of a cluster: their barrier, and each other's shared memory.
import { device, type Entry } from "./entry.ts";

/** An address of this block's shared memory becomes that of the same place in another block of the cluster. */
export const mapa = (to: string, from: string, rank: string): string => `mapa.shared::cluster.u32 ${to}, ${from}, ${rank};`;

export const cluster: readonly Entry[] = [
  device({
    is: "u32 cluster_rank()",
    does: `u32 r; asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r)); return r;`,
    host: "return self->block->rank;",
  }),
  device({
    is: "void cluster_sync()",
    does: `asm volatile("barrier.cluster.arrive.release.aligned;\\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");`,
    host: "meet_cluster();",
  }),
  device({
    doc: "Nothing is handed over, the blocks only leave together: no fence, which would wait until y has reached memory.",
    is: "void cluster_sync_relaxed()",
    does: `asm volatile("barrier.cluster.arrive.relaxed.aligned;\\nbarrier.cluster.wait.aligned;" ::: "memory");`,
    host: "meet_cluster();",
  }),
  device({
    doc: "In halves, and without order among ordinary accesses, which would be a fence of all memory: for barriers, which have their own.",
    is: "void cluster_arrive_relaxed()",
    does: `asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");`,
    host: "arrive_cluster();",
  }),
  device({
    is: "void cluster_wait()",
    does: `asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");`,
    host: "await_cluster();",
  }),
  device({
    doc: "The same variable in another block of the cluster.",
    is: "template <class T> T* at_rank(T* p, u32 rank)",
    does: `T* there; asm volatile("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(p), "r"(rank)); return there;`,
    host: "return (T*)((u8*)p - self->block->shared + self->block->cluster->blocks[rank]->shared);",
  }),
  device({
    doc: "From the same place in another block's shared memory.",
    is: "float4 ld_shared_cluster_v4_f32(u32 from, u32 rank)",
    does: `float4 v;
asm volatile("{\\n.reg .b32 there;\\n${mapa("there", "%4", "%5")}\\n"
             "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [there];\\n}"
             : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(from), "r"(rank) : "memory");
return v;`,
    host: "return load_as<float4>(from, rank);",
  }),
  device({
    doc: "Registers to the shared memory of a block of the cluster, at the place it has in one's own; its barrier counts the bytes.",
    is: "void st_async_v4_f32(u32 to, u32 rank, u32 barrier, float4 v)",
    does: `asm volatile("{\\n.reg .b32 there, full;\\n${mapa("there", "%0", "%1")}\\n${mapa("full", "%2", "%1")}\\n"
             "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [there], {%3, %4, %5, %6}, [full];\\n}"
             :: "r"(to), "r"(rank), "r"(barrier), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w) : "memory");`,
    host: "Block* b = self->block->cluster->blocks[rank]; memcpy(b->shared + to, &v, 16); settle(barrier_at(b, barrier), 0, -16);",
  }),
  device({
    doc: "Bytes to the same place in another block of the cluster, counted by its barrier.",
    is: "void cp_async_bulk_cluster(u32 to, u32 from, u32 bytes, u32 barrier, u32 rank)",
    does: `asm volatile("{\\n.reg .b32 there, counted;\\n${mapa("there", "%0", "%4")}\\n${mapa("counted", "%3", "%4")}\\n"
             "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [there], [%1], %2, [counted];\\n}"
             :: "r"(to), "r"(from), "r"(bytes), "r"(barrier), "r"(rank) : "memory");`,
    host: `Block* here = self->block; Block* there = here->cluster->blocks[rank];
copies.push_back([=] { memcpy(there->shared + to, here->shared + from, bytes); settle(barrier_at(there, barrier), 0, -(long)bytes); });`,
  }),
];
