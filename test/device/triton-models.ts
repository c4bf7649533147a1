// Whole models as Triton compiled them: every fixture against what transformers computed, and the time of a token of the printed
// model. Needs a Python with Triton for compiling (DSC_PYTHON, or python3); nothing of it runs afterwards.
import type { Row } from "./device.ts";
import { decodeMs, fixtureRows, median, open, printed } from "./models.ts";

export const check = (): Promise<Row[]> => fixtureRows("triton");

export async function measure(): Promise<Row[]> {
  const { model, compileMs } = await open(printed, "synthetic:0", { target: "triton" });
  const session = model.session({ maxTokens: 1100, sequences: 1 });
  const rows: Row[] = [{ model: "printed", target: "triton", what: "compile, Triton included", ms: Math.round(compileMs) }];
  for (const context of [64, 1024])
    rows.push({
      model: "printed",
      target: "triton",
      what: "decode",
      context,
      ms_per_token: median(await decodeMs(session, context, 8)),
    });
  session.close();
  await model.close();
  return rows;
}
