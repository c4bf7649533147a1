// CUDA text that the attention kernels share beyond fragments.ts: boxes of heads, turns, a softmax in base 2, sums on their way
// through L2. A kernel prints only those it calls.

export const attendFragments = `
#define EACH(i, count) _Pragma("unroll") for (int i = 0; i < count; i++)  // over registers, which have no addresses
// A box of a three-dimensional tensor: some lanes, some heads, one token.
__device__ __forceinline__ void copy_box(u32 to, const TensorMap* map, u32 barrier, int lane, int head, int row) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(lane), "r"(head), "r"(row) : "memory");
}
// All chunks of 64 lanes that a row has, one behind the other.
__device__ __forceinline__ void copy_chunks(u32 to, const TensorMap* map, u32 barrier, int head, int row) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %3, %5}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(0), "r"(head), "r"(row) : "memory");
}
__device__ __forceinline__ void copy_box_out(const TensorMap* map, u32 from, int lane, int head, int row) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];"
               :: "l"(map), "r"(from), "r"(lane), "r"(head), "r"(row) : "memory");
}
// Bytes to the same place in another block of the cluster, counted by its barrier.
__device__ __forceinline__ void send_to(u32 to, u32 from, u32 bytes, u32 barrier, u32 rank) {
  asm volatile("{\\n.reg .b32 there, counted;\\nmapa.shared::cluster.u32 there, %0, %4;\\nmapa.shared::cluster.u32 counted, %3, %4;\\n"
               "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [there], [%1], %2, [counted];\\n}"
               :: "r"(to), "r"(from), "r"(bytes), "r"(barrier), "r"(rank) : "memory");
}
// stmatrix turned over: a lane's columns become rows of shared memory.
__device__ __forceinline__ void store_matrices_turned(u32 to, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" :: "r"(to), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
__device__ __forceinline__ void store_shared16(u32 to, uint4 v) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" :: "r"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
__device__ __forceinline__ u32 load_shared_word(u32 from) {
  u32 v; asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(from) : "memory"); return v;
}
__device__ __forceinline__ void clear_shared16(u32 to) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" :: "r"(to), "r"(0) : "memory");
}
// Two warpgroups take turns: one waits at its own barrier until the other has passed the turn on.
__device__ __forceinline__ void turn_wait(int id) { asm volatile("bar.sync %0, 256;" :: "r"(id) : "memory"); }
__device__ __forceinline__ void turn_pass(int id) { asm volatile("bar.arrive %0, 256;" :: "r"(id) : "memory"); }
// A box for every block of a cluster; and a box on its way from memory to L2, ahead of the copy that will want it.
__device__ __forceinline__ void copy_box_all(u32 to, const TensorMap* map, u32 barrier, int x, int y, int z, u16 ranks) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
               "[%0], [%1, {%3, %4, %5}], [%2], %6;"
               :: "r"(to), "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z), "h"(ranks) : "memory");
}
__device__ __forceinline__ void prefetch_box(const TensorMap* map, int x, int y, int z) {
  asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global.tile [%0, {%1, %2, %3}];" :: "l"(map), "r"(x), "r"(y), "r"(z) : "memory");
}
// Sums on their way to others, as halves of a row's largest.
__device__ __forceinline__ u32 pack_half(float low, float high) {
  u32 v; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low)); return v;
}
__device__ __forceinline__ float2 unpack_half(u32 v) {
  float2 f; asm("{\\n.reg .f16 a, b;\\nmov.b32 {a, b}, %2;\\ncvt.f32.f16 %0, a;\\ncvt.f32.f16 %1, b;\\n}" : "=f"(f.x), "=f"(f.y) : "r"(v)); return f;
}
// Word i of lane q of four becomes word q of lane i: eight columns of one row instead of two of four groups.
__device__ __forceinline__ uint4 turn_words(uint4 w, int lane) {
  const bool odd = lane & 1, upper = lane & 2;
  const u32 a = __shfl_xor_sync(~0u, odd ? w.x : w.y, 1), b = __shfl_xor_sync(~0u, odd ? w.z : w.w, 1);
  if (odd) { w.x = a; w.z = b; } else { w.y = a; w.w = b; }
  const u32 c = __shfl_xor_sync(~0u, upper ? w.x : w.z, 2), d = __shfl_xor_sync(~0u, upper ? w.y : w.w, 2);
  if (upper) { w.x = c; w.y = d; } else { w.z = c; w.w = d; }
  return w;
}
__device__ __forceinline__ uint4 load_words(const uint4* p) {  // from L2: another block wrote it
  uint4 v; asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p) : "memory"); return v;
}
__device__ __forceinline__ int load_word(const int* p) {  // from L2: a kernel that may still have run when this one started wrote it
  int v; asm volatile("ld.global.cg.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory"); return v;
}
// A softmax in base 2, and what blocks that share one read of each other: from L2, behind a counter.
__device__ __forceinline__ float minus_infinity() { return __int_as_float(0xff800000); }
__device__ __forceinline__ float exp2_fast(float x) { float v; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(v) : "f"(x)); return v; }
__device__ __forceinline__ float reciprocal_fast(float x) { float v; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(v) : "f"(x)); return v; }
// Over the eight lanes of a warp that have the same lane % 4.
__device__ __forceinline__ float quads_most(float v) {
  v = fmaxf(v, __shfl_xor_sync(~0u, v, 4));
  v = fmaxf(v, __shfl_xor_sync(~0u, v, 8));
  return fmaxf(v, __shfl_xor_sync(~0u, v, 16));
}
__device__ __forceinline__ float quads_sum(float v) {
  v += __shfl_xor_sync(~0u, v, 4);
  v += __shfl_xor_sync(~0u, v, 8);
  return v + __shfl_xor_sync(~0u, v, 16);
}
__device__ __forceinline__ float warp_most(float v) {
  for (int d = 1; d < 32; d *= 2) v = fmaxf(v, __shfl_xor_sync(~0u, v, d));
  return v;
}
__device__ __forceinline__ float warp_sum(float v) {
  for (int d = 1; d < 32; d *= 2) v += __shfl_xor_sync(~0u, v, d);
  return v;
}
__device__ __forceinline__ void add_release(int* p) { asm volatile("red.release.gpu.global.add.s32 [%0], 1;" :: "l"(p) : "memory"); }
__device__ __forceinline__ int load_acquire(const int* p) {
  int v; asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory"); return v;
}
`;
