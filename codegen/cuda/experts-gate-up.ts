// The first product of a few tokens through their experts on sm_90a: every pair of a token and an expert gets its row of gate and up.
// All tokens lie in shared memory and are multiplied by every expert that any of them visits; wgmma's narrow side is eight anyway, so
// nothing is gathered: an expert keeps the columns of its own tokens. Each sum is one block's: same bits every run.
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import { sliceLayout, sliceName, type ExpertsProblem, type SliceSchedule } from "../schedules/sm90-experts.ts";
import { expertsFragments, fetchStage, findRuns, mathPlace, multiplySlice, sliceConstants } from "./experts-fragments.ts";
import { called, fragments, header } from "./fragments.ts";

export function expertsGateUp(p: ExpertsProblem, s: SliceSchedule): KernelText {
  const { experts, n, k } = p;
  const name = `experts_gate_up_${experts}x${n}x${k}_${sliceName(s)}`;
  const kernel = `
extern "C" __global__ void __launch_bounds__(THREADS, 1)
${name}(const __grid_constant__ TensorMap w_map, const u8* x, const float* x_scale, const float* w_scale, const int* order, const int* offsets, u16* y, int T) {
  extern __shared__ u8 raw[];
  __shared__ Run runs[ROWS];
  __shared__ int busy_of[THREADS / 32];
  __shared__ int row_of[ROWS * TOKENS];  // by expert with rows and token: its row among the sorted, or -1
  const u32 ring = (shared_address(raw) + 1023) & ~1023u;  // the swizzle repeats every 1024 bytes
  const u32 full = ring + FULL, empty = full + 8 * STAGES;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row0 = blockIdx.x * SLICE, scale_row0 = min(row0 / 128, N / 128 - SCALE_ROWS);
${fetchStage}
  const int ahead = min(STAGES, SHARED * UNITS);
  if (threadIdx.x == MATH) {
    for (int i = 0; i < STAGES; i++) {
      barrier_init(full + 8 * i, 1);
      barrier_init(empty + 8 * i, MATH / 32);  // one arrival a math warp
    }
    barrier_init_done();
    // What every token visits is known before the choice: a ring of its weights is under way while the router still runs.
    for (int i = 0; i < ahead; i++) fetch(i, EXPERTS - SHARED + i / UNITS);
  }
  await_previous();
  const int count = find_runs(offsets, runs, busy_of);
  // Not earlier: that the next kernel runs then says that the choice of experts is there.
  release_next();
  // Shared experts first, whose weights come first, then the others in order.
  auto run_of = [&](int visit) { return visit < SHARED ? count - SHARED + visit : visit - SHARED; };

  if (warp == MATH / 32) {
    // One thread keeps the weights coming: bytes in flight are what bandwidth needs.
    if (lane == 0)
      for (int i = ahead; i < count * UNITS; i++) {
        if (i >= STAGES) barrier_wait(empty + 8 * (i % STAGES), (i / STAGES - 1) & 1);
        fetch(i, runs[run_of(i / UNITS)].expert);
      }
  } else {
    // All tokens, 16 columns of each side by side, with all their scales; and whose rows are whose.
    for (int c = threadIdx.x; c < T * (K / 16); c += MATH) {
      const int token = c / (K / 16), chunk = c % (K / 16);
      store_shared16(ring + X + chunk * PITCH + token * 16, *(const uint4*)(x + (i64)token * K + chunk * 16));
    }
    for (int c = threadIdx.x; c < T * STEPS; c += MATH) copy_word(ring + X_SCALES + (c % STEPS * X_PITCH + c / STEPS) * 4, x_scale + c);
    for (int r = threadIdx.x; r < count; r += MATH) {
      for (int t = 0; t < TOKENS; t++) row_of[r * TOKENS + t] = -1;
      for (int i = runs[r].row; i < runs[r].end; i++) row_of[r * TOKENS + order[i] / PER] = i;
    }
    copies_wait();
    fence_async();
    group_sync(1, MATH);

${mathPlace}    const u32 x_tile = ring + X, x_scales = ring + X_SCALES;
    for (int visit = 0; visit < count; visit++) {
${multiplySlice}      // Columns of the product are tokens: those of this expert's tokens are rows of the result.
#pragma unroll
      for (int v = 0; v < 4; v++) {
        const int row = slice_row + v / 2 * 8, token = column + v % 2;
        const int i = token < TOKENS ? row_of[run_of(visit) * TOKENS + token] : -1;
        if (i >= 0 && row < SLICE) store_shared(ring + SUMS + ((deep * ROWS + i) * SLICE + row) * 4, sum[v]);
      }
    }
    group_sync(1, MATH);

    // Every row's slice: the warpgroups' sums in their order, 8 columns a thread, 16 bytes a store.
    for (int c = threadIdx.x; c < T * PER * (SLICE / 8); c += MATH) {
      const int i = c / (SLICE / 8), row = c % (SLICE / 8) * 8;
      float v[8] = {};
#pragma unroll
      for (int d = 0; d < DEEP; d++) {
        const u32 from = ring + SUMS + ((d * ROWS + i) * SLICE + row) * 4;
        const float4 a = load_shared4(from), b = load_shared4(from + 16);
        v[0] += a.x; v[1] += a.y; v[2] += a.z; v[3] += a.w; v[4] += b.x; v[5] += b.y; v[6] += b.z; v[7] += b.w;
      }
      store16(y + (i64)i * N + row0 + row, pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
    }
  }
}
`;
  const constants = sliceConstants(p, s, "THREADS = MATH + 32;  // threads that multiply; a warp more copies") + `constexpr int SHARED = ${p.shared};                       // experts that every token visits, the last ones\n`;
  const helpers = `${fragments(["types", "barriers", "dependent", "bf16", "floats", "async", "wgmma"], 8)}${expertsFragments}`;
  const source = `${header([
    `experts_gate_up: y [r, ${n}] bf16 = x [T, ${k}] e4m3/1x128 times w [e, ${n}, ${k}]^T e4m3/128x128, f32 sums, for the r = ${p.per} T pairs of a token and an expert, sorted by expert; T up to ${s.tokens}`,
    `schedule ${JSON.stringify(s)}`,
    `floor on H200: ${n * k} bytes an expert with rows / 4539 GB/s = ${((n * k) / 4539e3).toFixed(1)} us each`,
  ])}
${called(helpers, kernel + findRuns)}typedef long long i64;

${constants}${findRuns}${kernel}`;
  return {
    name, language: "cuda", source,
    params: [
      { kind: "tensormap", name: "w_map", of: "w", dtype: "e4m3", dims: [128, experts * n, k / 128], strides: [k, 128], box: [128, s.rows, s.deep], swizzle: 128 },
      { kind: "buffer", name: "x", dtype: "e4m3", access: "in" },
      { kind: "buffer", name: "x_scale", dtype: "f32", access: "in" },
      { kind: "buffer", name: "w_scale", dtype: "f32", access: "in" },
      { kind: "buffer", name: "order", dtype: "i32", access: "in" },
      { kind: "buffer", name: "offsets", dtype: "i32", access: "in" },
      { kind: "buffer", name: "y", dtype: "bf16", access: "out" },
    ],
    dims: ["T"],
    launch: { grid: [n / s.rows, 1, 1], block: 128 * s.deep + 32, sharedBytes: sliceLayout(p, s).bytes, pdl: true },
  };
}
