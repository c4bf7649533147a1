// hf_quant_config.json, which modelopt writes beside config.json and vLLM, SGLang and TensorRT-LLM read before it: re-quantised copies
// keep the original's quantization_config in config.json. What it says of the weights counts, so a format that is not read is refused.
import { existsSync } from "node:fs";
import path from "node:path";
import type { Diagnostic } from "../../ir/diagnostic.ts";
import { unreadBeside, unsupportedModel } from "./diagnostics.ts";
import { parseJson, type Document, type Json } from "./json.ts";
import { modelopt } from "./quantization.ts";
import type { Source } from "./source.ts";
import type { ModelSpec } from "./spec.ts";
import { readTextSync } from "../../runtime/files.ts";

const NAME = "hf_quant_config.json";
const ALGORITHM = "quantization.quant_algo";

/** The finding of the file in the folder of a config, if it has one. A file that cannot be read is a warning: config.json is enough. */
export function quantisedBeside(source: Source, spec: ModelSpec): Diagnostic | undefined {
  const file = path.join(source.folder, NAME);
  // Whoever lays a quantization_config over the config knows better.
  if (source.spanOf("quantization_config")?.file === "--set" || !existsSync(file)) return undefined;
  let doc: Document;
  try {
    doc = parseJson(readTextSync(file), file);
  } catch (e) {
    return unreadBeside({ file, why: (e as Error).message.split("\n")[0] });
  }
  const algorithm = at(doc.value, ALGORITHM.split("."));
  // Null is written where only the cache is quantised. FP8_BLOCK_SCALES is the format of DeepSeek's own checkpoints.
  if (typeof algorithm !== "string" || (algorithm === "FP8_BLOCK_SCALES" && spec.fp8)) return undefined;
  const config = spec.fp8 ? "FP8 in blocks" : "no quantisation";
  return unsupportedModel(
    {
      name: "this checkpoint's quantisation",
      needs: `${modelopt(algorithm)}, as ${NAME} says; config.json says ${config}`,
      supported: [
        `FP8 in blocks of 128x128, and bf16. If ${NAME} is a leftover, remove it, or say what counts: --set quantization_config=null`,
      ],
    },
    doc.spanOf(ALGORITHM),
  );
}

/** The value at a path of a parsed text. */
function at(value: Json, keys: readonly string[]): Json | undefined {
  let v: Json | undefined = value;
  for (const k of keys)
    v = typeof v === "object" && v !== null && Object.hasOwn(v, k) ? (v as { [key: string]: Json })[k] : undefined;
  return v;
}
