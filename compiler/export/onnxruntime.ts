// onnxruntime-node, where it is installed: what checks an export beside our own runtime. It is no dependency (docs/dependencies.md).
import { createRequire } from "node:module";
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { noOnnxruntime } from "../diagnostics.ts";

/** What is used of the package. */
interface OrtTensor {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}
interface OrtSession {
  readonly inputNames: readonly string[];
  readonly inputMetadata: readonly { name: string; shape: readonly (number | string)[] }[];
  run(feeds: Readonly<Record<string, OrtTensor>>): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}
interface Ort {
  Tensor: new (type: "float32" | "int64", data: Float32Array | BigInt64Array, dims: readonly number[]) => OrtTensor;
  InferenceSession: { create(file: string, options: object): Promise<OrtSession> };
}

const NAME = "onnxruntime-node";

export function hasOnnxruntime(): boolean {
  try {
    createRequire(import.meta.url).resolve(NAME);
    return true;
  } catch {
    return false;
  }
}

/** An exported graph, with the caches of one sequence. */
export interface OnnxModel {
  /** Logits of the new rows, [rows x V]. `fresh` forgets the rows before. */
  rows(ids: readonly number[], fresh?: boolean): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Opens an export made with --portable; its file stands beside the weights. One thread: small graphs only wait for more. */
export async function openOnnx(file: string): Promise<OnnxModel> {
  if (!hasOnnxruntime()) throw new DiagnosticError(noOnnxruntime());
  const ort: Ort = await import(NAME);
  const session = await ort.InferenceSession.create(file, { logSeverityLevel: 3, intraOpNumThreads: 1 });
  const pasts = session.inputNames.filter((n) => n.startsWith("past."));
  const empty = (name: string): OrtTensor => {
    const width = Number(session.inputMetadata.find((m) => m.name === name)!.shape[2]);
    return new ort.Tensor("float32", new Float32Array(), [1, 0, width]);
  };
  let cached: Record<string, OrtTensor> = {};
  return {
    async rows(ids, fresh = false) {
      if (fresh) cached = {};
      const feeds: Record<string, OrtTensor> = {
        input_ids: new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]),
      };
      for (const name of pasts) feeds[name] = cached[name.replace("past", "present")] ?? empty(name);
      cached = await session.run(feeds);
      return cached.logits.data;
    },
    close: () => session.release(),
  };
}
