// Runs printed CUDA C++ without a GPU: g++ compiles the text under a small header in which every thread of a block is a fibre that
// runs until it must wait. Fibres run one after another, forwards or backwards, so that a missing barrier shows; shared memory starts
// as NaN; a barrier that some threads never reach ends the program.
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import type { HostBuffer } from "../../ir/kernel/interpret.ts";
import { evaluate } from "../../ir/size.ts";
import { peer } from "../../codegen/cuda/ptx/peer.ts";
import { earlyOf } from "../../compiler/edit/host/program.ts";
import { hostBuild } from "./host-compiler.ts";

/** What a text finds instead of a GPU. Fibres start by ucontext and switch by longjmp, which makes no system call. */
export const hostHeader = String.raw`
#include <ucontext.h>
#include <setjmp.h>
#include <sched.h>
#include <time.h>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>
using std::fabs; using std::floor;
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
struct Index { int x; };
struct uint2 { unsigned x, y; }; struct alignas(16) uint4 { unsigned x, y, z, w; }; struct alignas(16) int4 { int x, y, z, w; }; struct alignas(16) float4 { float x, y, z, w; };
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static Index threadIdx, blockIdx, gridDim;
static const int LIMIT = 1024;
static ucontext_t start, first;
static jmp_buf scheduler, fibres[LIMIT];
static char* stacks[LIMIT];
static int waits[LIMIT];  // 0 runs, 1 at the block barrier, 2 at its warp's, 3 done, 4 for the kernel before
static unsigned long long slots[LIMIT];
static float* dynamic_shared;
static void wait_for(int what) { int self = threadIdx.x; waits[self] = what; if (!_setjmp(fibres[self])) _longjmp(scheduler, 1); threadIdx.x = self; }
static void __syncthreads() { wait_for(1); }
// The kernel before, which still runs when a block begins: what it makes is 0xff until it ends, which is when nothing else goes on.
struct Late { std::vector<char>* now; bool made; std::vector<char> real; };
static std::vector<Late> late;
static bool previous_ended = true, awaited;
static void await_kernel_before() { while (!previous_ended) wait_for(4); }
static void begin_previous() {
  previous_ended = late.empty();
  for (Late& l : late) { l.real = *l.now; if (l.made) memset(l.now->data(), 0xff, l.now->size()); }
}
static void end_previous() {
  for (Late& l : late)
    if (l.made) memcpy(l.now->data(), l.real.data(), l.real.size());
    else if (*l.now != l.real) { fprintf(stderr, "a buffer is written before the kernel before has ended\n"); exit(5); }
  previous_ended = awaited = true;
}
// A look at memory that another rank writes: other threads go on.
static void let_others_run() { if (threadIdx.x == 0) sched_yield(); wait_for(0); }
static unsigned long long host_nanoseconds() { timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }
// A trap ends the program, or the launch where whoever runs it asks for that.
extern "C" { int trapped = 0, trap_returns = 0; }
static void fail(const char* what) { if (trap_returns) { trapped = 1; _longjmp(scheduler, 1); } fprintf(stderr, "%s\n", what); exit(7); }
static int atomicAdd(int* p, int v) { const int before = *p; *p += v; return before; }
static void __threadfence_system() {} static void __threadfence() {}
static void __syncwarp() { wait_for(2); }
template <class T> static T exchange(T v, int from) {
  memcpy(&slots[threadIdx.x], &v, sizeof v); wait_for(2);
  T out; memcpy(&out, &slots[threadIdx.x / 32 * 32 + from], sizeof out); wait_for(2);
  return out;
}
template <class T> static T __shfl_xor_sync(unsigned, T v, int apart) { return exchange(v, (threadIdx.x % 32) ^ apart); }
template <class T> static T __shfl_sync(unsigned, T v, int from) { return exchange(v, from); }
template <class T> static T __shfl_up_sync(unsigned, T v, int by) { int l = threadIdx.x % 32; return exchange(v, l >= by ? l - by : l); }
static unsigned __ballot_sync(unsigned, int p) {
  slots[threadIdx.x] = p != 0; wait_for(2);
  unsigned b = 0; for (int l = 0; l < 32; l++) b |= (unsigned)slots[threadIdx.x / 32 * 32 + l] << l;
  wait_for(2); return b;
}
static unsigned __reduce_max_sync(unsigned, unsigned v) { unsigned m = 0; for (int l = 0; l < 32; l++) { unsigned o = exchange(v, l); m = o > m ? o : m; } return m; }
static unsigned __byte_perm(unsigned a, unsigned b, unsigned s) { unsigned long long v = a | (unsigned long long)b << 32; unsigned o = 0; for (int i = 0; i < 4; i++) o |= (unsigned)(v >> 8 * (s >> 4 * i & 7) & 255) << 8 * i; return o; }
static int __ffsll(unsigned long long v) { return __builtin_ffsll(v); }
static int __popc(unsigned v) { return __builtin_popcount(v); }
static int __ffs(int v) { return __builtin_ffs(v); }
static float __uint_as_float(unsigned u) { float f; memcpy(&f, &u, 4); return f; }
static float __int_as_float(unsigned u) { return __uint_as_float(u); }
static unsigned __float_as_uint(float f) { unsigned u; memcpy(&u, &f, 4); return u; }
static float __fadd_rn(float a, float b) { return a + b; }
static float __fsub_rn(float a, float b) { return a - b; }
static float __fmul_rn(float a, float b) { return a * b; }
static float __fdiv_rn(float a, float b) { return a / b; }
static double __dadd_rn(double a, double b) { return a + b; }
static double __dsub_rn(double a, double b) { return a - b; }
static double __dmul_rn(double a, double b) { return a * b; }
static double __ddiv_rn(double a, double b) { return a / b; }
static float __double2float_rn(double a) { return (float)a; }
static double __hiloint2double(int high, int low) { unsigned long long b = (unsigned long long)(unsigned)high << 32 | (unsigned)low; double d; memcpy(&d, &b, 8); return d; }
static unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned long long)((unsigned __int128)a * b >> 64); }
static void atomicAdd(unsigned* p, unsigned v) { *p += v; }
static void atomicOr(unsigned* p, unsigned v) { *p |= v; }
static float __fsqrt_rn(float a) { return sqrtf(a); }
static int __float2int_rz(float a) { return a != a ? 0 : a >= 2147483648.0f ? 2147483647 : a < -2147483648.0f ? -2147483647 - 1 : (int)a; }
#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __shared__ static
static void (*entry)();
static void fibre() { entry(); waits[threadIdx.x] = 3; _longjmp(scheduler, 1); }
static bool begun[LIMIT];
static void grid(int blocks, int threads, int shared_bytes, bool backwards, void (*body)()) {
  entry = body; gridDim.x = blocks;
  dynamic_shared = (float*)realloc(dynamic_shared, shared_bytes + 4);
  for (int b = 0; b < blocks; b++) {
    memset(dynamic_shared, 0xff, shared_bytes);
    begin_previous();
    for (int t = 0; t < threads; t++) {
      if (!stacks[t]) stacks[t] = (char*)malloc(65536);
      begun[t] = false;
      waits[t] = 0;
    }
    for (bool going = true; going;) {
      bool ran = false;
      for (int k = 0; k < threads; k++) {
        int t = backwards ? threads - 1 - k : k;
        if (waits[t] != 0) continue;
        ran = true; threadIdx.x = t; blockIdx.x = b;
        if (_setjmp(scheduler)) { if (trapped) return; continue; }
        if (begun[t]) _longjmp(fibres[t], 1);
        begun[t] = true;
        getcontext(&first);
        first.uc_stack.ss_sp = stacks[t]; first.uc_stack.ss_size = 65536; first.uc_link = nullptr;
        makecontext(&first, fibre, 0);
        swapcontext(&start, &first);
      }
      int at[5] = {0, 0, 0, 0, 0};
      for (int t = 0; t < threads; t++) at[waits[t]]++;
      for (int w = 0; w < threads; w += 32) {
        int here = 0;
        for (int l = 0; l < 32; l++) here += waits[w + l] == 2;
        if (here == 32) { for (int l = 0; l < 32; l++) waits[w + l] = 0; ran = true; }
        else if (here && !at[0]) { /* a lane left or waits elsewhere */ }
      }
      if (at[1] == threads) { for (int t = 0; t < threads; t++) waits[t] = 0; ran = true; }
      going = at[3] != threads;
      if (going && !ran && at[4]) { end_previous(); for (int t = 0; t < threads; t++) if (waits[t] == 4) waits[t] = 0; ran = true; }
      if (going && !ran) { fprintf(stderr, "block %d: %d threads at the block barrier, %d at a warp's, %d done\n", b, at[1], at[2], at[3]); exit(3); }
    }
    if (!previous_ended) for (Late& l : late) if (l.made) memcpy(l.now->data(), l.real.data(), l.real.size());
  }
}
static std::vector<char> file(const char* name) {
  FILE* f = fopen(name, "rb"); fseek(f, 0, SEEK_END); std::vector<char> v(ftell(f)); rewind(f);
  if (fread(v.data(), 1, v.size(), f) != v.size()) exit(4);
  fclose(f); return v;
}
`;

export interface Launch {
  kernel: KernelText;
  buffers: Record<string, HostBuffer>;
  dims: Record<string, number>;
}

/** A text as g++ takes it under the header. */
export const hostText = (source: string): string =>
  peer
    .reduce((text, { text: cuda, host }) => text.replace(cuda, () => host), source)
    .replace(/asm volatile\("griddepcontrol\.wait;" ::: "memory"\);/g, "await_kernel_before();")
    .replace(/asm volatile\("griddepcontrol[^;]*;" ::: "memory"\);/g, "")
    .replace("extern __shared__ float shared[];", "float* const shared = dynamic_shared;")
    .replace("extern __shared__ u8 raw[];", "u8* const raw = (u8*)dynamic_shared;")
    .replace('extern "C" ', "static ");

export const hasCompiler = (): boolean => spawnSync("g++", ["--version"]).status === 0;

const types = { f32: "float", bf16: "unsigned short", e4m3: "unsigned char", i32: "int" } as const;

/** Compiles all texts into one program and runs each launch; buffers are overwritten with what the kernels leave. */
export function runOnHost(launches: readonly Launch[], backwards: boolean): void {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "dsc-cuda-"));
  const parts = launches.map(({ kernel, buffers, dims }, i) => {
    const text = hostText(kernel.source);
    const list = kernel.params.filter((p) => p.kind === "buffer");
    const loads = list.map((p, j) => {
      fs.writeFileSync(
        path.join(dir, `${i}.${j}`),
        new Uint8Array(buffers[p.name].buffer, buffers[p.name].byteOffset, buffers[p.name].byteLength),
      );
      return `b${j} = file("${i}.${j}");`;
    });
    const saves = list.map((p, j) =>
      p.access === "in" ? "" : `{ FILE* f = fopen("${i}.${j}", "wb"); fwrite(b${j}.data(), 1, b${j}.size(), f); fclose(f); }`,
    );
    const held = list.flatMap((p, j) =>
      p.access !== "in" ? [`{&b${j}, false, {}}`] : earlyOf(kernel.launch).has(p.name) ? [] : [`{&b${j}, true, {}}`],
    );
    const startsEarly = kernel.launch.pdl && held.length > 0;
    const args = [...list.map((p, j) => `(${types[p.dtype]}*)b${j}.data()`), ...kernel.dims.map((d) => String(dims[d]))].join(
      ", ",
    );
    return `namespace k${i} {\n${text}\nstatic std::vector<char> ${list.map((_, j) => `b${j}`).join(", ")};\nstatic void body() { ${kernel.name}(${args}); }
static void launch(bool backwards) { ${loads.join(" ")}\n ${startsEarly ? `late = {${held.join(", ")}}; awaited = false;` : ""} grid(${evaluate(kernel.launch.grid[0], dims)}, ${kernel.launch.block}, ${kernel.launch.sharedBytes}, backwards, body); late.clear(); ${startsEarly ? `if (!awaited && ${evaluate(kernel.launch.grid[0], dims)} > 0) { fprintf(stderr, "nothing waits for the kernel before\\n"); exit(6); }` : ""} ${saves.join(" ")} }\n}\n`;
  });
  const text = `${parts.join("")}int main(int n, char**) { bool back = n > 1; ${launches.map((_, i) => `k${i}::launch(back);`).join(" ")} return 0; }\n`;
  try {
    const program = hostBuild({ text, header: hostHeader, flags: ["-std=c++17", "-O1", "-ffp-contract=off", "-w"] });
    execFileSync(program, backwards ? ["backwards"] : [], { cwd: dir, stdio: ["ignore", "ignore", "pipe"] });
    launches.forEach(({ kernel, buffers }, i) =>
      kernel.params
        .filter((p) => p.kind === "buffer")
        .forEach((p, j) => {
          if (p.access !== "in")
            new Uint8Array(buffers[p.name].buffer, buffers[p.name].byteOffset).set(fs.readFileSync(path.join(dir, `${i}.${j}`)));
        }),
    );
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
}
