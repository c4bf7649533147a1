// dsc inspect OUT FUNCTION --batch B: its launches in order, its buffers, and the bytes that are live at each launch.
import { functionAt } from "../../analysis/function-at.ts";
import { draftedFrom } from "../../analysis/drafted.ts";
import { sizesOf } from "../../analysis/launches.ts";
import { originsOf } from "../../artifact/side-files.ts";
import { printFunctionAt } from "../../report/function-at.ts";
import { deviceOf, loadOf, machineOf } from "../device.ts";
import type { Options, Read } from "./artifact.ts";

/** A prompt has as many rows as the context; a chunk on a cached prefix as many as passes assume; any other step one for each sequence. */
const rowsOf = (name: string, { batch, context }: { batch: number; context: number }): number =>
  name.startsWith("prefill") ? context : name.startsWith("extend") ? Math.min(CHUNK, context) * batch : batch;

/** Rows of a chunk, as the frontend assumes (compiler/frontend/model.ts). */
const CHUNK = 64;

export async function tellFunction(a: Options, name: string, { manifest, files, text, say }: Read): Promise<void> {
  const load = loadOf(a, manifest.model.maxPositions);
  const machine = await machineOf(a, deviceOf(manifest.target));
  const { context, batch } = load;
  const sequences = name.startsWith("prefill") ? 1 : batch;
  const z = sizesOf({ rows: rowsOf(name, load), sequences, cached: context }, manifest.model.experts);
  const at = functionAt(manifest, originsOf(files), name, z, machine, draftedFrom(manifest, text));
  say(at, () => printFunctionAt(at));
}
