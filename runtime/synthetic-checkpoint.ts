// `dsc weights`: writes a whole synthetic checkpoint, tensor by tensor through one small buffer, whatever its size.
// The caller lists the tensors, for only the frontend knows a model's names and shapes; FP8 scales are listed beside weights.
import * as diagnostics from "./diagnostics.ts";
import type { TensorSpec } from "./safetensors-write.ts";
import { writeCheckpoint } from "./safetensors-write.ts";
import { dtypeBytes } from "./safetensors-header.ts";
import type { Form, Recipe } from "./synthetic.ts";
import { describe, fill } from "./synthetic.ts";

const SCALES = "_scale_inv";

/**
 * Writes the tensors (dtype "BF16", "F32" or "F8_E4M3"; a name in `_scale_inv` is "F32") into `folder`, sharded with an index
 * above `shardBytes`. `ue8m0` makes the scales powers of two. Returns the file names.
 */
export async function writeSynthetic(
  folder: string,
  tensors: readonly TensorSpec[],
  seed: number,
  options: { shardBytes?: number; ue8m0?: boolean; writer?: string } = {},
): Promise<string[]> {
  const shapes = new Map(tensors.map((t) => [t.name, t.shape]));
  const recipes = new Map(tensors.map((t) => [t.name, recipeOf(t, seed, shapes, options.ue8m0 === true)]));
  let buffer = new ArrayBuffer(0);
  return writeCheckpoint(
    folder,
    tensors,
    (t, start, count) => {
      const bytes = count * dtypeBytes[t.dtype];
      if (buffer.byteLength < bytes) buffer = new ArrayBuffer(bytes);
      fill(buffer, 0, recipes.get(t.name) as Recipe, start, count);
      return new Uint8Array(buffer, 0, bytes);
    },
    options,
  );
}

function recipeOf(t: TensorSpec, seed: number, shapes: ReadonlyMap<string, readonly number[]>, ue8m0: boolean): Recipe {
  if (t.name.endsWith(SCALES)) {
    const weight = t.name.slice(0, -SCALES.length);
    const shape = shapes.get(weight);
    if (!shape || t.dtype !== "F32") throw diagnostics.noSyntheticKind({ tensor: t.name });
    return describe(seed, weight, shape, ue8m0 ? "scale-ue8m0" : "scale");
  }
  const forms: Record<string, Form> = { BF16: "bf16", F32: "f32", F8_E4M3: "e4m3" };
  const form = forms[t.dtype];
  if (!form) throw diagnostics.noSyntheticKind({ tensor: `${t.name} in ${t.dtype}` });
  return describe(seed, t.name, t.shape, form);
}
