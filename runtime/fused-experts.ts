// Experts in one tensor, as transformers 5 holds (and may save) them: gate_up_proj [experts, 2 width, hidden], gate above up, and
// down_proj [experts, hidden, width]. Every expert's matrices lie whole in it, so each becomes a tensor of its own, under the name it
// has in published checkpoints.
import type { TensorInfo } from "./safetensors-header.ts";

const FUSED = /^(.*\.experts)\.(gate_up_proj|gate_proj|up_proj|down_proj)(?:\.weight)?$/;
const BLOCK = 128;

/** Adds the tensors of every expert to those there are. Tensors of other shapes stay as they are. */
export function addExperts(tensors: Map<string, TensorInfo>): void {
  const stored = [...tensors.values()];
  for (const t of stored) {
    const m = FUSED.exec(t.name);
    if (!m || t.shape.length !== 3) continue;
    const [, at, part] = m;
    const rows = t.shape[1];
    const names = part === "gate_up_proj" ? ["gate_proj", "up_proj"] : [part];
    if (part === "gate_up_proj" && !fits(t, tensors, at)) continue;
    const height = rows / names.length;
    const scales = scalesOf(tensors, at, part);
    const scaleHeight = scales && (names.length === 1 ? scales.shape[1] : halfOf(scales.shape[1], height));
    for (let e = 0; e < t.shape[0]; e++)
      for (const [i, name] of names.entries()) {
        const whole = `${at}.${e}.${name}.weight`;
        if (tensors.has(whole)) continue;
        tensors.set(whole, sliceOf(t, whole, e, i * height, height));
        if (scales && scaleHeight !== undefined && scales.shape.length === 3)
          tensors.set(`${whole}_scale_inv`, sliceOf(scales, `${whole}_scale_inv`, e, i * scaleHeight, scaleHeight));
      }
  }
}

const scalesOf = (tensors: ReadonlyMap<string, TensorInfo>, at: string, part: string): TensorInfo | undefined =>
  tensors.get(`${at}.${part}_scale_inv`) ?? tensors.get(`${at}.${part}.weight_scale_inv`);

/**
 * Rows of scales that are gate's, as many as up's; undefined where these cannot be told apart. Scales of gate and up above each other
 * are 2 ceil(width / 128) rows, scales of blocks of the whole ceil(2 width / 128), and a block of these may hold rows of both.
 */
function halfOf(rows: number, width: number): number | undefined {
  const [each, whole] = [Math.ceil(width / BLOCK), Math.ceil((2 * width) / BLOCK)];
  return rows === 2 * each && (width % BLOCK === 0 || whole !== rows) ? each : undefined;
}

/** Why the gate or up of an expert has no scales though the stack that it lies in has, in words. */
export function undivided(tensor: string, tensors: ReadonlyMap<string, TensorInfo>): string | undefined {
  const m = /^(.*\.experts)\.\d+\.(?:gate_proj|up_proj)\.weight$/.exec(tensor);
  const scales = m && scalesOf(tensors, m[1], "gate_up_proj");
  const width = tensors.get(tensor)?.shape[0];
  if (!scales || width === undefined) return undefined;
  const each = Math.ceil(width / BLOCK);
  const how = `gate and up are ${width} rows each, no multiple of ${BLOCK}, and ${scales.name} is [${scales.shape.join(", ")}]`;
  if (scales.shape.length !== 3) return `${how}, which is not [experts, ${2 * each} rows, columns]`;
  return scales.shape[1] === 2 * each
    ? `${how}: scales of gate above those of up, or of both in common blocks, which would be other numbers`
    : `${how}: scales of blocks that hold rows of both`;
}

/** Whether rows are outputs: [experts, 2 width, hidden] beside a down_proj of [experts, hidden, width]. */
function fits(t: TensorInfo, tensors: ReadonlyMap<string, TensorInfo>, at: string): boolean {
  const down = (tensors.get(`${at}.down_proj`) ?? tensors.get(`${at}.down_proj.weight`))?.shape;
  return (
    down !== undefined && down.length === 3 && down[0] === t.shape[0] && down[1] === t.shape[2] && 2 * down[2] === t.shape[1]
  );
}

/** Rows [row, row + height) of matrix `e` of a stack. */
function sliceOf(t: TensorInfo, name: string, e: number, row: number, height: number): TensorInfo {
  const [count, rows, width] = t.shape;
  const rowBytes = (t.end - t.begin) / (count * rows);
  const begin = t.begin + (e * rows + row) * rowBytes;
  return { ...t, name, shape: [height, width], begin, end: begin + height * rowBytes };
}
