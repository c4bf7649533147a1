// What a checkpoint really stores. A config may say bfloat16 beside a checkpoint in f32; weights are never rounded, so the
// artifact keeps f32 then.
import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import type { Diagnostic } from "../ir/diagnostic.ts";
import { storedWider } from "./diagnostics.ts";
import type { ModelSpec } from "./frontend/spec.ts";

/** Whether a checkpoint lies in or beside SRC and holds a matrix in f32. */
export async function storesF32(src: string): Promise<boolean> {
  if (!existsSync(src)) return false;
  const folder = statSync(src).isDirectory() ? src : path.dirname(src);
  if (!readdirSync(folder).some((f) => f.endsWith(".safetensors"))) return false;
  // Only here: a config alone, the common case, needs no runtime.
  const { Checkpoint } = await import("../runtime/index.ts");
  const checkpoint = await Checkpoint.open(folder);
  const found = [...checkpoint.tensors.values()].some((t) => t.dtype === "F32" && t.shape.length === 2 && !t.name.endsWith("_scale_inv"));
  await checkpoint.close();
  return found;
}

/** Widens the declared dtype of a spec to what is stored; says so. */
export function widen(spec: ModelSpec, storesF32: boolean): Diagnostic[] {
  if (!storesF32 || spec.dtype === "f32") return [];
  spec.dtype = "f32";
  return [storedWider()];
}
