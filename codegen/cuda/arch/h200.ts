// The GPU that schedules were measured on.
import type { Gpu } from "../../../ir/machine.ts";

/** The H200: what schedules are made for and floors are of, under sm_90. */
export const h200: Gpu = {
  name: "NVIDIA H200",
  short: "H200",
  source:
    "4539 GB/s measured on one H200 (reading 4 GiB); 1979 TFLOP/s fp8, 989 bf16, 67 f32 by NVIDIA's datasheet, dense; 150.1 GB of memory",
  arch: "sm_90a",
  bandwidth: 4539e9,
  peaks: { fp8: 1979e12, bf16: 989e12, f32: 67e12 },
  memory: 139.8 * 2 ** 30,
  // A node of a CUDA graph.
  launch: 0.75e-6,
  multiprocessors: 132,
  sharedPerBlock: 227 * 1024,
  sharedPerMultiprocessor: 228 * 1024,
  cluster: 8,
  link: 450e9,
  activations: "bf16",
  // By test/bench/fit-times.ts from test/bench/results/block-gemm-schedules.json; the hand-over by a trace (docs/notes-gpu-gemm.md).
  times: {
    start: 1.286,
    fill: 0.4047,
    weightLatency: 1.015,
    tokenLatency: 0.8875,
    intake: 101_400,
    product: 0.001843,
    serial: 0.152,
    ofBandwidth: 0.9187,
    inFlight: 51_400,
    idle: 0.7257,
    reread: 0.2537,
    turn: 1.491,
    clusterTurn: 0.9635,
    raggedWave: 0.865,
    cluster: 1.184,
    clusterBlock: 0.08163,
    column: 0.02293,
    persistentStep: 0.3762,
    tallStep: 0.62,
    persistentTile: 0.4497,
    streamK: 6.804,
    pair: 0.9125,
    throttle: 0.5494,
    pairThrottle: 0.5024,
    handOver: 3,
  },
};
