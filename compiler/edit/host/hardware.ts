// What of the hardware a kernel meets on the machine of fibres (fibres.ts): meetings of warps, blocks and clusters, mbarriers, copies of
// boxes, matrices and products.

/** Stands behind the scheduler, in C++. */
export const hardware = String.raw`// Meetings: warps, named barriers, clusters.
static u64* exchange(u64 v) {
  Warp& w = self->block->warps[self->thread.x / 32]; int t = w.turn;
  w.values[t & 1][self->thread.x % 32] = v;
  if (++w.count == 32) { w.count = 0; w.turn++; waits = 0; } else wait_while(w.turn, t);
  return w.values[t & 1];
}
static bool arrive(Meeting& m, int count) { if (++m.count < count) return false; m.count = 0; m.turn++; waits = 0; return true; }
template <class T> static u64 as_bits(T v) { u64 b = 0; memcpy(&b, &v, sizeof v); return b; }
template <class T> static T from_bits(u64 b) { T v; memcpy(&v, &b, sizeof v); return v; }
static int lane_of() { return self->thread.x % 32; }
template <class T> static T __shfl_xor_sync(u32, T v, int m) { int l = lane_of(); return from_bits<T>(exchange(as_bits(v))[l ^ m]); }
template <class T> static T __shfl_up_sync(u32, T v, int m) {
  int l = lane_of();
  return from_bits<T>(exchange(as_bits(v))[l >= m ? l - m : l]);
}
template <class T> static T __shfl_sync(u32, T v, int from) { return from_bits<T>(exchange(as_bits(v))[from]); }
static u32 __ballot_sync(u32, bool b) { u64* v = exchange(b); u32 r = 0; for (int i = 0; i < 32; i++) r |= (u32)v[i] << i; return r; }
static bool __any_sync(u32 m, bool b) { return __ballot_sync(m, b) != 0; }
static u32 __reduce_max_sync(u32, u32 v) {
  u64* all = exchange(v);
  u32 r = 0;
  for (int i = 0; i < 32; i++) r = (u32)all[i] > r ? (u32)all[i] : r;
  return r;
}
static int __reduce_max_sync(u32, int v) {
  u64* all = exchange((u32)v);
  int r = (int)all[0];
  for (int i = 1; i < 32; i++) r = max(r, (int)all[i]);
  return r;
}
static void __threadfence() {}
static void __threadfence_system() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
// A look at memory that another rank writes: other fibres go on, and now and then other threads of this process.
static void let_others_run() { waits = 0; if (chance() % 64 == 0) sched_yield(); next_fibre(); }
static u64 host_nanoseconds() { timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }
static void __syncwarp() { exchange(0); }
static u32 __byte_perm(u32 a, u32 b, u32 s) {
  const u64 v = a | (u64)b << 32;
  u32 o = 0;
  for (int i = 0; i < 4; i++) o |= (u32)(v >> 8 * (s >> 4 * i & 7) & 255) << 8 * i;
  return o;
}
static int __ffs(u32 v) { return __builtin_ffs(v); }
static int __ffsll(u64 v) { return __builtin_ffsll(v); }
static int __popc(u32 v) { return __builtin_popcount(v); }
static void meet(int id, int count) {
  Meeting& m = self->block->meetings[id];
  int t = m.turn;
  if (!arrive(m, count)) wait_while(m.turn, t);
}
static void __syncthreads() { meet(0, blockDim.x); }
static void arrive_cluster() {
  Cluster* c = self->block->cluster;
  self->cluster_turn = c->meeting.turn;
  arrive(c->meeting, (int)c->blocks.size() * blockDim.x);
}
static void await_cluster() { wait_while(self->block->cluster->meeting.turn, self->cluster_turn); }
static void meet_cluster() { arrive_cluster(); await_cluster(); }

// mbarriers: a phase ends when all have arrived and all expected bytes are there; bytes may come first.
static Barrier& barrier_at(Block* b, u32 at) {
  Barrier& m = b->barriers[at];
  if (!m.made) fail("a barrier is used before it is made");
  return m;
}
static void settle(Barrier& m, int arrivals, long bytes) {
  m.pending -= arrivals; m.bytes += bytes; waits = 0;
  if (m.pending < 0) fail("one arrival too many");
  if (m.pending == 0 && m.bytes == 0) { m.phase ^= 1; m.pending = m.expected; }
}

// Copies of boxes: bf16 or bytes, lanes innermost, rows of 128 bytes in the 128-byte swizzle, zeros outside the tensor.
struct TensorMap { u8* base; int rank; long extent[4], stride[4]; int box[4]; };
static u32 swizzled(u32 at) { return at ^ ((at >> 7 & 7) << 4); }
static void each(const TensorMap& m, const int (&at)[4], const std::function<void(u8*, u32)>& visit) {  // null: outside
  int n[4];
  for (int i = 0; i < 4; i++) n[i] = i < m.rank ? m.box[i] : 1;
  u32 to = 0;
  for (int z = 0; z < n[3]; z++) for (int y = 0; y < n[2]; y++) for (int x = 0; x < n[1]; x++)
  for (int e = 0; e < n[0]; e++, to += m.stride[0]) {
    const int step[4] = {e, x, y, z};
    bool inside = true; long offset = 0;
    for (int i = 0; i < m.rank; i++) { const long v = at[i] + step[i]; inside &= v >= 0 && v < m.extent[i]; offset += v * m.stride[i]; }
    visit(inside ? m.base + offset : nullptr, to);
  }
}
static void box_to(Block* b, u32 to, const TensorMap* m, u32 barrier, int x, int y, int z, int w) {
  copies.push_back([=, map = *m] {  // a parameter of the kernel, which is gone once the thread that asked has left
    const long size = map.stride[0];
    long bytes = 0;
    each(map, {x, y, z, w}, [&](u8* from, u32 at) {
      u8* there = b->shared + swizzled(to + at);
      if (from) memcpy(there, from, size);
      else memset(there, 0, size);
      bytes += size;
    });
    settle(barrier_at(b, barrier), 0, -bytes);
  });
}
static void box_from(const TensorMap* m, u32 from, int x, int y, int z, int w) {
  each(*m, {x, y, z, w}, [&](u8* to, u32 at) { if (to) *(u16*)to = *(u16*)(self->block->shared + swizzled(from + at)); });
}
template <class T> static T load_as(u32 at, u32 rank) {
  T v;
  memcpy(&v, self->block->cluster->blocks[rank]->shared + at, sizeof v);
  return v;
}

// Numbers.
static float __uint_as_float(u32 v) { return from_bits<float>(v); }
static u32 __float_as_uint(float v) { return (u32)as_bits(v); }
static float __fadd_rn(float a, float b) { return a + b; }
static float __fmul_rn(float a, float b) { return a * b; }
static float __fsqrt_rn(float a) { return sqrtf(a); }
static float __double2float_rn(double v) { return (float)v; }
static double __dadd_rn(double a, double b) { return a + b; }
static double __dsub_rn(double a, double b) { return a - b; }
static double __dmul_rn(double a, double b) { return a * b; }
static double __ddiv_rn(double a, double b) { return a / b; }
static double __hiloint2double(int high, int low) { return from_bits<double>((u64)(u32)high << 32 | (u32)low); }
static u64 __umul64hi(u64 a, u64 b) { return (u64)((unsigned __int128)a * b >> 64); }
static float __fdiv_rn(float a, float b) { return a / b; }
static float __fsub_rn(float a, float b) { return a - b; }
static u16 as_bf16(float f) { u32 b; memcpy(&b, &f, 4); return f != f ? 0x7fff : (b + 0x7fff + (b >> 16 & 1)) >> 16; }
static float of_bf16(u16 h) { u32 b = (u32)h << 16; float f; memcpy(&f, &b, 4); return f; }
static float of_e4m3(u8 c) {
  const int e = c >> 3 & 15, f = c & 7; const float v = e ? ldexpf(8 + f, e - 10) : ldexpf(f, -9);
  return (c & 0x7f) == 0x7f ? NAN : c & 0x80 ? -v : v;
}
static int atomicAdd(int* p, int v) { const int before = *p; *p += v; waits = 0; return before; }
static u32 atomicAdd(u32* p, u32 v) { const u32 before = *p; *p += v; return before; }
static void atomicOr(u32* p, u32 v) { *p |= v; }
static void atomicMin(u32* p, u32 v) { *p = min(*p, v); }
static void atomicMax(int* p, int v) { *p = max(*p, v); }
static void atomicMax(u64* p, u64 v) { *p = max(*p, v); }
static u64 atomicExch(u64* p, u64 v) { const u64 before = *p; *p = v; return before; }
static int __float_as_int(float v) { return from_bits<int>(as_bits(v)); }
static float __int_as_float(int v) { return from_bits<float>(as_bits(v)); }

// Matrices of 8 rows of 16 bytes, whose addresses the lanes give.
template <int N> static void load_matrices(u32 from, u32* const (&out)[N]) {
  u64* rows = exchange(from);
  for (int i = 0; i < N; i++) memcpy(out[i], self->block->shared + (u32)rows[i * 8 + lane_of() / 4] + lane_of() % 4 * 4, 4);
}

// wgmma by descriptor: start, and the bytes to the next 64 lanes and the next 8 rows. Done at once: one of the orders the hardware
// allows. Of a product's 64 rows a lane has sums of this one, and of the eighth after it.
static int row_of_sums() { return self->thread.x % 128 / 32 * 16 + lane_of() / 4; }
static int column_of_sum(int i) { return i / 4 * 8 + lane_of() % 4 * 2 + i % 2; }
// Sixteen elements of an operand along k: a row of k, where they lie in two chunks of the swizzle, or of the other axis.
static void elements(float (&out)[16], u64 d, bool mn, int row) {
  const u32 at = (d & 0x3fff) << 4, chunk = (d >> 16 & 0x3fff) << 4, rows = (d >> 32 & 0x3fff) << 4;
  const u8* shared = self->block->shared;
  const u32 first = mn ? at + row / 64 * chunk + row % 64 * 2 : at + row / 8 * rows + row % 8 * 128;
  for (int half = 0; half < 2; half++) {
    const u16* lie = (const u16*)(shared + swizzled(first + half * 16));
    for (int k = 0; k < 8; k++) out[half * 8 + k] = of_bf16(mn ? *(const u16*)(shared + swizzled(first + half * rows + k * 128)) : lie[k]);
  }
}
static float dot16(const float (&a)[16], const float (&b)[16]) {
  float sum = 0;
  for (int k = 0; k < 16; k++) sum += a[k] * b[k];
  return sum;
}
template <int N> static void multiply(float (&d)[N / 2], const float (&a)[2][16], u64 b, bool b_mn, int add) {
  for (int i = 0; i < N / 2; i += i % 2 ? 3 : 1) {  // sums i and i + 2 are of one column
    float column[16];
    elements(column, b, b_mn, column_of_sum(i));
    for (int r = 0; r < 2; r++) d[i + 2 * r] = (add ? d[i + 2 * r] : 0.f) + dot16(a[r], column);
  }
}
template <int N> static void product_bf16(float (&d)[N / 2], u64 a, u64 b, bool b_mn, bool a_mn, int add) {
  float rows[2][16];
  for (int r = 0; r < 2; r++) elements(rows[r], a, a_mn, row_of_sums() + r * 8);
  multiply<N>(d, rows, b, b_mn, add);
}
template <int N> static void product_held(float (&d)[N / 2], const u32 (&a)[4], u64 b, bool b_mn, int add) {  // a in registers
  float rows[2][16];
  for (int i = 0; i < 4; i++) {
    u64* v = exchange(a[i]);
    for (int q = 0; q < 4; q++)
      for (int e = 0; e < 2; e++)
        rows[i % 2][i / 2 * 8 + q * 2 + e] = of_bf16((u16)(v[lane_of() / 4 * 4 + q] >> 16 * e));
  }
  multiply<N>(d, rows, b, b_mn, add);
}
static float values_of_e4m3[256];
static const bool know_e4m3 = [] { for (int c = 0; c < 256; c++) values_of_e4m3[c] = of_e4m3(c); return true; }();
// K codes of a row, in chunks of the swizzle.
template <int K> static void row_of_codes(float (&out)[K], u64 d, int row) {
  const u32 first = ((d & 0x3fff) << 4) + row / 8 * ((d >> 32 & 0x3fff) << 4) + row % 8 * 128;
  for (int chunk = 0; chunk < K; chunk += 16) {
    const u8* lie = self->block->shared + swizzled(first + chunk);
    for (int k = 0; k < 16; k++) out[chunk + k] = values_of_e4m3[lie[k]];
  }
}
template <int N, int K> static void codes(float (&d)[N / 2], u64 a, u64 b, int add) {
  float rows[2][K], column[K];
  for (int r = 0; r < 2; r++) row_of_codes(rows[r], a, row_of_sums() + r * 8);
  for (int i = 0; i < N / 2; i += i % 2 ? 3 : 1) {  // sums i and i + 2 are of one column
    row_of_codes(column, b, column_of_sum(i));
    for (int r = 0; r < 2; r++) {
      float sum = add ? d[i + 2 * r] : 0.f;
      for (int k = 0; k < K; k++) sum += rows[r][k] * column[k];
      d[i + 2 * r] = sum;
    }
  }
}
template <int N> static void product_e4m3(float (&d)[N / 2], u64 a, u64 b, int add) { codes<N, 32>(d, a, b, add); }
template <int N> static void step_e4m3(float (&d)[N / 2], u64 a, u64 b) { codes<N, 128>(d, a, b, 0); }
// 128 columns of w by eight rows of x without swizzle: 16 columns of each side by side, the next 16 where the descriptor says.
static void step_no_swizzle(float (&d)[4], u64 w, u64 x) {
  const u32 columns = (x & 0x3fff) << 4, next = (x >> 16 & 0x3fff) << 4;
  if ((w & 0x3fff) % 64) fail("rows of weights do not begin where the swizzle does");
  float weights[2][128];
  for (int r = 0; r < 2; r++) row_of_codes(weights[r], w & ~(0x3fffull << 32) | 64ull << 32, row_of_sums() + r * 8);
  for (int i = 0; i < 4; i++) {
    float sum = 0;
    for (int k = 0; k < 128; k++)
      sum += weights[i / 2][k] * values_of_e4m3[self->block->shared[columns + k / 16 * next + column_of_sum(i) * 16 + k % 16]];
    d[i] = sum;
  }
}
`;
