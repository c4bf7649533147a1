// mbarriers and named barriers. A full barrier counts bytes of copies, an empty barrier counts warps that have read the stage.
import { mapa } from "./cluster.ts";
import { device, type Entry } from "./entry.ts";

export const barriers: readonly Entry[] = [
  device({
    is: "void mbarrier_init(u32 barrier, u32 arrivals)",
    does: `asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(barrier), "r"(arrivals) : "memory");`,
    host: "Barrier m; m.expected = m.pending = arrivals; m.made = true; self->block->barriers[barrier] = m;",
  }),
  device({
    doc: "Barriers must be visible to TMA (async proxy) and to the cluster before the first copy names them.",
    is: "void fence_mbarrier_init()",
    does: `asm volatile("fence.mbarrier_init.release.cluster;\\nfence.proxy.async.shared::cta;" ::: "memory");`,
    host: "",
  }),
  device({
    doc: "Arrives, and adds bytes of copies to what the phase waits for.",
    is: "void mbarrier_arrive_expect_tx(u32 barrier, u32 bytes)",
    does: `asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(barrier), "r"(bytes) : "memory");`,
    host: "settle(barrier_at(self->block, barrier), 1, bytes);",
  }),
  device({
    is: "void mbarrier_arrive(u32 barrier)",
    does: `asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(barrier) : "memory");`,
    host: "settle(barrier_at(self->block, barrier), 1, 0);",
  }),
  device({
    doc: "At the barrier that another block of the cluster has at this place.",
    is: "void mbarrier_arrive_cluster(u32 barrier, u32 rank)",
    does: `asm volatile("{\\n.reg .b32 there;\\n${mapa("there", "%0", "%1")}\\n"
             "mbarrier.arrive.shared::cluster.b64 _, [there];\\n}" :: "r"(barrier), "r"(rank) : "memory");`,
    host: "settle(barrier_at(self->block->cluster->blocks[rank], barrier), 1, 0);",
  }),
  device({
    is: "void mbarrier_wait(u32 barrier, u32 parity)",
    does: `asm volatile("{\\n.reg .pred done;\\nAGAIN: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\\n"
             "@done bra DONE;\\nbra AGAIN;\\nDONE:\\n}" :: "r"(barrier), "r"(parity) : "memory");`,
    host: "wait_while(barrier_at(self->block, barrier).phase, parity);",
  }),
  device({
    doc: "Stands still for some nanoseconds, up to twice as many.",
    is: "void stand_ns(u32 ns)",
    does: `asm volatile("nanosleep.u32 %0;" :: "r"(ns) : "memory");`,
    host: "",
  }),
  device({
    doc: "Whether a phase has ended.",
    is: "bool mbarrier_test(u32 barrier, u32 parity)",
    does: `u32 done;
asm volatile("{\\n.reg .pred done;\\nmbarrier.test_wait.parity.shared::cta.b64 done, [%1], %2;\\n"
             "selp.u32 %0, 1, 0, done;\\n}" : "=r"(done) : "r"(barrier), "r"(parity) : "memory");
return done;`,
    host: "return barrier_at(self->block, barrier).phase != (int)parity;",
  }),
  device({
    doc: "A barrier among some warps of the block; 0 is the whole block's.",
    is: "void bar_sync(int id, int threads)",
    does: `asm volatile("bar.sync %0, %1;" :: "r"(id), "r"(threads) : "memory");`,
    host: "meet(id, threads);",
  }),
  device({
    doc: "Arrives and goes on.",
    is: "void bar_arrive(int id, int threads)",
    does: `asm volatile("bar.arrive %0, %1;" :: "r"(id), "r"(threads) : "memory");`,
    host: "arrive(self->block->meetings[id], threads);",
  }),
];
