// What a native sm_90a kernel finds instead of a GPU. Its text is compiled by g++ with these in place of its helpers (fragments.ts,
// wgmma-bf16.ts), which have the same names: every thread is a fibre that runs until it must wait, copies arrive in random order,
// shared memory starts as NaN, a wait that nothing ends stops the program; the kernel before still runs when one begins. Products,
// swizzles, barriers and clusters mean what the PTX manual says; what the hardware needs besides, fences and registers, is not seen here.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <random>
#include <vector>
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64; typedef long long i64;
struct int2 { int x, y; }; struct float2 { float x, y; }; struct float4 { float x, y, z, w; }; struct uint4 { u32 x, y, z, w; };
static int2 make_int2(int x, int y) { return {x, y}; }
static float2 make_float2(float x, float y) { return {x, y}; }
static float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }
template <class T> static T min(T a, T b) { return a < b ? a : b; }
template <class T> static T max(T a, T b) { return a > b ? a : b; }
#define __device__
#define __global__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define EACH(i, count) for (int i = 0; i < count; i++)

// Blocks, clusters, fibres.
struct Index { int x, y, z; };
struct Barrier { int expected = 0, pending = 0; long bytes = 0; u32 phase = 0; bool made = false; };
struct Meeting { int count = 0, turn = 0; };
struct Warp { u64 values[2][32]; int count = 0, turn = 0; };
struct Block;
struct Cluster { std::vector<Block*> blocks; Meeting meeting; };
struct Block { u8* shared; u32 used; std::map<int, u8*> variables; std::map<u32, Barrier> barriers; Meeting meetings[16]; Warp warps[32]; Cluster* cluster; int rank; Index at; };
struct Fibre { void* stack_pointer; u8* stack; Block* block; Index thread; int cluster_turn; bool done; };
static const u32 ARENA = 240 << 10;
static Fibre* self;
static std::vector<Fibre*> fibres;
static size_t turn_of;
static int alive;
static long waits;
static void* main_stack;
static Index gridDim, blockDim;
static std::function<void()> kernel;
static std::mt19937 chance(1);
static std::vector<std::function<void()>> copies;
// The kernel before, which still runs when this one starts: what it makes, and whatever this one writes, is 0xff until it ends. It
// ends when nothing else goes on any more. A kernel that reads early finds NaN or -1; one that writes early, or never waits, fails.
struct Workspace { void* at; template <class T> operator T*() const { return (T*)at; } };
struct Late { std::vector<u8>* now; std::vector<u8> real; };
static std::vector<Late> late;
static bool previous_ended;
static long awaited;
#define threadIdx (self->thread)
#define blockIdx (self->block->at)
static void fail(const char* what) { fprintf(stderr, "%s: block %d %d %d, thread %d\n", what, blockIdx.x, blockIdx.y, blockIdx.z, self->thread.x); exit(1); }
extern "C" void switch_stacks(void** from, void* to);
asm(".globl switch_stacks\nswitch_stacks:\npush %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\nmov %rsp,(%rdi)\nmov %rsi,%rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");
static void some_copies() {
  while (!copies.empty() && chance() % 4 == 0) { size_t i = chance() % copies.size(); auto c = copies[i]; copies[i] = copies.back(); copies.pop_back(); c(); waits = 0; }
}
static void next_fibre() {
  Fibre* before = self;
  do if (++turn_of == fibres.size()) { turn_of = 0; some_copies(); } while (fibres[turn_of]->done);
  self = fibres[turn_of];
  if (self != before) switch_stacks(&before->stack_pointer, self->stack_pointer);
}
static void end_previous() {
  for (Late& l : late) {
    for (u8 b : *l.now) if (b != 0xff) fail("a buffer is written before the kernel before has ended");
    memcpy(l.now->data(), l.real.data(), l.real.size());
  }
  previous_ended = true; waits = 0;
}
static void wait() {
  if (!previous_ended && awaited && waits > 30l * (long)fibres.size()) end_previous();
  if (++waits > 400l * (long)fibres.size()) fail("nothing ends this wait");
  next_fibre();
}
static void await_previous() { awaited++; while (!previous_ended) wait(); }
static void fibre_body() {
  kernel();
  self->done = true; waits = 0;
  if (--alive == 0) { void* left; switch_stacks(&left, main_stack); }
  next_fibre();
}
static void launch(Index grid, int threads, Index of_cluster, u32 dynamic, std::function<void()> body) {
  // Clusters lie along x or along y.
  const int cluster = of_cluster.x * of_cluster.y, blocks = grid.x * grid.y * grid.z, width = of_cluster.y > 1 ? grid.y : grid.x;
  gridDim = grid; blockDim = {threads, 1, 1}; kernel = body; fibres.clear(); copies.clear(); waits = 0;
  for (Late& l : late) { l.real = *l.now; memset(l.now->data(), 0xff, l.now->size()); }
  previous_ended = false; awaited = 0;
  std::vector<Block*> all;
  for (int b = 0; b < blocks; b++) {
    Block* n = new Block();
    n->shared = (u8*)aligned_alloc(1024, ARENA); memset(n->shared, 0xff, ARENA);
    n->used = (dynamic + 127) / 128 * 128; n->rank = b % cluster;
    n->at = of_cluster.y > 1 ? Index{b / width % grid.x, b % width, b / width / grid.x} : Index{b % width, b / width % grid.y, b / width / grid.y};
    n->cluster = n->rank ? all.back()->cluster : new Cluster();
    n->cluster->blocks.push_back(n); all.push_back(n);
  }
  const int STACK = 65536;
  for (Block* b : all) for (int t = 0; t < threads; t++) {
    Fibre* f = new Fibre{nullptr, (u8*)aligned_alloc(64, STACK), b, {t}, 0, false};
    void** top = (void**)(f->stack + STACK - 64);
    *--top = nullptr; *--top = (void*)fibre_body;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    f->stack_pointer = top; fibres.push_back(f);
  }
  alive = fibres.size(); turn_of = 0; self = fibres[0];
  switch_stacks(&main_stack, self->stack_pointer);
  if (!previous_ended) fail("nothing waits for the kernel before");
  for (Fibre* f : fibres) { free(f->stack); delete f; }
  for (Block* b : all) { if (b->rank == 0) delete b->cluster; free(b->shared); delete b; }
}
// A shared variable of the block, by its place in the text.
static u8* shared_variable(int id, size_t bytes) {
  Block* b = self->block;
  if (!b->variables.count(id)) { b->variables[id] = b->shared + b->used; b->used += (bytes + 15) / 16 * 16; if (b->used > 232448) fail("too much shared memory"); }
  return b->variables[id];
}
static u32 shared_address(const void* p) { return (u32)((const u8*)p - self->block->shared); }

// Meetings: warps, named barriers, clusters.
static u64* exchange(u64 v) {
  Warp& w = self->block->warps[self->thread.x / 32]; int t = w.turn;
  w.values[t & 1][self->thread.x % 32] = v;
  if (++w.count == 32) { w.count = 0; w.turn++; waits = 0; } else while (w.turn == t) wait();
  return w.values[t & 1];
}
static bool arrive(Meeting& m, int count) { if (++m.count < count) return false; m.count = 0; m.turn++; waits = 0; return true; }
template <class T> static u64 as_bits(T v) { u64 b = 0; memcpy(&b, &v, sizeof v); return b; }
template <class T> static T from_bits(u64 b) { T v; memcpy(&v, &b, sizeof v); return v; }
static int lane_of() { return self->thread.x % 32; }
template <class T> static T __shfl_xor_sync(u32, T v, int m) { int l = lane_of(); return from_bits<T>(exchange(as_bits(v))[l ^ m]); }
template <class T> static T __shfl_up_sync(u32, T v, int m) { int l = lane_of(); return from_bits<T>(exchange(as_bits(v))[l >= m ? l - m : l]); }
template <class T> static T __shfl_sync(u32, T v, int from) { return from_bits<T>(exchange(as_bits(v))[from]); }
static u32 __ballot_sync(u32, bool b) { u64* v = exchange(b); u32 r = 0; for (int i = 0; i < 32; i++) r |= (u32)v[i] << i; return r; }
static bool __any_sync(u32 m, bool b) { return __ballot_sync(m, b) != 0; }
static int __reduce_max_sync(u32, int v) { u64* all = exchange((u32)v); int r = (int)all[0]; for (int i = 1; i < 32; i++) r = max(r, (int)all[i]); return r; }
static void __threadfence() {}
static float warp_most(float v) { for (int d = 1; d < 32; d *= 2) v = fmaxf(v, __shfl_xor_sync(~0u, v, d)); return v; }
static float warp_sum(float v) { for (int d = 1; d < 32; d *= 2) v += __shfl_xor_sync(~0u, v, d); return v; }
static float quads_most(float v) { for (int d = 4; d < 32; d *= 2) v = fmaxf(v, __shfl_xor_sync(~0u, v, d)); return v; }
static float quads_sum(float v) { for (int d = 4; d < 32; d *= 2) v += __shfl_xor_sync(~0u, v, d); return v; }
static void __syncwarp() { exchange(0); }
static int __ffs(u32 v) { return __builtin_ffs(v); }
static int __popc(u32 v) { return __builtin_popcount(v); }
static void group_sync(int id, int count) { Meeting& m = self->block->meetings[id]; int t = m.turn; if (!arrive(m, count)) while (m.turn == t) wait(); }
static void turn_wait(int id) { group_sync(id, 256); }
static void turn_pass(int id) { arrive(self->block->meetings[id], 256); }
static void __syncthreads() { group_sync(0, blockDim.x); }
static u32 cluster_rank() { return self->block->rank; }
static void cluster_arrive() { Cluster* c = self->block->cluster; self->cluster_turn = c->meeting.turn; arrive(c->meeting, (int)c->blocks.size() * blockDim.x); }
static void cluster_wait() { while (self->block->cluster->meeting.turn == self->cluster_turn) wait(); }
static void cluster_sync() { cluster_arrive(); cluster_wait(); }
static void cluster_leave() { cluster_sync(); }

template <class T> static T* at_rank(T* p, u32 rank) { return (T*)((u8*)p - self->block->shared + self->block->cluster->blocks[rank]->shared); }

// mbarriers: a phase ends when all have arrived and all expected bytes are there; bytes may come first.
static Barrier& barrier_at(Block* b, u32 at) { Barrier& m = b->barriers[at]; if (!m.made) fail("a barrier is used before it is made"); return m; }
static void settle(Barrier& m, int arrivals, long bytes) {
  m.pending -= arrivals; m.bytes += bytes; waits = 0;
  if (m.pending < 0) fail("one arrival too many");
  if (m.pending == 0 && m.bytes == 0) { m.phase ^= 1; m.pending = m.expected; }
}
static void barrier_init(u32 at, u32 count) { Barrier m; m.expected = m.pending = count; m.made = true; self->block->barriers[at] = m; }
static void barrier_expect(u32 at, u32 bytes) { settle(barrier_at(self->block, at), 1, bytes); }
static void barrier_arrive(u32 at) { settle(barrier_at(self->block, at), 1, 0); }
static void barrier_arrive_at(u32 at, u32 rank) { settle(barrier_at(self->block->cluster->blocks[rank], at), 1, 0); }
static void barrier_wait(u32 at, u32 parity) { while (barrier_at(self->block, at).phase == parity) wait(); }

// Copies of boxes: bf16 or bytes, lanes innermost, rows of 128 bytes in the 128-byte swizzle, zeros outside the tensor.
struct TensorMap { u8* base; int rank; long extent[4], stride[4]; int box[4]; };
static u32 swizzled(u32 at) { return at ^ ((at >> 7 & 7) << 4); }
static void each(const TensorMap& m, const int (&at)[4], const std::function<void(u8*, u32)>& visit) {  // null: outside
  int n[4];
  for (int i = 0; i < 4; i++) n[i] = i < m.rank ? m.box[i] : 1;
  u32 to = 0;
  for (int z = 0; z < n[3]; z++) for (int y = 0; y < n[2]; y++) for (int x = 0; x < n[1]; x++) for (int e = 0; e < n[0]; e++, to += m.stride[0]) {
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
    each(map, {x, y, z, w}, [&](u8* from, u32 at) { u8* there = b->shared + swizzled(to + at); if (from) memcpy(there, from, size); else memset(there, 0, size); bytes += size; });
    settle(barrier_at(b, barrier), 0, -bytes);
  });
}
static void copy_in(u32 to, const TensorMap* m, u32 barrier, int x, int y) { box_to(self->block, to, m, barrier, x, y, 0, 0); }
static void copy_box(u32 to, const TensorMap* m, u32 barrier, int x, int y, int z) { box_to(self->block, to, m, barrier, x, y, z, 0); }
static void copy_chunks(u32 to, const TensorMap* m, u32 barrier, int head, int row) { box_to(self->block, to, m, barrier, 0, head, 0, row); }
static void copy_box_all(u32 to, const TensorMap* m, u32 barrier, int x, int y, int z, u16 ranks) {
  for (Block* b : self->block->cluster->blocks) if (ranks >> b->rank & 1) box_to(b, to, m, barrier, x, y, z, 0);
}
static void copy_in_all(u32 to, const TensorMap* m, u32 barrier, int x, int y, u16 ranks) { copy_box_all(to, m, barrier, x, y, 0, ranks); }
static void send_to(u32 to, u32 from, u32 bytes, u32 barrier, u32 rank) {
  Block* here = self->block; Block* there = here->cluster->blocks[rank];
  copies.push_back([=] { memcpy(there->shared + to, here->shared + from, bytes); settle(barrier_at(there, barrier), 0, -(long)bytes); });
}
static void copy_box_out(const TensorMap* m, u32 from, int x, int y, int z) {
  each(*m, {x, y, z, 0}, [&](u8* to, u32 at) { if (to) *(u16*)to = *(u16*)(self->block->shared + swizzled(from + at)); });
}
static void copy_out(const TensorMap* m, u32 from, int x, int y) { copy_box_out(m, from, x, y, 0); }
static void copy_word(u32 to, const float* from) { memcpy(self->block->shared + to, from, 4); }
static void copy_in_once(u32 to, const TensorMap* m, u32 barrier, int x, int y, u64) { copy_in(to, m, barrier, x, y); }
static void copy_piece(u32 to, const u8* from) { memcpy(self->block->shared + to, from, 16); }
static void copies_arrive(u32 barrier) { barrier_arrive(barrier); }
static void copies_wait() {}
static float load_scale(const float* p) { return *p; }
template <class T> static T load_as(u32 at, u32 rank) { T v; memcpy(&v, self->block->cluster->blocks[rank]->shared + at, sizeof v); return v; }
static float load_shared(u32 at) { return load_as<float>(at, self->block->rank); }
static float2 load_shared_pair(u32 at) { return load_as<float2>(at, self->block->rank); }
static float4 load_shared4(u32 at) { return load_as<float4>(at, self->block->rank); }
static float4 load_shared4_at(u32 at, u32 rank) { return load_as<float4>(at, rank); }
static uint4 load_shared16(u32 at) { return load_as<uint4>(at, self->block->rank); }
static void store_shared(u32 to, float v) { memcpy(self->block->shared + to, &v, 4); }
static void send16(u32 to, u32 rank, u32 barrier, float4 v) { Block* b = self->block->cluster->blocks[rank]; memcpy(b->shared + to, &v, 16); settle(barrier_at(b, barrier), 0, -16); }
static void store_shared_pair(u32 to, float a, float b) { store_shared(to, a); store_shared(to + 4, b); }
static void store_shared_half(u32 to, u32 low) { memcpy(self->block->shared + to, &low, 2); }
static void store16(u16* to, u32 a, u32 b, u32 c, u32 d) { if ((u64)to % 16) fail("a store of 16 bytes elsewhere than at a multiple of 16"); const u32 v[4] = {a, b, c, d}; memcpy(to, v, 16); }

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
static void load4_f32(float* v, const float* p) { memcpy(v, p, 16); }
// Sums of 128 columns, four a lane, columns 64 apart first; the largest of them.
template <int N> static float warp_tree_sum_wide(const float* v) {
  float all[128];
  for (int e = 0; e < 4; e++) { u64* w = exchange(as_bits(v[e])); for (int l = 0; l < 32; l++) all[4 * l + e] = from_bits<float>(w[l]); }
  for (int half = 64; half > 0; half /= 2) for (int i = 0; i < half; i++) all[i] += all[i + half];
  return all[0];
}
static float minus_infinity() { return -INFINITY; }
static float exp2_fast(float v) { return exp2f(v); }
static float reciprocal_fast(float v) { return 1 / v; }
static u16 to_bf16(float f) { u32 b; memcpy(&b, &f, 4); return f != f ? 0x7fff : (b + 0x7fff + (b >> 16 & 1)) >> 16; }
static float of_bf16(u16 h) { u32 b = (u32)h << 16; float f; memcpy(&f, &b, 4); return f; }
static void load4_bf16(float* v, const u16* p) { for (int i = 0; i < 4; i++) v[i] = of_bf16(p[i]); }
static u32 pack_bf16(float low, float high) { return to_bf16(low) | (u32)to_bf16(high) << 16; }
static float larger(float a, float b) { return a != a || b != b ? a + b : fmaxf(a, b); }
static float pow2_ceil(float v) { u32 b; memcpy(&b, &v, 4); return __uint_as_float((b + 0x7fffff) & 0xff800000); }
static float of_e4m3(u8 c) {
  const int e = c >> 3 & 15, f = c & 7; const float v = e ? ldexpf(8 + f, e - 10) : ldexpf(f, -9);
  return (c & 0x7f) == 0x7f ? NAN : c & 0x80 ? -v : v;
}
static u8 to_e4m3(float v) {  // the nearest of all, of two as near the even one
  if (v != v) return 0x7f;
  u8 best = 0;
  for (int c = 1; c < 0x7f; c++) { const float d = fabsf(fabsf(v) - of_e4m3(c)), b = fabsf(fabsf(v) - of_e4m3(best)); if (d < b || (d == b && c % 2 == 0)) best = c; }
  return best | (std::signbit(v) ? 0x80 : 0);
}
static void store4_e4m3(u8* p, const float* v) { for (int e = 0; e < 4; e++) p[e] = to_e4m3(v[e]); }
static u32 pack_half(float low, float high) { _Float16 v[2] = {(_Float16)low, (_Float16)high}; u32 w; memcpy(&w, v, 4); return w; }
static float2 unpack_half(u32 w) { _Float16 v[2]; memcpy(v, &w, 4); return {(float)v[0], (float)v[1]}; }
static uint4 turn_words(uint4 w, int lane) {
  const u32 in[4] = {w.x, w.y, w.z, w.w}; u32 out[4];
  for (int i = 0; i < 4; i++) { u64* v = exchange(in[i]); if (lane % 4 == i) for (int k = 0; k < 4; k++) out[k] = (u32)v[lane / 4 * 4 + k]; }
  return {out[0], out[1], out[2], out[3]};
}
static void store_matrices(u32 to, u32 a, u32 b, u32 c, u32 d) {
  u64* rows = exchange(to); const u32 w[4] = {a, b, c, d}; const int lane = lane_of();
  for (int i = 0; i < 4; i++) memcpy(self->block->shared + (u32)rows[i * 8 + lane / 4] + lane % 4 * 4, &w[i], 4);
  __syncwarp();
}
static void store_matrices_turned(u32 to, u32 a, u32 b, u32 c, u32 d) {
  u64* rows = exchange(to); const u32 w[4] = {a, b, c, d}; const int lane = lane_of();
  for (int i = 0; i < 4; i++) for (int e = 0; e < 2; e++) *(u16*)(self->block->shared + (u32)rows[i * 8 + lane % 4 * 2 + e] + lane / 4 * 2) = w[i] >> 16 * e;
  __syncwarp();
}
static void store_shared16(u32 to, uint4 v) { memcpy(self->block->shared + to, &v, 16); }
static u32 load_shared_word(u32 from) { return *(u32*)(self->block->shared + from); }
static void clear_shared16(u32 at) { memset(self->block->shared + at, 0, 16); }
static uint4 load_words(const uint4* p) { return *p; }
static int load_word(const int* p) { return *p; }
static float4 load_partial(const float4* p) { return *p; }
static int load_acquire(const int* p) { wait(); return *(volatile const int*)p; }
static void add_release(int* p) { ++*p; waits = 0; }
static int atomicAdd(int* p, int v) { const int before = *p; *p += v; waits = 0; return before; }
static u32 atomicAdd(u32* p, u32 v) { const u32 before = *p; *p += v; return before; }
static void atomicOr(u32* p, u32 v) { *p |= v; }
static void atomicMin(u32* p, u32 v) { *p = min(*p, v); }
static void atomicMax(int* p, int v) { *p = max(*p, v); }
static void atomicMax(u64* p, u64 v) { *p = max(*p, v); }
static u64 atomicExch(u64* p, u64 v) { const u64 before = *p; *p = v; return before; }
static int __float_as_int(float v) { return from_bits<int>(as_bits(v)); }
static float __int_as_float(int v) { return from_bits<float>(as_bits(v)); }

// mma of a warp: 16 rows of w, 8 tokens, 32 columns of which a lane holds eight of rows lane / 4 and + 8 and of token lane / 4.
static uint4 load_weights(const u16* p) { uint4 v; memcpy(&v, p, 16); return v; }
static uint4 take_bf16(float (&v)[8]) {
  u32 out[4];
  for (int i = 0; i < 4; i++) { out[i] = pack_bf16(v[2 * i], v[2 * i + 1]); v[2 * i] -= of_bf16((u16)out[i]); v[2 * i + 1] -= of_bf16((u16)(out[i] >> 16)); }
  return make_uint4(out[0], out[1], out[2], out[3]);
}
static void mma_32_columns(float (&d)[4], uint4 upper, uint4 lower, uint4 x) {
  const u32 mine[12] = {upper.x, upper.y, upper.z, upper.w, lower.x, lower.y, lower.z, lower.w, x.x, x.y, x.z, x.w};
  u32 all[12][32];
  for (int i = 0; i < 12; i++) { u64* v = exchange(mine[i]); for (int l = 0; l < 32; l++) all[i][l] = (u32)v[l]; }
  for (int i = 0; i < 4; i++) {
    const int row = lane_of() / 4, token = lane_of() % 4 * 2 + i % 2;
    for (int k = 0; k < 32; k++) d[i] += of_bf16((u16)(all[i / 2 * 4 + k % 8 / 2][row * 4 + k / 8] >> k % 2 * 16)) * of_bf16((u16)(all[8 + k % 8 / 2][token * 4 + k / 8] >> k % 2 * 16));
  }
}

// Tiles of a ring: pieces of 64 columns, ldmatrix, mma of 16 rows by 8 tokens by 16 columns.
static void copy_in_pieces(u32 to, const TensorMap* m, u32 barrier, int row, int piece) { box_to(self->block, to, m, barrier, 0, row, piece, 0); }
static u64 read_once() { return 0; }
static void copy_weights(u32 to, const TensorMap* m, u32 barrier, int row, int piece, u64) { copy_in_pieces(to, m, barrier, row, piece); }
static u32 swizzled(u32 tile, int row, int chunk) { return tile + row * 128 + ((chunk ^ (row & 7)) * 16); }
template <int N> static void load_matrices(u32 from, u32* const (&out)[N]) {
  u64* rows = exchange(from);
  for (int i = 0; i < N; i++) memcpy(out[i], self->block->shared + (u32)rows[i * 8 + lane_of() / 4] + lane_of() % 4 * 4, 4);
}
static void load_matrices4(u32 from, u32& a, u32& b, u32& c, u32& d) { load_matrices<4>(from, {&a, &b, &c, &d}); }
static void load_matrices2(u32 from, u32& a, u32& b) { load_matrices<2>(from, {&a, &b}); }
static void mma_16x8(float (&d)[4], const u32 (&w)[4], const u32 (&x)[2]) {
  float rows[2][16], tokens[2][16];  // of this lane's sums
  for (int i = 0; i < 6; i++) {
    u64* v = exchange(i < 4 ? w[i] : x[i - 4]);
    for (int q = 0; q < 4; q++) for (int e = 0; e < 2; e++) {
      if (i < 4) rows[i % 2][i / 2 * 8 + q * 2 + e] = of_bf16((u16)(v[lane_of() / 4 * 4 + q] >> 16 * e));
      else for (int t = 0; t < 2; t++) tokens[t][(i - 4) * 8 + q * 2 + e] = of_bf16((u16)(v[(lane_of() % 4 * 2 + t) * 4 + q] >> 16 * e));
    }
  }
  for (int i = 0; i < 4; i++) for (int k = 0; k < 16; k++) d[i] += rows[i / 2][k] * tokens[i % 2][k];
}

// wgmma by descriptor: start, and the bytes to the next 64 lanes and the next 8 rows. Done at once: one of the orders the hardware allows.
static u64 tile_descriptor(u32 at) { return (u64)(at >> 4) | 1ull << 16 | 64ull << 32; }
template <int CHUNK> static u64 turned_descriptor(u32 at) { return (u64)(at >> 4) | (u64)(CHUNK >> 4) << 16 | 64ull << 32; }
static float element(u64 d, bool turned, int row, int k) {  // of an operand: rows of k, or turned over
  const u32 at = (d & 0x3fff) << 4, chunk = (d >> 16 & 0x3fff) << 4, rows = (d >> 32 & 0x3fff) << 4;
  return of_bf16(*(u16*)(self->block->shared + swizzled(turned ? at + row / 64 * chunk + k / 8 * rows + k % 8 * 128 + row % 64 * 2 : at + row / 8 * rows + row % 8 * 128 + k * 2)));
}
template <int ADD, int N> static void multiply(float (&d)[N / 2], const float (&a)[2][16], u64 b, bool turned) {
  for (int i = 0; i < N / 2; i++) {
    const int column = i / 4 * 8 + lane_of() % 4 * 2 + i % 2;
    float sum = 0;
    for (int k = 0; k < 16; k++) sum += a[i / 2 % 2][k] * element(b, turned, column, k);
    d[i] = (ADD ? d[i] : 0.f) + sum;
  }
}
template <int ADD, int N> static void product(float (&d)[N / 2], u64 a, u64 b, bool turned, bool across = false) {
  float rows[2][16];
  for (int i = 0; i < 32; i++) rows[i / 16][i % 16] = element(a, across, self->thread.x % 128 / 32 * 16 + lane_of() / 4 + i / 16 * 8, i % 16);
  multiply<ADD, N>(d, rows, b, turned);
}
template <int ADD> static void wgmma_64x16x16(float (&d)[8], u64 a, u64 b) { product<ADD, 16>(d, a, b, false); }
template <int ADD> static void wgmma_64x16x16_across(float (&d)[8], u64 a, u64 b) { product<ADD, 16>(d, a, b, false, true); }
template <int ADD> static void wgmma_64x32x16(float (&d)[16], u64 a, u64 b) { product<ADD, 32>(d, a, b, false); }
template <int ADD> static void wgmma_64x32x16_across(float (&d)[16], u64 a, u64 b) { product<ADD, 32>(d, a, b, false, true); }
template <int ADD> static void wgmma_64x64x16(float (&d)[32], u64 a, u64 b) { product<ADD, 64>(d, a, b, false); }
template <int ADD> static void wgmma_64x128x16(float (&d)[64], u64 a, u64 b) { product<ADD, 128>(d, a, b, false); }
template <int ADD> static void wgmma_64x128x16_turned(float (&d)[64], u64 a, u64 b) { product<ADD, 128>(d, a, b, true); }
template <int ADD> static void wgmma_64x128x16_turned_held(float (&d)[64], const u32 (&a)[4], u64 b) {
  float rows[2][16];
  for (int i = 0; i < 4; i++) {
    u64* v = exchange(a[i]);
    for (int q = 0; q < 4; q++) for (int e = 0; e < 2; e++) rows[i % 2][i / 2 * 8 + q * 2 + e] = of_bf16((u16)(v[lane_of() / 4 * 4 + q] >> 16 * e));
  }
  multiply<ADD, 128>(d, rows, b, true);
}
template <int HELD> static void product_64(float (&sum)[HELD], u64 a, u64 b, int add) {
  __syncwarp();
  for (int i = 0; i < 4; i++) i || add ? product<1, 2 * HELD>(sum, a + 2 * i, b + 2 * i, false) : product<0, 2 * HELD>(sum, a, b, false);
}
// 128 columns of e4m3.
static const std::vector<float> values_of_e4m3 = [] { std::vector<float> v; for (int c = 0; c < 256; c++) v.push_back(of_e4m3(c)); return v; }();
static float code(u64 d, int row, int k) { return values_of_e4m3[self->block->shared[swizzled(((d & 0x3fff) << 4) + row / 8 * ((d >> 32 & 0x3fff) << 4) + row % 8 * 128 + k)]]; }
template <int HELD> static void product_128(float (&part)[HELD], u64 a, u64 b) {
  __syncwarp();
  const int row = self->thread.x % 128 / 32 * 16 + lane_of() / 4;
  float rows[2][128];
  for (int i = 0; i < 256; i++) rows[i / 128][i % 128] = code(a, row + i / 128 * 8, i % 128);
  for (int i = 0; i < HELD; i++) {
    part[i] = 0;
    for (int k = 0; k < 128; k++) part[i] += rows[i / 2 % 2][k] * code(b, i / 4 * 8 + lane_of() % 4 * 2 + i % 2, k);
  }
}
// The same of 32 columns, rows of x in plain pieces of 16 columns.
template <int HELD> static u64 pieces_descriptor(u32 at) { return (u64)(at >> 4) | (u64)HELD << 16 | 8ull << 32; }
template <int ADD> static void wgmma_64x8x32(float (&d)[4], u64 a, u64 b) {
  const u32 x = (b & 0x3fff) << 4, lead = (b >> 16 & 0x3fff) << 4;
  const int row = self->thread.x % 128 / 32 * 16 + lane_of() / 4, token = lane_of() % 4 * 2;
  const u32 w = (a & 0x3fff) << 4;  // and as many bytes on as the columns are: the swizzle is of addresses
  for (int i = 0; i < 4; i++) {
    if (!ADD) d[i] = 0;
    for (int k = 0; k < 32; k++) d[i] += values_of_e4m3[self->block->shared[swizzled(w + (row + i / 2 * 8) * 128 + k)]] * values_of_e4m3[self->block->shared[x + k / 16 * lead + (token + i % 2) * 16 + k % 16]];
  }
}
// A warp takes these together: none of its lanes is still at a barrier before them.
template <int LATER, int N> static void wgmma_wait(float (&)[N]) { __syncwarp(); }
static void wgmma_fence() { __syncwarp(); }
template <int COUNT> static void registers_down() {}
template <int COUNT> static void registers_up() {}
static void barrier_init_done() {} static void release_next() {} static void fence_async() {}
static void wgmma_commit() {} static void copy_out_commit() {} static void copy_out_wait() {} static void copy_out_read() {}
static void prefetch_map(const TensorMap*) {} static void prefetch_box(const TensorMap*, int, int, int) {}

// A few tokens through their experts: bytes in a row; eight rows of x with 16 columns of each side by side, and the next 16 columns where
// the descriptor says.
static void copy_bytes(u32 to, const void* from, u32 bytes, u32 barrier) {
  Block* b = self->block;
  if (to % 16 || (u64)from % 16 || bytes % 16) fail("bytes are no whole words of 16");
  copies.push_back([=] { memcpy(b->shared + to, from, bytes); settle(barrier_at(b, barrier), 0, -(long)bytes); });
}
static void copy_slice(u32 to, const TensorMap* m, u32 barrier, int row, int part, int step) { box_to(self->block, to, m, barrier, 0, row, part, step); }
static void copy_16(u32 to, const void* from) { memcpy(self->block->shared + to, from, 16); }
static void store_shared_word(u32 at, u32 v) { memcpy(self->block->shared + at, &v, 4); }
template <class T> static T load_fresh(const T* p) { return *p; }
static float from_bf16(u16 h) { return of_bf16(h); }
template <int N> static float warp_max(const float* v) {
  float most = v[0];
  for (int q = 1; q < N / 32; q++) most = larger(most, v[q]);
  u64* all = exchange(as_bits(most));
  for (int l = 0; l < 32; l++) most = larger(most, from_bits<float>(all[l]));
  return most;
}
template <int PITCH> static u64 rows_descriptor(u32 at) { if (at % 16) fail("rows do not begin at 16 bytes"); return (u64)(at >> 4) | (u64)(PITCH / 16) << 16; }
template <int PITCH> static void product_rows(float (&d)[4], u64 w, u64 x) {
  __syncwarp();
  const u32 rows = (w & 0x3fff) << 4, columns = (x & 0x3fff) << 4, next = (x >> 16 & 0x3fff) << 4;
  if (rows % 1024) fail("rows of weights do not begin where the swizzle does");
  for (int i = 0; i < 4; i++) {
    const int row = self->thread.x % 128 / 32 * 16 + lane_of() / 4 + i / 2 * 8, column = lane_of() % 4 * 2 + i % 2;
    float sum = 0;
    for (int k = 0; k < 128; k++) sum += values_of_e4m3[self->block->shared[swizzled(rows + row * 128 + k)]] * values_of_e4m3[self->block->shared[columns + k / 16 * next + column * 16 + k % 16]];
    d[i] = sum;
  }
}
// Routing, a warp a token.
static u32 ordered(float v) { const u32 bits = __float_as_uint(v); return bits & 0x80000000u ? ~bits : bits | 0x80000000u; }
static float warp_total(float v) { for (int apart = 16; apart > 0; apart /= 2) v += __shfl_xor_sync(~0u, v, apart); return v; }
static u32 __reduce_max_sync(u32, u32 v) { u64* all = exchange(v); u32 r = 0; for (int i = 0; i < 32; i++) r = (u32)all[i] > r ? (u32)all[i] : r; return r; }
static float __fsub_rn(float a, float b) { return a - b; }
