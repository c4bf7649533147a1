// What this card gives at most, in the same process as everything it is compared with: read bandwidth and the cost of a node.
import type { KernelText } from "../../ir/kernel/catalogue.ts";
import type { Cuda } from "../../runtime/devices/cuda/index.ts";
import type { Row } from "./device.ts";
import { h200 } from "../../codegen/cuda/arch/h200.ts";

const BYTES = 4 * 2 ** 30;

const read: KernelText = {
  name: "read_all",
  language: "cuda",
  source: `// Sums a buffer with 16-byte loads, eight in flight a thread.
extern "C" __global__ void __launch_bounds__(512) read_all(const float4* x, float* y, int n) {
  float sum = 0.f;
  for (long long i = blockIdx.x * 4096ll + threadIdx.x; i < n; i += gridDim.x * 4096ll) {
    float4 v[8];
#pragma unroll
    for (int u = 0; u < 8; u++) v[u] = __ldcs(x + i + u * 512);
#pragma unroll
    for (int u = 0; u < 8; u++) sum += v[u].x + v[u].y + v[u].z + v[u].w;
  }
  if (sum == 1.2345f) *y = sum;  // never, but the compiler cannot know
}`,
  params: [
    { kind: "buffer", name: "x", dtype: "f32", access: "in" },
    { kind: "buffer", name: "y", dtype: "f32", access: "out" },
  ],
  dims: ["n"],
  launch: { grid: [{ op: "mul", of: ["SMs", 4] }, 1, 1], block: 512, sharedBytes: 0 },
};

const nothing: KernelText = {
  name: "nothing",
  language: "cuda",
  source: `extern "C" __global__ void nothing(int n) { }`,
  params: [],
  dims: ["n"],
  launch: { grid: [1, 1, 1], block: 32, sharedBytes: 0 },
};

const median = (v: number[]): number => v.sort((a, b) => a - b)[v.length >> 1];

export async function measure(cuda: Cuda): Promise<Row[]> {
  const [x, y] = [cuda.alloc(BYTES), cuda.alloc(256)];
  cuda.fill(x, 0x11, BYTES);
  const kernel = cuda.compile(read);
  const go = (): void => cuda.launch(kernel, { x, y }, { n: BYTES / 16 });
  go();
  const graph = cuda.capture(go);
  graph.time(3);
  const us = median(graph.time(11));
  const empty = cuda.compile(nothing);
  const nodes = cuda.capture(() => {
    for (let i = 0; i < 200; i++) cuda.launch(empty, {}, { n: 0 });
  });
  nodes.time(3);
  const node = median(nodes.time(11)) / 200;
  for (const a of [x, y]) cuda.free(a);
  return [
    { what: "read bandwidth, 4 GiB", gb_per_s: BYTES / us / 1000, expected: h200.bandwidth / 1e9 },
    { what: "empty kernel in a graph", us: node, expected: 0.75 },
  ];
}
