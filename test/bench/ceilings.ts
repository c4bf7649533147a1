// What this machine can do at most, measured by loops that do nothing else: a WebAssembly SIMD read, a WebAssembly SIMD
// multiply and add on registers, and a C read compiled on the spot. The first two are kernels like any other, so they run on the
// device's own threads over the model's own memory.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { encode } from "../../codegen/cpu/encode.ts";
import { get, i32, ins, load, plus, set, splat, store, times } from "../../codegen/cpu/wasm.ts";
import { Writer } from "../../codegen/cpu/writer.ts";
import type { CpuKernel } from "../../runtime/devices/cpu.ts";

/** Bytes of one cell of the read loop, and multiply-adds of one cell of the arithmetic loop. */
export const READ_CELL = 1 << 16;
const ADD_TURNS = 1 << 14;
const SUMS = 8;
export const ADD_CELL = ADD_TURNS * SUMS * 4;

const named = (name: string, w: Writer): CpuKernel => ({
  name,
  binary: encode({ header: [name], funcs: [w.func] }) as Uint8Array<ArrayBuffer>,
  entry: "run",
  scratchBytes: 4096,
});

const opened = (...values: string[]): Writer =>
  new Writer(
    "run",
    ["begin", "end", "scratch", ...values].map((n) => [n, "i32"] as const),
  );

/** run(.., base): reads every byte of its cells, 128 at a time, into eight sums. */
export function readLoop(): CpuKernel {
  const w = opened("base");
  const sums = Array.from({ length: 8 }, (_, i) => w.local("v128", `sum${i}`));
  w.loop("cell", w.param(0), w.param(1), 1, (cell) => {
    const from = get(w.define("from", plus(w.param(3), times(cell, i32(READ_CELL)))));
    w.loop("at", i32(0), i32(READ_CELL), 128, (at) => {
      const here = get(w.define("here", plus(from, at)));
      for (const [i, s] of sums.entries()) w.push(set(s, ins("v128.xor", get(s), load("v128.load", here, 16 * i))));
    });
  });
  for (const [i, s] of sums.entries()) w.push(store("v128.store", w.param(2), get(s), 16 * i));
  return named("bench_read", w);
}

/** run(..): eight sums += x y, f32x4, as the block of a product has them: two x from the first-level cache meet four y. */
export function addLoop(): CpuKernel {
  const w = opened();
  const sums = Array.from({ length: SUMS }, (_, i) => w.local("v128", `sum${i}`));
  const y = [0, 1, 2, 3].map((n) => get(w.define("y", load("v128.load", w.param(2), 512 + 16 * n))));
  for (const s of sums) w.push(set(s, splat(0)));
  w.loop("cell", w.param(0), w.param(1), 1, () =>
    w.loop("turn", i32(0), i32(ADD_TURNS), 1, (turn) => {
      const at = get(w.define("at", plus(w.param(2), times(ins("i32.and", turn, i32(15)), i32(16)))));
      const x = [0, 1].map((n) => get(w.define("x", load("v128.load", at, 256 * n))));
      for (const [i, s] of sums.entries()) w.push(set(s, ins("f32x4.add", get(s), ins("f32x4.mul", x[i & 1], y[i >> 1]))));
    }),
  );
  for (const [i, s] of sums.entries()) w.push(store("v128.store", w.param(2), get(s), 1024 + 16 * i));
  return named("bench_add", w);
}

const C_SOURCE = `
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
typedef struct { const uint64_t *p; long n; uint64_t sum; } part;
static void *sum(void *a) {
  part *t = a;
  uint64_t s[32] = {0};
  for (long i = 0; i + 32 <= t->n; i += 32)
    for (int j = 0; j < 32; j++) s[j] ^= t->p[i + j];
  for (int j = 0; j < 32; j++) t->sum ^= s[j];
  return 0;
}
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e3 + t.tv_nsec * 1e-6; }
/* Milliseconds to read all bytes with that many threads, the calling one among them. */
double read_ms(const void *p, int64_t bytes, int threads) {
  pthread_t ids[64];
  part parts[64];
  long n = bytes / 8;
  double from = now();
  for (int i = 0; i < threads; i++) {
    parts[i] = (part){(const uint64_t *)p + n * i / threads, n * (i + 1) / threads - n * i / threads, 0};
    if (i) pthread_create(&ids[i], 0, sum, &parts[i]);
  }
  sum(&parts[0]);
  uint64_t all = parts[0].sum;
  for (int i = 1; i < threads; i++) { pthread_join(ids[i], 0); all ^= parts[i].sum; }
  double ms = now() - from;
  return all == 0x5eed5eed5eed5eedull ? -ms : ms;
}
`;

/** The C read loop over a view of memory, or undefined where no C compiler is found. Gives milliseconds. */
export async function cReadLoop(): Promise<((bytes: Uint8Array, threads: number) => number) | undefined> {
  const folder = mkdtempSync(path.join(tmpdir(), "dsc-bench-"));
  try {
    const [source, library] = [path.join(folder, "read.c"), path.join(folder, "read.so")];
    writeFileSync(source, C_SOURCE);
    try {
      execFileSync("cc", ["-O3", "-march=native", "-shared", "-fPIC", "-pthread", "-o", library, source], { stdio: "pipe" });
    } catch {
      return undefined;
    }
    const { default: koffi } = await import("koffi");
    const read = koffi.load(library).func("double read_ms(const void *p, int64_t bytes, int threads)") as (
      p: Uint8Array,
      n: number,
      t: number,
    ) => number;
    return (bytes, threads) => Math.abs(read(bytes, bytes.length, threads));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
