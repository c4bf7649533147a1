// Formats of weights that are not read, told by the tensors they consist of: what a checkpoint is matters more to whoever has it
// than which of its names are unknown.
import { undivided } from "./fused-experts.ts";
import type { TensorInfo } from "./safetensors-header.ts";

type Tensors = ReadonlyMap<string, TensorInfo>;

const NVFP4 = "NVFP4 (4-bit floats with FP8 scales per 16)";

/** Tensors beside `BASE.weight`, or in its place, and the format they mean. */
const partners: readonly (readonly [suffix: string, what: string | ((t: Tensors, base: string) => string)])[] = [
  [".weight_scale_2", NVFP4],
  [".weight_global_scale", NVFP4],
  [".weight_packed", "packed integers or 4-bit floats (compressed-tensors)"],
  [".qweight", (t, base) => `int4 with scales per group (${t.has(`${base}.g_idx`) ? "GPTQ" : "GPTQ or AWQ"})`],
  [".weight.absmax", "4-bit codes (bitsandbytes)"],
  [".weight.quant_map", "4-bit codes (bitsandbytes)"],
  [".SCB", "int8 (bitsandbytes)"],
  [".weight_blocks", "MXFP4 (4-bit floats with a power-of-two scale per 32)"],
  [".weight_scale", (t, base) => scaled(t.get(`${base}.weight`), t.get(`${base}.weight_scale`)!)],
];

function scaled(weight: TensorInfo | undefined, scale: TensorInfo): string {
  const kind =
    weight?.dtype === "F8_E4M3" ? "FP8" : weight?.dtype === "I8" ? "int8" : weight?.dtype === "U8" ? "4-bit codes" : "codes";
  const count = scale.shape.reduce((a, b) => a * b, 1);
  const per =
    count === 1
      ? "one scale per tensor"
      : weight && count === weight.shape[0]
        ? "a scale per row"
        : `scales of shape [${scale.shape.join(", ")}]`;
  return `${kind} with ${per}, weight_scale`;
}

/** What the weight of a name is stored as, if that is a format that is recognised and not read. */
export function formatOf(name: string, tensors: Tensors): string | undefined {
  const base = name.replace(/\.weight$/, "");
  for (const [suffix, what] of partners)
    if (tensors.has(base + suffix)) return typeof what === "string" ? what : what(tensors, base);
  const fused = /^(.*\.experts)\.\d+\.(?:gate_proj|up_proj|down_proj)$/.exec(base)?.[1];
  const stack = fused && (tensors.get(`${fused}.gate_up_proj`) ?? tensors.get(`${fused}.gate_up_proj.weight`));
  // Read, but for scales that cannot be divided: DSC5023 says so.
  if (stack && undivided(name, tensors) !== undefined) return undefined;
  if (stack)
    return (
      `experts fused in ${stack.name} as [${stack.shape.join(", ")}], which is read as [experts, 2 * width, hidden] ` +
      "with down_proj as [experts, hidden, width]"
    );
  const blocks = fused && (tensors.has(`${fused}.gate_up_proj_blocks`) || tensors.has(`${fused}.gate_up_proj_packed`));
  return blocks ? "fused experts in 4-bit floats" : undefined;
}

/** Whether tensors are an adapter's: changes to the weights of another model. */
export const isAdapter = (names: Iterable<string>): boolean => {
  for (const n of names) if (/\.lora_[AB]\.|^base_model\.model\./.test(n)) return true;
  return false;
};
