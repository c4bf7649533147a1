// Tensors of a checkpoint by what people call them.

/** Whether a tensor, "model.layers.{layer}.self_attn.q_b_proj.weight (layers 3..61)", has a name: whole, its end, or its module's. */
export function isNamed(tensor: string, name: string): boolean {
  const parts = tensor.replace(/ \(layers .*\)$/, "").split(".");
  const wanted = name.replace(/\.layers\.\d+\./, ".layers.{layer}.").split(".");
  return parts.some((_, i) => wanted.every((w, j) => parts[i + j] === w));
}
