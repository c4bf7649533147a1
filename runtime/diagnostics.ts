// DSC50xx: every failure of the runtime. Each says what was seen, what was expected and where that comes from.
export * from "./diagnostics/artifact.ts";
export * from "./diagnostics/checkpoint.ts";
export * from "./diagnostics/device.ts";
export * from "./diagnostics/memory.ts";
export * from "./diagnostics/nccl.ts";
export * from "./diagnostics/ranks.ts";
export * from "./diagnostics/session.ts";
export * from "./diagnostics/template.ts";
export * from "./diagnostics/tokenizer.ts";
export {
  foreignStorage,
  lacksTensors,
  missingScales,
  missingTensors,
  mixedStorage,
  scalesAsBytes,
  wrongDType,
  wrongShape,
} from "./diagnostics/weights.ts";
