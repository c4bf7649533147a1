// Loads and stores of a form that C++ does not choose by itself.
import { device, type Entry } from "./entry.ts";

const here = "self->block->shared";
const loaded = (type: string): string => `return load_as<${type}>(from, self->block->rank);`;
const x4 = (kind: "r" | "f"): string => ["x", "y", "z", "w"].map((e) => `"=${kind}"(v.${e})`).join(", ");

/** Four words by one address; an instruction of four results. */
const load4 = (is: string, instruction: string, from: "r" | "l", host: string, doc = ""): Entry => {
  const u32s = is.startsWith("uint4");
  return device({
    is, doc, host,
    does: `${u32s ? "uint4" : "float4"} v;
asm volatile("${instruction} {%0, %1, %2, %3}, [%4];"
             : ${x4(u32s ? "r" : "f")} : "${from}"(${from === "r" ? "from" : "p"}) : "memory");
return v;`,
  });
};

export const shared: readonly Entry[] = [
  device({ is: "u32 ld_shared_u32(u32 from)", does: `u32 v; asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(from) : "memory"); return v;`, host: loaded("u32") }),
  device({ is: "float ld_shared_f32(u32 from)", does: `float v; asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(from) : "memory"); return v;`, host: loaded("float") }),
  device({
    is: "float2 ld_shared_v2_f32(u32 from)",
    does: `float2 v; asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(from) : "memory"); return v;`,
    host: loaded("float2"),
  }),
  load4("float4 ld_shared_v4_f32(u32 from)", "ld.shared.v4.f32", "r", loaded("float4")),
  load4("uint4 ld_shared_v4_u32(u32 from)", "ld.shared.v4.u32", "r", loaded("uint4")),
  device({ is: "void st_shared_u32(u32 to, u32 v)", does: `asm volatile("st.shared.u32 [%0], %1;" :: "r"(to), "r"(v) : "memory");`, host: `memcpy(${here} + to, &v, 4);` }),
  device({ is: "void st_shared_f32(u32 to, float v)", does: `asm volatile("st.shared.f32 [%0], %1;" :: "r"(to), "f"(v) : "memory");`, host: `memcpy(${here} + to, &v, 4);` }),
  device({
    is: "void st_shared_v2_f32(u32 to, float a, float b)",
    does: `asm volatile("st.shared.v2.f32 [%0], {%1, %2};" :: "r"(to), "f"(a), "f"(b) : "memory");`,
    host: `const float v[2] = {a, b}; memcpy(${here} + to, v, 8);`,
  }),
  device({
    is: "void st_shared_v4_u32(u32 to, uint4 v)",
    does: `asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" :: "r"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");`,
    host: `memcpy(${here} + to, &v, 16);`,
  }),
];

export const global: readonly Entry[] = [
  device({
    doc: "volatile pins the load above the wgmma chain, whose run time hides its latency.",
    is: "float ld_global_nc_f32(const float* p)",
    does: `float v; asm volatile("ld.global.nc.f32 %0, [%1];" : "=f"(v) : "l"(p)); return v;`,
    host: "return *p;",
  }),
  load4(
    "uint4 ld_global_stream_v4_u32(const u16* p)", "ld.global.L1::no_allocate.L2::256B.v4.u32", "l", "uint4 v; memcpy(&v, p, 16); return v;",
    "Weights are read once: not kept in L1, and L2 fetches whole 256 bytes. No ld.global.nc: the assembler moves such a load to\nwhere it suits it, and that was behind the wait for the kernel before, which weights are meant to overtake.",
  ),
  load4("float4 ld_global_cg_v4_f32(const float4* p)", "ld.global.cg.v4.f32", "l", "return *p;", "From L2: another block wrote it."),
  load4("uint4 ld_global_cg_v4_u32(const uint4* p)", "ld.global.cg.v4.u32", "l", "return *p;", "From L2: another block wrote it."),
  device({
    doc: "From L2: a kernel that may still have run when this one started wrote it.",
    is: "int ld_global_cg_s32(const int* p)",
    does: `int v; asm volatile("ld.global.cg.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory"); return v;`,
    host: "return *p;",
  }),
  device({
    doc: "From L2: nothing of what an earlier kernel wrote may come from what this multiprocessor still holds.",
    is: "int ld_relaxed_s32(const int* p)",
    does: `int v; asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory"); return v;`,
    host: "return *p;",
  }),
  device({
    doc: "From L2: nothing of what an earlier kernel wrote may come from what this multiprocessor still holds.",
    is: "float ld_relaxed_f32(const float* p)",
    does: `float v; asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(v) : "l"(p) : "memory"); return v;`,
    host: "return *p;",
  }),
  device({
    doc: "Blocks that meet at a counter: what the others wrote before they raised it may be read by whoever has seen it raised.",
    is: "int ld_acquire_s32(const int* p)",
    does: `int v; asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory"); return v;`,
    host: "wait(); return *(volatile const int*)p;",
  }),
  device({
    doc: "Raises a counter by one, behind everything this thread has seen written.",
    is: "void red_release_increment(int* p)",
    does: `asm volatile("red.release.gpu.global.add.s32 [%0], 1;" :: "l"(p) : "memory");`,
    host: "++*p; waits = 0;",
  }),
  device({
    doc: "One store: left to itself the compiler makes four of it.",
    is: "void st_global_v4_u32(u16* to, u32 a, u32 b, u32 c, u32 d)",
    does: `asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" :: "l"(to), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");`,
    host: `if ((u64)to % 16) fail("a store of 16 bytes elsewhere than at a multiple of 16");
const u32 v[4] = {a, b, c, d};
memcpy(to, v, 16);`,
  }),
];
