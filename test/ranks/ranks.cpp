// Ranks as threads of one process, each with a copy of the kernel's library behind the machine of fibres (fibres.h), so that only the
// mailboxes are shared: real loads and stores of 64 bits between threads, at random times. Every round has other values; sums are
// compared bit for bit with the sum in rank order. Prints what the control blocks say where the program ends early.
//   ranks LIBRARY KIND RANKS ROUNDS BF16 A B C LIMIT_MS [WORD ...]
// KIND: reduce (A words), gather (A outer, B inner, C elements a launch), norm (A rows, B columns). WORDS: missing (the last rank never
// comes), other (it comes to something else), stop (the host ends the wait).
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <random>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>
typedef uint32_t u32; typedef uint64_t u64; typedef uint16_t u16; typedef uint8_t u8;
static std::vector<int*> controls;
static std::atomic<long> wrong{0}, finished{0};
static void tell() {
  for (int* c : controls) if (c[1]) printf("why %d rank %d peer %d epoch %d what %d seen %d\n", c[1], c[2], c[3], c[4], c[5], c[6]);
  printf("wrong %ld finished %ld\n", wrong.load(), finished.load());
}
static u32 mixed(u32 x) { x ^= x >> 16; x *= 0x85ebca6bu; x ^= x >> 13; x *= 0xc2b2ae35u; return x ^ (x >> 16); }
static float of_bf16(u16 h) { u32 b = (u32)h << 16; float f; memcpy(&f, &b, 4); return f; }
static u16 to_bf16(float f) { u32 b; memcpy(&b, &f, 4); return (b + 0x7fff + (b >> 16 & 1)) >> 16; }
// What a rank has at a round: sums of such depend on their order.
static float value(int rank, int round, int i) { return ((int)(mixed(mixed(round * 131 + rank) ^ i) >> 8) - (1 << 23)) * ldexpf(1, (int)(mixed(i + rank) % 24) - 23); }
static void* room(size_t bytes) { void* p = aligned_alloc(256, (bytes + 255) / 256 * 256); memset(p, 0, bytes); return p; }

int main(int words, char** w) {
  const std::string library = w[1], kind = w[2];
  const int n = atoi(w[3]), rounds = atoi(w[4]), bf16 = atoi(w[5]), a = atoi(w[6]), b = atoi(w[7]), c = atoi(w[8]), limit = atoi(w[9]);
  std::string word = words > 10 ? w[10] : "";
  setbuf(stdout, nullptr);
  std::vector<void (*)(void**, int)> run;
  std::vector<void*> mailboxes;
  for (int r = 0; r < n; r++) {
    const std::string copy = library + "." + std::to_string(getpid()) + "." + std::to_string(r);
    if (system(("cp " + library + " " + copy).c_str())) return 9;
    void* l = dlopen(copy.c_str(), RTLD_NOW | RTLD_LOCAL);
    unlink(copy.c_str());
    if (!l) { puts(dlerror()); return 9; }
    run.push_back((void (*)(void**, int))dlsym(l, "run"));
    mailboxes.push_back(room(256 + 2ull * n * 32768 * 16));
    controls.push_back((int*)room(64));
  }
  atexit(tell);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < n; rank++) threads.emplace_back([&, rank] {
    std::mt19937 chance(rank * 77 + 1);
    const int size = bf16 ? 2 : 4, count = kind == "reduce" ? (bf16 ? 2 * a : a) : a * b;
    float* x = (float*)room(count * size + 8); float* y = (float*)room((size_t)count * n * size + 8);
    float* h = (float*)room(count * 4); float* gain = (float*)room(count * 4); float* sum = (float*)room(count * 4);
    u8* codes = (u8*)room(count); float* scales = (float*)room(count);
    for (int i = 0; i < count; i++) { h[i] = value(100, 0, i); gain[i] = 1 + i % 3; }
    const int* table = (const int*)mailboxes.data(); int* control = controls[rank];
    int me = rank, ranks = n, what = word == "other" && rank == n - 1 ? 9 : 7, most = limit, form = bf16, A = a, B = b, C = c, from = 0;
    const auto keep = [&](void* p, int i, float v) { if (bf16) ((u16*)p)[i] = to_bf16(v); else ((float*)p)[i] = v; };
    const auto kept = [&](const void* p, int i) { return bf16 ? of_bf16(((const u16*)p)[i]) : ((const float*)p)[i]; };
    const auto held = [&](int r, int round, int i) { const float v = value(r, round, i); return bf16 ? of_bf16(to_bf16(v)) : v; };
    const auto total = [&](int round, int i) { float t = held(0, round, i); for (int r = 1; r < n; r++) t += held(r, round, i); return bf16 ? of_bf16(to_bf16(t)) : t; };
    if (word == "missing" && rank == n - 1) { for (;;) pause(); }
    if (word == "stop" && rank == n - 1) { usleep(50000); for (int* k : controls) *(volatile int*)k = 1; for (;;) pause(); }
    for (int round = 0; round < rounds; round++) {
      for (int i = 0; i < count; i++) keep(x, i, value(rank, round, i));
      if (chance() % 16 == 0) usleep(chance() % 300); else if (chance() % 4 == 0) std::this_thread::yield();
      if (kind == "reduce") {
        void* p[] = {&x, &y, &table, &control, &me, &ranks, &what, &most, &form, &A};
        run[rank](p, 2);
        for (int i = 0; i < count; i++) wrong += kept(y, i) != total(round, i);
      } else if (kind == "gather") {
        for (from = 0; from < a * b; from += c) {
          int some = std::min(c, a * b - from);
          void* p[] = {&x, &y, &table, &control, &me, &ranks, &what, &most, &form, &A, &B, &from, &some};
          run[rank](p, 1);
        }
        for (int i = 0; i < a * b; i++) for (int r = 0; r < n; r++) wrong += kept(y, (i / b * n + r) * b + i % b) != held(r, round, i);
      } else {
        void* p[] = {&x, &h, &gain, &sum, &y, &codes, &scales, &table, &control, &me, &ranks, &what, &most, &A};
        run[rank](p, a * c);
        for (int row = 0; row < a; row++) {
          double squares = 0;
          for (int i = row * b; i < row * b + b; i++) {
            wrong += sum[i] != h[i] + total(round, i);
            squares += (double)sum[i] * sum[i];
          }
          const double by = 1 / sqrt(squares / b + 1e-6);
          for (int i = row * b; i < row * b + b; i++) {
            const double want = sum[i] * by * gain[i % b], scale = scales[i / 128];
            wrong += !(fabs(y[i] - want) <= 1e-5 * fabs(want) + 1e-12);
            const int e = codes[i] >> 3 & 15, f = codes[i] & 7;
            const double code = (codes[i] & 128 ? -1 : 1) * (e ? ldexp(8 + f, e - 10) : ldexp(f, -9));
            wrong += !(fabs(code * scale - want) <= fabs(want) / 15 + scale / 512);
          }
        }
      }
    }
    finished++;
  });
  for (auto& t : threads) t.join();
  return 0;
}
