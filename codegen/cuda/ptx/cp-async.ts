// cp.async: words copied to shared memory without passing through registers, each by the thread that asks.
import { device, type Entry } from "./entry.ts";

export const cpAsync: readonly Entry[] = [
  device({
    is: "void cp_async_4(u32 to, const void* from)",
    does: `asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" :: "r"(to), "l"(from) : "memory");`,
    host: "memcpy(self->block->shared + to, from, 4);",
  }),
  device({
    is: "void cp_async_16(u32 to, const void* from)",
    does: `asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(to), "l"(from) : "memory");`,
    host: "memcpy(self->block->shared + to, from, 16);",
  }),
  device({
    doc: "All copies of this thread are there.",
    is: "void cp_async_wait_all()",
    does: `asm volatile("cp.async.wait_all;" ::: "memory");`,
    host: "",
  }),
];
