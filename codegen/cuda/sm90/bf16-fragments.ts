// CUDA text of the bf16 wgmma kernels: products of 64 rows from shared memory, and the waits around them.

const wrap = (items: string[], per: number): string[] =>
  Array.from({ length: Math.ceil(items.length / per) }, (_, i) => items.slice(i * per, (i + 1) * per).join(", "));

/** wgmma of 64 x n x 16 bf16, both sides in shared memory with k contiguous. `sum` is n / 2 registers: row lane / 4 (+ 8), columns in pairs. */
export function bf16Wgmma(n: number): string {
  const count = n / 2;
  const names = Array.from({ length: count }, (_, i) => `%${i}`);
  const held = Array.from({ length: count }, (_, i) => `"+f"(d[${i}])`);
  const list = wrap(names, 16).map((l, i, all) => `    "${i === 0 ? "{" : " "}${l}${i === all.length - 1 ? "}, " : ","}"`).join("\n");
  const operands = wrap(held, 8).join(",\n      ");
  return `// Rows of 128 bytes, 128-byte swizzle, 8-row groups 1024 bytes apart; 16 columns further is 32 bytes further.
__device__ __forceinline__ u64 tile_descriptor(u32 address) {
  return (u64)((address & 0x3FFFF) >> 4) | (1ull << 16) | (64ull << 32) | (1ull << 62);
}
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_64x${n}x16(float (&d)[${count}], u64 a, u64 b, int add) {
  asm volatile("{\\n.reg .pred add;\\nsetp.ne.b32 add, %${count + 2}, 0;\\n"
    "wgmma.mma_async.sync.aligned.m64n${n}k16.f32.bf16.bf16 "
${list}
    "%${count}, %${count + 1}, add, 1, 1, 0, 0;\\n}"
    : ${operands}
    : "l"(a), "l"(b), "r"(add));
}
// Waits until at most LATER chains are in flight; naming the registers keeps the compiler from touching them earlier.
template <int LATER> __device__ __forceinline__ void wgmma_wait(float (&d)[${count}]) {
  asm volatile("wgmma.wait_group.sync.aligned %${count};"
    : ${operands}
    : "n"(LATER) : "memory");
}
// One step of 64 columns; the first step of a sum overwrites it.
__device__ __forceinline__ void product_64(float (&sum)[${count}], u64 a, u64 b, int add) {
  wgmma_fence();
  wgmma_64x${n}x16(sum, a, b, add);
  wgmma_64x${n}x16(sum, a + 2, b + 2, 1);
  wgmma_64x${n}x16(sum, a + 4, b + 4, 1);
  wgmma_64x${n}x16(sum, a + 6, b + 6, 1);
  wgmma_commit();
}
`;
}
