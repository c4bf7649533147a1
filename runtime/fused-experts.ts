// Experts in one tensor, as transformers 5 holds (and may save) them: gate_up_proj [experts, 2 width, hidden], gate above up, and
// down_proj [experts, hidden, width]. Every expert's matrices lie whole in it, so each becomes a tensor of its own, under the name it
// has in published checkpoints.
import type { TensorInfo } from "./safetensors-header.ts";

const FUSED = /^(.*\.experts)\.(gate_up_proj|gate_proj|up_proj|down_proj)(?:\.weight)?$/;
const BLOCK = 128;

/** Adds the tensors of every expert to those there are. Tensors of other shapes stay as they are. */
export function addExperts(tensors: Map<string, TensorInfo>): void {
  for (const t of [...tensors.values()]) {
    const m = FUSED.exec(t.name);
    if (!m || t.shape.length !== 3) continue;
    const [, at, part] = m;
    const rows = t.shape[1];
    const names = part === "gate_up_proj" ? ["gate_proj", "up_proj"] : [part];
    if (part === "gate_up_proj" && !fits(t, tensors, at)) continue;
    const height = rows / names.length;
    const scales = tensors.get(`${t.name}_scale_inv`) ?? tensors.get(`${at}.${part}.weight_scale_inv`);
    // A block of scales over both halves could not be divided.
    const scaleHeight = scales && (names.length === 1 ? scales.shape[1] : height % BLOCK === 0 ? scales.shape[1] / 2 : undefined);
    for (let e = 0; e < t.shape[0]; e++)
      for (const [i, name] of names.entries()) {
        const whole = `${at}.${e}.${name}.weight`;
        if (tensors.has(whole)) continue;
        tensors.set(whole, sliceOf(t, whole, e, i * height, height));
        if (scales && scaleHeight !== undefined && scales.shape.length === 3) tensors.set(`${whole}_scale_inv`, sliceOf(scales, `${whole}_scale_inv`, e, i * scaleHeight, scaleHeight));
      }
  }
}

/** Whether rows are outputs: [experts, 2 width, hidden] beside a down_proj of [experts, hidden, width]. */
function fits(t: TensorInfo, tensors: ReadonlyMap<string, TensorInfo>, at: string): boolean {
  const down = (tensors.get(`${at}.down_proj`) ?? tensors.get(`${at}.down_proj.weight`))?.shape;
  return down !== undefined && down.length === 3 && down[0] === t.shape[0] && down[1] === t.shape[2] && 2 * down[2] === t.shape[1];
}

/** Rows [row, row + height) of matrix `e` of a stack. */
function sliceOf(t: TensorInfo, name: string, e: number, row: number, height: number): TensorInfo {
  const [count, rows, width] = t.shape;
  const rowBytes = (t.end - t.begin) / (count * rows);
  const begin = t.begin + (e * rows + row) * rowBytes;
  return { ...t, name, shape: [height, width], begin, end: begin + height * rowBytes };
}
