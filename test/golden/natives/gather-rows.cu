// gather_rows: y [r, 7168] e4m3: row i is that of token order[i] / 8; scales too
// a warp a row of 448 words of 16 bytes

typedef unsigned char u8;
typedef long long i64;
// Programmatic dependent launch: blocks of the next kernel start as these leave. What the kernel before wrote may be read,
// and what it reads overwritten, only after await_previous; weights were there all along.
__device__ __forceinline__ void release_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ __forceinline__ void await_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

constexpr int WORDS = 448, TURNS = 14;  // of a row, and of a lane

extern "C" __global__ void __launch_bounds__(128)
gather_rows_7168_e4m3_words(const u8* x, const float* x_scale, const int* order, u8* y, float* y_scale, int T, int r) {
  release_next();
  await_previous();
  const int lane = threadIdx.x % 32, i = blockIdx.x * 4 + threadIdx.x / 32;
  if (i >= r) return;
  const int token = order[i] / 8;
  const uint4* from = (const uint4*)x + (i64)token * 448;
  uint4* to = (uint4*)y + (i64)i * WORDS;
  uint4 v[TURNS];
#pragma unroll
  for (int t = 0; t < TURNS; t++)
    if (lane + 32 * t < WORDS) v[t] = from[lane + 32 * t];
#pragma unroll
  for (int t = 0; t < TURNS; t++)
    if (lane + 32 * t < WORDS) to[lane + 32 * t] = v[t];
  for (int c = lane; c < 56; c += 32) y_scale[(i64)i * 56 + c] = x_scale[(i64)token * 56 + c];
}
