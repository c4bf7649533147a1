// CUDA text of kernels that multiply swizzled tiles in shared memory with mma: copies of several 64-column pieces at once, ldmatrix.

export const ringFragments = `// A box of rows, several pieces of 64 columns side by side in memory, one tile of 128-byte rows each in shared memory.
__device__ __forceinline__ void copy_in_pieces(u32 to, const TensorMap* map, u32 barrier, int row, int piece) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
               :: "r"(to), "l"(map), "r"(barrier), "r"(0), "r"(row), "r"(piece) : "memory");
}
// Weights are read once a step and go first when the cache needs room: kernels, gains and rows stay, and so need not queue for memory
// behind the ring of the next kernel, 26 MB of it under way.
__device__ __forceinline__ u64 read_once() { u64 policy; asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy)); return policy; }
__device__ __forceinline__ void copy_weights(u32 to, const TensorMap* map, u32 barrier, int row, int piece, u64 policy) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%3, %4, %5}], [%2], %6;"
               :: "r"(to), "l"(map), "r"(barrier), "r"(0), "r"(row), "r"(piece), "l"(policy) : "memory");
}
// 16 bytes of a row of 128 as the copy engine swizzled them.
__device__ __forceinline__ u32 swizzled(u32 tile, int row, int chunk) { return tile + row * 128 + ((chunk ^ (row & 7)) * 16); }
__device__ __forceinline__ void load_matrices4(u32 from, u32& a, u32& b, u32& c, u32& d) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(a), "=r"(b), "=r"(c), "=r"(d) : "r"(from) : "memory");
}
__device__ __forceinline__ void load_matrices2(u32 from, u32& a, u32& b) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(a), "=r"(b) : "r"(from) : "memory");
}
// 16 rows by 8 tokens by 16 columns.
__device__ __forceinline__ void mma_16x8(float (&d)[4], const u32 (&w)[4], const u32 (&x)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3]), "r"(x[0]), "r"(x[1]));
}
`;
