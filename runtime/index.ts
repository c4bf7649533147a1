// Public entry of the runtime (dsc/runtime): load an artifact, open sessions, generate; read and write safetensors.
export type { DiagnosticError } from "../ir/diagnostic.ts";
export { generate } from "./generate.ts";
export type { GenerateOptions, GenerateStep } from "./generate.ts";
export { load, readArtifact } from "./load.ts";
export { Model, memoryNeed } from "./model.ts";
export type { LoadOptions } from "./model.ts";
export { Checkpoint, toNumbers } from "./safetensors.ts";
export type { TensorInfo } from "./safetensors.ts";
export { saveTensors, writeCheckpoint } from "./safetensors-write.ts";
export type { TensorSource, TensorSpec } from "./safetensors-write.ts";
export { Sampler, argmax } from "./sample.ts";
export type { Sampling } from "./sample.ts";
export { Session } from "./session.ts";
export type { Result, SessionOptions, Tensor } from "./session.ts";
export { isFp8Name, promptIds } from "./synthetic.ts";
export { writeSynthetic } from "./synthetic-checkpoint.ts";
export { TextStream, loadTokenizer } from "./tokenizer.ts";
export type { Tokenizer } from "./tokenizer.ts";
