// The bf16 GEMM of tens of rows: tokens fill wgmma's 64-row side, a block takes few columns, so that every multiprocessor has a
// tile; where there are fewer tiles still, k is cut over a cluster, each sends the others their shares of the sums
// (cluster-sums.ts). A block takes half of a multiprocessor: the next kernel's weights are under way while this one finishes.
import { when } from "../../../text.ts";
import type { Gpu } from "../../../../ir/machine.ts";
import type { KernelText } from "../../../../ir/kernel/catalogue.ts";
import { ceildiv } from "../../../../ir/size.ts";
import { cudaKernel, input, output, tensorMap } from "../../text/kernel.ts";
import { lines } from "../../text/lines.ts";
import { ringBase } from "../../text/ring.ts";
import { bf16Header, bf16Name, sharedBytes, STEP, type Bf16SumProblem, type SmallMBf16 } from "./bf16-schedule.ts";
import { addSums, finishTile, storeEight, type Sums } from "./cluster-sums.ts";
import { initRings, keepSums, prefetchWeights, producers, type TwoRings } from "./two-rings.ts";

const rings: TwoRings = {
  step: 64,
  units: "end - begin",
  unit: (u) => `(begin + ${u})`,
  prefetched: "ahead",
  wRow: "column0",
};

/** Words of 16 bytes need rows of y that begin at multiples of them. */
const isWide = (p: Bf16SumProblem): boolean => p.y === "bf16" && p.yStride % 8 === 0 && p.n % 8 === 0;

const sumsOf = (p: Bf16SumProblem): Sums => ({
  width: "WIDTH",
  bytes: "(WIDTH * 4)",
  columns: "COLUMNS",
  add: "add",
  summary: "Neighbouring sums",
  wide: isWide(p),
});

/** Constants and device functions. */
const definitions = (p: Bf16SumProblem, s: SmallMBf16, math: number): string =>
  lines(
    `constexpr int N = ${p.n}, STEPS = ${Math.ceil(p.k / STEP)};       // columns of y; steps of 64 columns of k
constexpr int TOKENS = ${s.tokens}, COLUMNS = ${s.columns};  // a tile: rows of x by rows of w
// A ring stage holds K_GROUPS steps, each for its own warpgroups.
constexpr int K_GROUPS = ${s.kGroups}, UNITS = (STEPS + K_GROUPS - 1) / K_GROUPS;
constexpr int SPLIT = ${s.split};                  // blocks that share the k of a tile
constexpr int MATH = ${math};  // threads that multiply; a warp more copies w, another x
constexpr int STAGES = ${s.stages}, X_STAGES = ${s.xStages};
constexpr int W_BYTES = COLUMNS * 128, X_BYTES = TOKENS * 128;
constexpr int SUMS = COLUMNS / 2;               // sums a thread holds
constexpr int PITCH = COLUMNS + 8;              // floats a token of sums: padded against bank conflicts
constexpr int WIDTH = ${isWide(p) ? 8 : 4};                   // columns of y a thread writes at once`,
    s.split > 1 &&
      "constexpr int SLOT = (COLUMNS * TOKENS / WIDTH + SPLIT - 1) / SPLIT * WIDTH * 4;" +
        "  // bytes of sums from another block: part of a tile",
    addSums(sumsOf(p)),
  );

/** Where the barriers lie, with what others send in front of them. */
const barriersAt = (cluster: boolean): string =>
  cluster
    ? "inbox = x_ring + X_STAGES * K_GROUPS * X_BYTES, inbox_full = inbox + (SPLIT - 1) * SLOT, full = inbox_full + 8"
    : "full = x_ring + X_STAGES * K_GROUPS * X_BYTES";

/** Addresses, barriers, the first weights. */
const prologue = (cluster: boolean): string =>
  lines(
    `  extern __shared__ u8 raw[];
  ${ringBase}
  const u32 x_ring = ring + STAGES * K_GROUPS * W_BYTES, ${barriersAt(cluster)}, empty = full + 8 * STAGES,
      x_full = empty + 8 * STAGES, x_empty = x_full + 8 * X_STAGES;
  // One value a warp: descriptors need no vector registers.
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  const int rank = blockIdx.x, column0 = blockIdx.y * COLUMNS, token0 = blockIdx.z * TOKENS;
  const int begin = rank * UNITS / SPLIT, end = (rank + 1) * UNITS / SPLIT, ahead = min(STAGES, end - begin);

  if (threadIdx.x == MATH) {
${initRings}`,
    cluster && "    mbarrier_init(inbox_full, 1);",
    `    fence_mbarrier_init();
${prefetchWeights(rings)}
  }
  __syncthreads();
  release_next();`,
    cluster && "  cluster_arrive_relaxed();  // whoever has seen all blocks do so may send to them",
  );

/** Math warpgroups: 64 tokens each, of one step of every stage; sums go where the rings were. */
const consumer = (columns: number): string => `  if (warp < MATH / 32) {
    const int warpgroup = warp / 4, part_rows = warpgroup % (TOKENS / 64), k_group = warpgroup / (TOKENS / 64),
        row = part_rows * 64 + warp % 4 * 16 + lane / 4;
    float sum[SUMS];
    int stage = 0, x_stage = 0, before = 0, x_before = 0;  // places in the rings of this unit and of the one before
    u32 phase = 0, x_phase = 0;
    for (int u = 0; u < end - begin; u++) {
      mbarrier_wait(full + 8 * stage, phase);
      mbarrier_wait(x_full + 8 * x_stage, x_phase);
      wgmma_m64n${columns}k64_bf16(sum, descriptor_k_major(x_ring + (x_stage * K_GROUPS + k_group) * X_BYTES + part_rows * 8192),
          descriptor_k_major(ring + (stage * K_GROUPS + k_group) * W_BYTES), u > 0);
      wgmma_wait_group_n${columns}<1>(sum);
      // The unit before has been read: hand its stages back while this one multiplies.
      if (u > 0 && lane == 0) { mbarrier_arrive(empty + 8 * before); mbarrier_arrive(x_empty + 8 * x_before); }
      before = stage; x_before = x_stage;
      if (++stage == STAGES) { stage = 0; phase ^= 1; }
      if (++x_stage == X_STAGES) { x_stage = 0; x_phase ^= 1; }
    }
    wgmma_wait_group_n${columns}<0>(sum);

    // The rings have been read and nothing more is coming: they now take the sums, a token a row.
    await_previous();  // y may still be in use
    bar_sync(1, MATH);
${keepSums}
  }`;

/** Eight columns of the residual, added to as many of the product. */
const addResidual = (stride: number): string => `    // The product is rounded, then the sum, as if each were stored.
    const uint4 more = *(const uint4*)(residual + (long long)(token0 + token) * ${stride} + column0 + column);
    const u32 addend[4] = {more.x, more.y, more.z, more.w};
#pragma unroll
    for (int i = 0; i < 8; i += 2) {
      const u32 rounded = pack_bf16(v[i], v[i + 1]);
      v[i] = __uint_as_float(rounded << 16) + __uint_as_float(addend[i / 2] << 16);
      v[i + 1] = __uint_as_float(rounded & 0xffff0000u) + __uint_as_float(addend[i / 2] & 0xffff0000u);
    }`;

/** WIDTH columns of y: 16 bytes, or one after another. */
function store(p: Bf16SumProblem): string {
  if (isWide(p))
    return lines(p.residualStride === undefined ? null : addResidual(p.residualStride), storeEight(String(p.yStride)));
  const value = p.y === "f32" ? "v[i]" : "(u16)pack_bf16(v[i], 0.f)";
  return `    for (int i = 0; i < WIDTH; i++)
      if (column0 + column + i < N) y[(long long)(token0 + token) * ${p.yStride} + column0 + column + i] = ${value};`;
}

const epilogue = (p: Bf16SumProblem, cluster: boolean): string => `  __syncthreads();

  // Output: WIDTH columns of a token a thread, added up over steps and blocks in their order.
${finishTile(sumsOf(p), cluster, store(p))}`;

export function smallMBf16(p: Bf16SumProblem, s: SmallMBf16, machine: Gpu): KernelText {
  const { n, k } = p;
  const { tokens, columns, kGroups, split, blocksPerSm } = s;
  const math = (tokens / 64) * kGroups * 128;
  const cluster = split > 1;
  const added = p.residualStride !== undefined;
  const loose = { restrict: false };
  return cudaKernel({
    name: `linear_${when(added, "add_")}${n}x${k}_${p.y}_${bf16Name(s)}`,
    header: bf16Header(p, s, machine),
    params: [
      tensorMap("x_map", { of: "x", dtype: "bf16", dims: [k, "m"], strides: [2 * p.xStride], box: [64, tokens] }),
      tensorMap("w_map", { of: "w", dtype: "bf16", dims: [k, n], strides: [2 * k], box: [64, columns] }),
      // y may be the buffer of the residual.
      ...(added ? [input("residual", "bf16", loose), output("y", p.y, loose)] : [output("y", p.y)]),
    ],
    dims: ["m"],
    launch: {
      grid: [split, Math.ceil(n / columns), ceildiv("m", tokens)],
      block: math + 64,
      sharedBytes: sharedBytes(s),
      pdl: true,
      early: ["w"],
      blocksPerSM: blocksPerSm,
      ...(cluster ? { cluster: [split, 1, 1] as [number, number, number] } : {}),
    },
    definitions: definitions(p, s, math),
    body: lines(prologue(cluster), producers(rings, "ahead"), consumer(columns), epilogue(p, cluster)),
  });
}
