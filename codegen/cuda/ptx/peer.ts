// Memory of other GPUs, and of the host: loads and stores that are seen across them, the time that all multiprocessors share, and the end
// of a kernel that cannot go on.
import { device, type Entry } from "./entry.ts";

export const peer: readonly Entry[] = [
  device({
    doc: "Two words, each whole for whoever reads it, on whatever GPU; in no order among others.",
    is: "void st_relaxed_sys_v2_u64(u64* to, u64 a, u64 b)",
    does: `asm volatile("st.relaxed.sys.global.v2.b64 [%0], {%1, %2};" :: "l"(to), "l"(a), "l"(b) : "memory");`,
    host: "__atomic_store_n(to, a, __ATOMIC_RELAXED); __atomic_store_n(to + 1, b, __ATOMIC_RELAXED);",
  }),
  device({
    doc: "Two words that another GPU may just be writing, each whole.",
    is: "void ld_relaxed_sys_v2_u64(const u64* p, u64& a, u64& b)",
    does: `asm volatile("ld.relaxed.sys.global.v2.b64 {%0, %1}, [%2];" : "=l"(a), "=l"(b) : "l"(p) : "memory");`,
    host: "a = __atomic_load_n(p, __ATOMIC_RELAXED); b = __atomic_load_n(p + 1, __ATOMIC_RELAXED); let_others_run();",
  }),
  device({
    doc: "Nanoseconds, the same on every multiprocessor.",
    is: "u64 globaltimer()",
    does: `u64 ns; asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns)); return ns;`,
    host: "return host_nanoseconds();",
  }),
  device({ is: "void trap()", does: `asm volatile("trap;");`, host: `fail("trap");` }),
];
