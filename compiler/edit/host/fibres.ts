// The machine of fibres: what a hand-written sm_90a kernel finds instead of a GPU. Its text is compiled by g++ behind this header and
// behind the host meanings of the device functions it calls (`host` of codegen/cuda/ptx): every thread is a fibre that runs until it
// must wait, copies arrive in random order, shared memory starts as NaN, a wait that nothing ends stops the program; the kernel
// before still runs when one begins. Products, swizzles, barriers and clusters mean what the PTX manual says; what the hardware
// needs besides, fences and registers, is not seen here.

import { hardware } from "./hardware.ts";

/** How g++ compiles it and what stands behind it. */
export const hostFlags: readonly string[] = ["-O1", "-march=native", "-ffp-contract=off", "-std=c++17", "-w"];

/** Blocks, clusters, fibres and numbers, in C++. */
const scheduler = String.raw`#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <sched.h>
#include <time.h>
#include <random>
#include <vector>
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64; typedef long long i64;
struct int2 { int x, y; };
struct int4 { int x, y, z, w; };
struct uint2 { u32 x, y; };
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
struct uint4 { u32 x, y, z, w; };
static int2 make_int2(int x, int y) { return {x, y}; }
static int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static uint2 make_uint2(u32 x, u32 y) { return {x, y}; }
static float2 make_float2(float x, float y) { return {x, y}; }
static float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }
// As the library's, which is a call.
static inline float max_of(float a, float b) { return b != b || a > b ? a : b; }
static inline float min_of(float a, float b) { return b != b || a < b ? a : b; }
#define fmaxf max_of
#define fminf min_of
template <class T> static T min(T a, T b) { return a < b ? a : b; }
template <class T> static T max(T a, T b) { return a > b ? a : b; }
#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __grid_constant__
#define __launch_bounds__(...)

// Blocks, clusters, fibres.
struct Index { int x, y, z; };
struct Barrier { int expected = 0, pending = 0; long bytes = 0; int phase = 0; bool made = false; };
struct Meeting { int count = 0, turn = 0; };
struct Warp { u64 values[2][32]; int count = 0, turn = 0; };
struct Block;
struct Cluster { std::vector<Block*> blocks; Meeting meeting; };
struct Block {
  u8* shared;
  u32 used;
  std::map<int, u8*> variables;
  std::map<u32, Barrier> barriers;
  Meeting meetings[16];
  Warp warps[32];
  Cluster* cluster;
  int rank;
  Index at;
};
struct Fibre { void* stack_pointer; u8* stack; Block* block; Index thread; int number, cluster_turn; };
// What a fibre waits for: it is not switched to while the value is "same". One that goes on watches "never", one that is done nothing.
struct Watch { const int* value; int same; };
static const u32 ARENA = 240 << 10;
static Fibre* self;
static std::vector<Fibre*> fibres;
static std::vector<Watch> watches;
static const int never = 0;
// Fibres have turns by block, round after round while any of it goes on, up to a number that chance gives: near each other in memory,
// and blocks run ahead of each other.
static size_t turn_of, block_begins, block_ends;
static int rounds;
static bool any_ran;
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
static int previous_ended;
static long awaited;
#define threadIdx (self->thread)
#define blockIdx (self->block->at)
static void fail(const char* what) {
  fprintf(stderr, "%s: block %d %d %d, thread %d\n", what, blockIdx.x, blockIdx.y, blockIdx.z, self->thread.x);
  exit(1);
}
extern "C" void switch_stacks(void** from, void* to);
asm(".globl switch_stacks\nswitch_stacks:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\nmov %rsp,(%rdi)\nmov %rsi,%rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");
static void some_copies() {
  while (!copies.empty() && chance() % 4 == 0) {
    size_t i = chance() % copies.size();
    auto c = copies[i];
    copies[i] = copies.back();
    copies.pop_back();
    c();
    waits = 0;
  }
}
static void end_previous() {
  for (Late& l : late) {
    for (u8 b : *l.now) if (b != 0xff) fail("a buffer is written before the kernel before has ended");
    memcpy(l.now->data(), l.real.data(), l.real.size());
  }
  previous_ended = true; waits = 0;
}
static void count_wait() {
  if (!previous_ended && awaited && waits > 30l * (long)fibres.size()) end_previous();
  if (++waits > 400l * (long)fibres.size()) fail("nothing ends this wait");
}
static void next_fibre() {
  Fibre* before = self;
  for (;;) {
    if (++turn_of == block_ends) {
      some_copies();
      if (!any_ran || --rounds <= 0) {
        block_begins = block_ends == fibres.size() ? 0 : block_ends;
        block_ends = block_begins + blockDim.x;
        rounds = 1 + chance() % 16;
      }
      turn_of = block_begins; any_ran = false;
    }
    const Watch& w = watches[turn_of];
    if (!w.value) continue;
    self = fibres[turn_of];
    if (*w.value != w.same) break;
    count_wait();
  }
  any_ran = true;
  if (self != before) switch_stacks(&before->stack_pointer, self->stack_pointer);
}
static void wait() { count_wait(); next_fibre(); }
static void wait_while(const int& value, int same) {
  if (value != same) return;
  watches[self->number] = {&value, same};
  wait();
  watches[self->number] = {&never, 1};
}
static void await_previous() { awaited++; wait_while(previous_ended, 0); }
static void fibre_body() {
  kernel();
  watches[self->number].value = nullptr; waits = 0;
  if (--alive == 0) { void* left; switch_stacks(&left, main_stack); }
  next_fibre();
}
// Memory of stacks and of blocks is kept from launch to launch: the system clears every page that it gives.
static u8* kept(std::vector<u8*>& of, size_t i, size_t align, size_t bytes) {
  if (i == of.size()) of.push_back((u8*)aligned_alloc(align, bytes));
  return of[i];
}
static std::vector<u8*> stacks, arenas;
static void launch(Index grid, int threads, Index of_cluster, u32 dynamic, std::function<void()> body) {
  // Clusters lie along x or along y.
  const int cluster = of_cluster.x * of_cluster.y, blocks = grid.x * grid.y * grid.z, width = of_cluster.y > 1 ? grid.y : grid.x;
  gridDim = grid; blockDim = {threads, 1, 1}; kernel = body; fibres.clear(); watches.clear(); copies.clear(); waits = 0;
  for (Late& l : late) { l.real = *l.now; memset(l.now->data(), 0xff, l.now->size()); }
  previous_ended = false; awaited = 0;
  std::vector<Block*> all;
  for (int b = 0; b < blocks; b++) {
    Block* n = new Block();
    n->shared = kept(arenas, b, 1024, ARENA); memset(n->shared, 0xff, ARENA);
    n->used = (dynamic + 127) / 128 * 128; n->rank = b % cluster;
    const int turn = b / width;
    n->at = of_cluster.y > 1 ? Index{turn % grid.x, b % width, turn / grid.x} : Index{b % width, turn % grid.y, turn / grid.y};
    n->cluster = n->rank ? all.back()->cluster : new Cluster();
    n->cluster->blocks.push_back(n); all.push_back(n);
  }
  const int STACK = 65536;
  for (Block* b : all) for (int t = 0; t < threads; t++) {
    Fibre* f = new Fibre{nullptr, kept(stacks, fibres.size(), 64, STACK), b, {t}, (int)fibres.size(), 0};
    // Stacks that began at one place of their pages would share few lines of the cache.
    void** top = (void**)(f->stack + STACK - 64 * (1 + fibres.size() % 61));
    *--top = nullptr; *--top = (void*)fibre_body;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    f->stack_pointer = top; fibres.push_back(f); watches.push_back({&never, 1});
  }
  alive = fibres.size(); turn_of = block_begins = 0; block_ends = threads; rounds = 1; self = fibres[0];
  switch_stacks(&main_stack, self->stack_pointer);
  if (!previous_ended) fail("nothing waits for the kernel before");
  for (Fibre* f : fibres) delete f;
  for (Block* b : all) { if (b->rank == 0) delete b->cluster; delete b; }
}
// A shared variable of the block, by its place in the text.
static u8* shared_variable(int id, size_t bytes) {
  Block* b = self->block;
  if (!b->variables.count(id)) {
    b->variables[id] = b->shared + b->used;
    b->used += (bytes + 15) / 16 * 16;
    if (b->used > 232448) fail("too much shared memory");
  }
  return b->variables[id];
}
static u32 shared_address(const void* p) { return (u32)((const u8*)p - self->block->shared); }
`;

/** The machine, in C++. */
export const fibres = scheduler + hardware;
