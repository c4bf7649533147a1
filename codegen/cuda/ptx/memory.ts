// Loads and stores of a form that C++ does not choose by itself.
import { device, type Entry } from "./entry.ts";
import { when } from "../../text.ts";

const here = "self->block->shared";
const fields: Readonly<Record<string, readonly string[]>> = {
  float2: [".x", ".y"],
  float4: [".x", ".y", ".z", ".w"],
  uint4: [".x", ".y", ".z", ".w"],
};

interface Load {
  doc?: string;
  host?: string;
  /** Whether it keeps its place among other accesses of memory. */
  ordered?: boolean;
}

/** A load from shared memory (`from`) or from global memory (`p`) by one instruction, of as many words as its type has. */
function load(is: string, instruction: string, { doc, host, ordered = true }: Load = {}): Entry {
  const type = is.slice(0, is.indexOf(" "));
  const isShared = is.endsWith("(u32 from)");
  const words = fields[type] ?? [""];
  const into = words.length === 1 ? "%0" : `{${words.map((_, i) => `%${i}`).join(", ")}}`;
  const register = type.startsWith("float") ? "f" : "r";
  const results = words.map((w) => `"=${register}"(v${w})`).join(", ");
  const address = isShared ? '"r"(from)' : '"l"(p)';
  const operands = `: ${results} : ${address}${when(ordered, ' : "memory"')}`;
  const [space, line] = words.length === 4 ? ["\n             ", "\n"] : [" ", " "];
  return device({
    is,
    doc,
    does: `${type} v;${line}asm volatile("${instruction} ${into}, [%${words.length}];"${space}${operands});${line}return v;`,
    host: host ?? (isShared ? `return load_as<${type}>(from, self->block->rank);` : "return *p;"),
  });
}

export const shared: readonly Entry[] = [
  load("u32 ld_shared_u32(u32 from)", "ld.shared.u32"),
  load("float ld_shared_f32(u32 from)", "ld.shared.f32"),
  load("float2 ld_shared_v2_f32(u32 from)", "ld.shared.v2.f32"),
  load("float4 ld_shared_v4_f32(u32 from)", "ld.shared.v4.f32"),
  load("uint4 ld_shared_v4_u32(u32 from)", "ld.shared.v4.u32"),
  device({
    is: "void st_shared_u32(u32 to, u32 v)",
    does: `asm volatile("st.shared.u32 [%0], %1;" :: "r"(to), "r"(v) : "memory");`,
    host: `memcpy(${here} + to, &v, 4);`,
  }),
  device({
    is: "void st_shared_f32(u32 to, float v)",
    does: `asm volatile("st.shared.f32 [%0], %1;" :: "r"(to), "f"(v) : "memory");`,
    host: `memcpy(${here} + to, &v, 4);`,
  }),
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

const OTHER_BLOCK = "From L2: another block wrote it.";
const EARLIER_KERNEL = "From L2: nothing of what an earlier kernel wrote may come from what this multiprocessor still holds.";

export const global: readonly Entry[] = [
  load("float ld_global_nc_f32(const float* p)", "ld.global.nc.f32", {
    doc: "volatile pins the load above the wgmma chain, whose run time hides its latency.",
    ordered: false,
  }),
  load("uint4 ld_global_stream_v4_u32(const u16* p)", "ld.global.L1::no_allocate.L2::256B.v4.u32", {
    doc: `Weights are read once: not kept in L1, and L2 fetches whole 256 bytes. No ld.global.nc: the assembler moves such a load to
where it suits it, and that was behind the wait for the kernel before, which weights are meant to overtake.`,
    host: "uint4 v; memcpy(&v, p, 16); return v;",
  }),
  load("float4 ld_global_cg_v4_f32(const float4* p)", "ld.global.cg.v4.f32", { doc: OTHER_BLOCK }),
  load("uint4 ld_global_cg_v4_u32(const uint4* p)", "ld.global.cg.v4.u32", { doc: OTHER_BLOCK }),
  load("int ld_global_cg_s32(const int* p)", "ld.global.cg.s32", {
    doc: "From L2: a kernel that may still have run when this one started wrote it.",
  }),
  load("int ld_relaxed_s32(const int* p)", "ld.relaxed.gpu.global.s32", { doc: EARLIER_KERNEL }),
  load("float ld_relaxed_f32(const float* p)", "ld.relaxed.gpu.global.f32", { doc: EARLIER_KERNEL }),
  load("int ld_acquire_s32(const int* p)", "ld.acquire.gpu.global.s32", {
    doc: "Blocks that meet at a counter: what the others wrote before they raised it may be read by whoever has seen it raised.",
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
