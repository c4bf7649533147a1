// Packages of npm that parts of dsc are made with, and optional ones.
import type { Probe } from "./probe.ts";

const npm = (name: string, needed: string): Probe => ({
  part: name,
  looked: "node_modules",
  needed,
  look: async () => {
    await import(name);
    return { good: true, found: "there" };
  },
});

export const packageProbes: readonly Probe[] = [
  npm("@huggingface/tokenizers", "text in and out of models: --prompt, --chat, eval"),
  npm("jiti", "plug-ins written in TypeScript: --plugin"),
  npm("koffi", "calling the CUDA driver: --target cuda; libraries of tvm-ffi's ABI: dsc/tvm"),
  npm("onnx-proto", "writing ONNX files: dsc export onnx"),
  npm("onnxruntime-node", "running exported graphs: dsc verify --onnx, and npm test"),
];
