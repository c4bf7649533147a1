// A model divided over ranks on one GPU, in lockstep, over the stand-in for the driver: what one rank on the CPU says.
import path from "node:path";
import { expect, test, vi } from "vitest";
import { largest } from "../../compiler/analysis/verify.ts";
import { parseMesh } from "../../ir/index.ts";
import { lacks } from "../conditions.ts";
import { open } from "../run/cuda-device.ts";
import { answers, answersOf } from "./answers.ts";

const fixture = (name: string): string => path.resolve(import.meta.dirname, "../fixtures", name);

test.skipIf(lacks("g++")).each([
  ["a01-v3-yarn", "tp=4,ep=2"],
  ["a04-v2-group", "tp=2"],
  ...(lacks("DSC_ALL")
    ? []
    : [
        ["a08-v3-mtp", "ep=2"],
        ["a02-v3-noq-nogroup", "tp=4"],
        ["a07-v3-fp8", "tp=2"],
      ]),
])("%s over %s: ids of one rank, logits to 2e-4, steps as graphs", async (name, mesh) => {
  const one = await answers(name);
  await using model = await open(fixture(name), "f32", fixture(name), { mesh: parseMesh(mesh), taps: false });
  const captured = vi.spyOn(model.device.cuda, "capture");
  const many = await answersOf(model);
  expect(many.ids).toEqual(one.ids);
  for (const [i, row] of many.logits.entries())
    expect(largest(Float64Array.from(row), Float64Array.from(one.logits[i])), `step ${i}`).toBeLessThan(2e-4);
  expect(captured).toHaveBeenCalledOnce();
});
