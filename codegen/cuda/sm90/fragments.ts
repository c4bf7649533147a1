// CUDA text shared by the native sm_90a kernels: types, mbarriers, bulk tensor copies, fp8 wgmma, bf16 stores.
// Each fragment is a few device functions a reader can hold in the head; a kernel prints only those it calls.
// Nothing needs a header, so NVRTC and nvcc take the same text. Shared addresses are 32-bit (`u32`) everywhere.

/** Names of the fragments, in the order they are printed. */
export type Fragment =
  | "types" | "barriers" | "cluster" | "dependent" | "load" | "multicast" | "store" | "wgmma" | "registers" | "scales" | "bf16" | "gather" | "chunks" | "floats" | "remote" | "send" | "meet" | "async" | "pieces";

const indent = (text: string): string => text.trim() + "\n";

const types = indent(`
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
struct __align__(64) TensorMap { u64 words[16]; };  // CUtensorMap, opaque

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
`);

// A full barrier counts bytes of the copies, an empty barrier counts warps that have read the stage.
const barriers = indent(`
__device__ __forceinline__ void barrier_init(u32 barrier, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(barrier), "r"(arrivals) : "memory");
}
// Barriers must be visible to the copy engine (async proxy) and to the cluster before the first copy names them.
__device__ __forceinline__ void barrier_init_done() {
  asm volatile("fence.mbarrier_init.release.cluster;\\nfence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void barrier_expect(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void barrier_arrive(u32 barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(barrier) : "memory");
}
__device__ __forceinline__ void barrier_wait(u32 barrier, u32 parity) {
  asm volatile("{\\n.reg .pred done;\\nAGAIN: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\\n"
               "@done bra DONE;\\nbra AGAIN;\\nDONE:\\n}" :: "r"(barrier), "r"(parity) : "memory");
}
// A barrier among some warps of the block; 0 is the whole block's.
__device__ __forceinline__ void group_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" :: "r"(id), "r"(threads) : "memory");
}
`);

// Programmatic dependent launch: blocks of the next kernel start as these leave. What the kernel before wrote may be read,
// and what it reads overwritten, only after await_previous; weights were there all along.
const dependent = indent(`
__device__ __forceinline__ void release_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ __forceinline__ void await_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
`);

const cluster = indent(`
__device__ __forceinline__ u32 cluster_rank() { u32 r; asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r)); return r; }
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// Nothing is handed over, the blocks only leave together: no fence, which would wait until y has reached memory.
__device__ __forceinline__ void cluster_leave() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\\nbarrier.cluster.wait.aligned;" ::: "memory");
}
// In halves, and without order among ordinary accesses, which would be a fence of all memory: for barriers, which have their own.
__device__ __forceinline__ void cluster_arrive() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
// No wider scope than the block: what it tells, that the tensor cores have read a stage, needs no fence. A cluster-wide release
// becomes a fence of all memory, half a microsecond each.
__device__ __forceinline__ void barrier_arrive_at(u32 barrier, u32 rank) {
  asm volatile("{\\n.reg .b32 there;\\nmapa.shared::cluster.u32 there, %0, %1;\\n"
               "mbarrier.arrive.shared::cluster.b64 _, [there];\\n}" :: "r"(barrier), "r"(rank) : "memory");
}
`);


// The copy engine writes a box of the tensor, 128-byte swizzled, zeros outside the tensor; the bytes count either way.
const load = indent(`
__device__ __forceinline__ void prefetch_map(const TensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" :: "l"(map) : "memory");
}
__device__ __forceinline__ void copy_in(u32 to, const TensorMap* map, u32 barrier, int column, int row) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(column), "r"(row) : "memory");
}
`);

// Another block's shared memory, at the place it has in one's own.
const remote = indent(`
__device__ __forceinline__ float4 load_shared4_at(u32 from, u32 rank) {  // the same place in another block's shared memory
  float4 v;
  asm volatile("{\\n.reg .b32 there;\\nmapa.shared::cluster.u32 there, %4, %5;\\nld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [there];\\n}"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(from), "r"(rank) : "memory");
  return v;
}
`);

// Registers to the shared memory of a block of the cluster, at the place it has in one's own; its barrier counts the bytes.
const send = indent(`
__device__ __forceinline__ void send16(u32 to, u32 rank, u32 barrier, float4 v) {
  asm volatile("{\\n.reg .b32 there, full;\\nmapa.shared::cluster.u32 there, %0, %1;\\nmapa.shared::cluster.u32 full, %2, %1;\\n"
               "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [there], {%3, %4, %5, %6}, [full];\\n}"
               :: "r"(to), "r"(rank), "r"(barrier), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w) : "memory");
}
`);

const multicast = indent(`
__device__ __forceinline__ void copy_in_all(u32 to, const TensorMap* map, u32 barrier, int column, int row, u16 ranks) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
               "[%0], [%1, {%3, %4}], [%2], %5;"
               :: "r"(to), "l"(map), "r"(barrier), "r"(column), "r"(row), "h"(ranks) : "memory");
}
`);

const store = indent(`
__device__ __forceinline__ void copy_out(const TensorMap* map, u32 from, int column, int row) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];"
               :: "l"(map), "r"(from), "r"(column), "r"(row) : "memory");
}
__device__ __forceinline__ void copy_out_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// The shared side may be written again; the global side may still be on its way.
__device__ __forceinline__ void copy_out_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
__device__ __forceinline__ void copy_out_wait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }
// Ordinary stores to shared memory become visible to the copy engine.
__device__ __forceinline__ void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
`);

const registers = indent(`
template <int COUNT> __device__ __forceinline__ void registers_down() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(COUNT)); }
template <int COUNT> __device__ __forceinline__ void registers_up() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(COUNT)); }
`);

// volatile pins the load above the wgmma chain, whose run time hides its latency.
const scales = indent(`
__device__ __forceinline__ float load_scale(const float* p) {
  float v; asm volatile("ld.global.nc.f32 %0, [%1];" : "=f"(v) : "l"(p)); return v;
}
`);

// stmatrix takes the accumulator layout of wgmma as it is: register i of a lane is row lane / 4, columns 2 (lane % 4) of matrix i.
const bf16 = indent(`
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
  u32 v; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low)); return v;
}
__device__ __forceinline__ void store_matrices(u32 to, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" :: "r"(to), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
`);

const chunks = indent(`
__device__ __forceinline__ uint4 load_shared16(u32 from) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(from) : "memory");
  return v;
}
`);

const pairs = indent(`
__device__ __forceinline__ float2 load_shared_pair(u32 from) {
  float2 v; asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(from) : "memory"); return v;
}
`);

const partial = indent(`
__device__ __forceinline__ float4 load_partial(const float4* p) {  // from L2: another block wrote it
  float4 v;
  asm volatile("ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(p) : "memory");
  return v;
}
`);

const gather = indent(`
__device__ __forceinline__ void store_shared_half(u32 to, u32 low) {
  asm volatile("st.shared.b16 [%0], %1;" :: "r"(to), "h"((u16)low) : "memory");
}
${chunks}${pairs}
${partial}`);

// Blocks that meet at a counter: what the others wrote before they raised it may be read by whoever has seen it raised.
const meet = indent(`
__device__ __forceinline__ int load_acquire(const int* p) {
  int v; asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory"); return v;
}
${partial}`);

const floats = indent(`
__device__ __forceinline__ void store_shared(u32 to, float v) { asm volatile("st.shared.f32 [%0], %1;" :: "r"(to), "f"(v) : "memory"); }
__device__ __forceinline__ void store_shared_pair(u32 to, float a, float b) { asm volatile("st.shared.v2.f32 [%0], {%1, %2};" :: "r"(to), "f"(a), "f"(b) : "memory"); }
__device__ __forceinline__ float load_shared(u32 from) {
  float v; asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(from) : "memory"); return v;
}
${pairs}
__device__ __forceinline__ float4 load_shared4(u32 from) {
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(from) : "memory");
  return v;
}
// One store: left to itself the compiler makes four of it.
__device__ __forceinline__ void store16(u16* to, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" :: "l"(to), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
`);

// Words copied without passing through registers; a barrier that expects 32 arrivals completes when all lanes' copies have.
const async = indent(`
__device__ __forceinline__ void copy_word(u32 to, const float* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" :: "r"(to), "l"(from) : "memory");
}
__device__ __forceinline__ void copies_arrive(u32 barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" :: "r"(barrier) : "memory");
}
__device__ __forceinline__ void copies_wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }
`);

// A narrow operand without swizzle. wgmma reads eight rows of every 16 columns, 16 bytes apart; the next 16 columns are HELD pieces on.
const pieces = indent(`
// Rows of x in pieces of 16 columns, piece c of row r at (c HELD + r) 16 bytes. With fewer than eight rows what follows is read in the
// place of those there are not: pieces of other columns, whose sums go nowhere.
template <int HELD> __device__ __forceinline__ u64 pieces_descriptor(u32 address) {
  return (u64)((address & 0x3FFFF) >> 4) | ((u64)HELD << 16) | (8ull << 32);
}
// Weights are read once a step and go first when the cache needs room: gains, rows and kernels stay, and need not queue for memory
// behind the rings of the kernels that follow.
__device__ __forceinline__ u64 read_once() { u64 policy; asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy)); return policy; }
__device__ __forceinline__ void copy_in_once(u32 to, const TensorMap* map, u32 barrier, int column, int row, u64 policy) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%3, %4}], [%2], %5;"
               :: "r"(to), "l"(map), "r"(barrier), "r"(column), "r"(row), "l"(policy) : "memory");
}
__device__ __forceinline__ void copy_piece(u32 to, const u8* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(to), "l"(from) : "memory");
}
`);

/** wgmma of 64 x n x 32 e4m3 from shared memory, and its fences. `part` is n / 2 registers: row lane / 4 (+ 8), columns in pairs. */
export function wgmma(n: number): string {
  const count = n / 2;
  const wrap = (items: string[], per: number): string[] =>
    Array.from({ length: Math.ceil(items.length / per) }, (_, i) => items.slice(i * per, (i + 1) * per).join(", "));
  const names = Array.from({ length: count }, (_, i) => `%${i}`);
  const held = Array.from({ length: count }, (_, i) => `"+f"(d[${i}])`);
  const list = wrap(names, 24).map((l, i, all) => `    "${i === 0 ? "{" : " "}${l}${i === all.length - 1 ? "}, " : ","}"`).join("\n");
  const operands = wrap(held, 10).join(",\n      ");
  return indent(`
// Rows of 128 bytes, 128-byte swizzle, 8-row groups 1024 bytes apart; 32 columns further is 32 bytes further.
__device__ __forceinline__ u64 tile_descriptor(u32 address) {
  return (u64)((address & 0x3FFFF) >> 4) | (1ull << 16) | (64ull << 32) | (1ull << 62);
}
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int ADD> __device__ __forceinline__ void wgmma_64x${n}x32(float (&d)[${count}], u64 a, u64 b) {
  asm volatile("{\\n.reg .pred add;\\nsetp.ne.b32 add, %${count + 2}, 0;\\n"
    "wgmma.mma_async.sync.aligned.m64n${n}k32.f32.e4m3.e4m3 "
${list}
    "%${count}, %${count + 1}, add, 1, 1;\\n}"
    : ${operands}
    : "l"(a), "l"(b), "n"(ADD));
}
// Waits until at most LATER chains are in flight. Only then are the registers named, so that nothing reads them earlier.
template <int LATER> __device__ __forceinline__ void wgmma_wait(float (&d)[${count}]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(LATER) : "memory");
#pragma unroll
  for (int i = 0; i < ${count}; i++) asm volatile("" : "+f"(d[i]) :: "memory");
}
// One step of 128 columns: four wgmma, the first overwrites. Longer chains would lose bits: the adder keeps about 14.
__device__ __forceinline__ void product_128(float (&part)[${count}], u64 a, u64 b) {
  wgmma_fence();
  wgmma_64x${n}x32<0>(part, a, b);
  wgmma_64x${n}x32<1>(part, a + 2, b + 2);
  wgmma_64x${n}x32<1>(part, a + 4, b + 4);
  wgmma_64x${n}x32<1>(part, a + 6, b + 6);
  wgmma_commit();
}
`);
}

const texts: Record<Exclude<Fragment, "wgmma">, string> = { types, barriers, cluster, dependent, load, multicast, store, registers, scales, bf16, gather, chunks, floats, remote, send, meet, async, pieces };

/** The fragments a kernel calls, in a fixed order; `n` is the width of its wgmma. */
export function fragments(names: readonly Fragment[], n: number): string {
  const order = [...Object.keys(texts), "wgmma"] as Fragment[];
  return order.filter((f) => names.includes(f)).map((f) => (f === "wgmma" ? wgmma(n) : texts[f])).join("\n");
}

/** Those of the helpers that a body calls, or that another kept one calls; types stay. */
export function called(helpers: string, body: string): string {
  const units: string[] = [];
  let unit = "";
  for (const line of helpers.split("\n")) {
    if (line === "") continue;
    unit += `${line}\n`;
    if (line === "}" || /^(typedef|struct|#define)/.test(line) || /^(__device__|template).*\}$/.test(line)) {
      units.push(unit);
      unit = "";
    }
  }
  let kept = "";
  for (const u of units.toReversed()) {
    const name = /^(?:__device__|template|#define).*?(\w+)\(/m.exec(u)?.[1];
    if (name === undefined || new RegExp(`\\b${name}\\b`).test(kept + body)) kept = u + kept;
  }
  return kept;
}

/** The comment a kernel opens with: one line each for op, problem, schedule and floor. */
export const header = (lines: readonly string[]): string => lines.map((l) => `// ${l}`).join("\n") + "\n";
