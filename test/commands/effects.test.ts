// Options that can have no effect with the others given are refused, by every command that has them.
import { Worker } from "node:worker_threads";
import { beforeAll, describe, expect, test } from "vitest";
import { answerOf } from "../../compiler/analysis/machine.ts";
import { at, dsc, refusal, tiny } from "./dsc.ts";

const bf16 = "examples/printed-model";
const out = at("artifact");
beforeAll(async () => {
  expect((await dsc("compile", bf16, "--layers", "1", "-o", out)).code).toBe(0);
});

describe.concurrent("refused", () => {
  test.each<[string, RegExp]>([
    [`compile ${bf16} --layers 1 -o ${at("never")} --act-quant none`, /--act-quant none is for FP8 weights/],
    [`plan ${bf16} --device h200 --act-quant none`, /--act-quant none is for FP8 weights/],
    [`run ${bf16} --layers 1 --weights synthetic:1 --ids 1 --max-new 1 --act-quant none`, /--act-quant none is for FP8 weights/],
    [`inspect ${out} --batch 4`, /--batch is of --cost/],
    [`inspect ${out} --context=2048`, /--context is of --cost/],
    [`inspect ${out} --ir --device h200`, /--device is of --cost/],
    [`inspect ${out} --origin --cost`, /only one of --origin and --cost/],
    [
      `verify ${bf16} --pass-option absorb-mla.attention=expanded`,
      /verify proves the passes with attention expanded and absorbed, both/,
    ],
    [`verify ${bf16} --passes none`, /nothing to prove/],
    [`plan ${bf16} --device h200 --bandwidth 10`, /--bandwidth is for --device cpu/],
    [`run ${tiny} --tp 2 --mesh tp=4 --ids 1 --max-new 1`, /only one of --mesh and --tp/],
    [`run ${tiny} --tp 2 --target c --ids 1 --max-new 1`, /--target c of a model that is divided over ranks/],
    [`compile ${tiny} --mesh tp=2 --target tvm -o ${at("never")}`, /--target tvm of a model that is divided over ranks/],
    [`why ${out} kernels --fired`, /--fired is of passes/],
    [
      `summary ${bf16} --set attention_dropout=0.1`,
      /DSC1023[^]*--set attention_dropout changes nothing[^]*dropout is off in inference/,
    ],
    [`summary ${bf16} --set text_config.hidden_size=64`, /DSC1023[^]*--set hidden_size=VALUE/],
  ])("dsc %s", async (line, wanted) => {
    expect(await refusal(...line.split(" "))).toMatch(wanted);
  });
});

test("a thread that ends without a word is no answer, and is not waited for", async () => {
  await expect(answerOf(new Worker("process.exit(3)", { eval: true }))).rejects.toThrow("a thread ended with code 3");
  await expect(answerOf(new Worker("throw new Error('too little memory')", { eval: true }))).rejects.toThrow("too little memory");
  const good = new Worker("require('node:worker_threads').parentPort.postMessage(1)", { eval: true });
  await answerOf(good);
});
