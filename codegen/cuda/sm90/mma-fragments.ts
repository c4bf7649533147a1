// CUDA text shared by the kernels that stream bf16 weights through registers into mma: loads, products, words of x.
// mma.m16n8k16 wants of a lane the columns 2t, 2t + 1, 2t + 8, 2t + 9 of 16 (t = lane % 4). The order of columns is free as long as
// both sides agree, so a lane loads 16 bytes, eight columns side by side, and feeds them to two products.

const indent = (text: string): string => text.trim() + "\n";

export const streamTypes = indent(`
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64; typedef long long i64;
`);

/**
 * Weights are read once: not kept in L1, and L2 fetches whole 256 bytes. No ld.global.nc: the assembler moves such a load to
 * where it suits it, and that was behind the wait for the kernel before, which weights are meant to overtake.
 */
export const streamLoads = indent(`
__device__ __forceinline__ uint4 load_weights(const u16* p) {
  uint4 v;
  asm volatile("ld.global.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p) : "memory");
  return v;
}
`);

export const streamMma = indent(`
// 16 rows of w by 8 tokens by 16 columns. Of a lane: rows lane / 4 and + 8, then tokens 2 (lane % 4) and + 1 of the sums.
__device__ __forceinline__ void mma_16x8(float (&d)[4], u32 upper0, u32 lower0, u32 upper1, u32 lower1, u32 x0, u32 x1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(upper0), "r"(lower0), "r"(upper1), "r"(lower1), "r"(x0), "r"(x1));
}
// 32 columns of 16 rows: a lane has eight columns of two rows, and the same eight of one token.
__device__ __forceinline__ void mma_32_columns(float (&d)[4], uint4 upper, uint4 lower, uint4 x) {
  mma_16x8(d, upper.x, lower.x, upper.y, lower.y, x.x, x.y);
  mma_16x8(d, upper.z, lower.z, upper.w, lower.w, x.z, x.w);
}
`);

export const packBf16 = indent(`
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
  u32 v; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low)); return v;
}
`);

/** An f32 is the sum of three bf16, so f32 activations go through the same products three times and lose nothing. */
export const splitF32 = indent(`
__device__ __forceinline__ float low_bf16(u32 pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_bf16(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }
// The leading bf16 of eight f32; what they leave stays in v.
__device__ __forceinline__ uint4 take_bf16(float (&v)[8]) {
  u32 out[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    out[i] = pack_bf16(v[2 * i], v[2 * i + 1]);
    v[2 * i] -= low_bf16(out[i]);
    v[2 * i + 1] -= high_bf16(out[i]);
  }
  return make_uint4(out[0], out[1], out[2], out[3]);
}
`);

export const dependent = indent(`
// Programmatic dependent launch: the next kernel may start now; what the one before wrote may be read only after await_previous.
__device__ __forceinline__ void release_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ __forceinline__ void await_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
`);
