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
  // Fitted to all-reduces of 2, 4 and 8 H200 of one host in CUDA graphs without multicast, 16 KB to 2 MB, as measured with TensorRT-LLM
  // 1.3, SGLang 0.5.14 and vLLM 0.24 (ai-dynamo/aiconfigurator, systems/data/h200_sxm/comm); the network is that of a DGX H200's datasheet.
  links: {
    bandwidth: 450e9,
    reached: 0.715,
    start: 2.3e-6,
    startPerRank: 0.15e-6,
    host: 8,
    network: 50e9,
    source:
      "450 GB/s to the other GPUs of a host by NVIDIA's datasheet, 72 % of it and 2.3 us + 0.15 us a rank fitted to all-reduces " +
      "that others measured on 2, 4 and 8 H200 (aiconfigurator); 50 GB/s a GPU between hosts of 8, no latency of the network counted",
  },
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
