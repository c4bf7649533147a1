// DSC413x: what an ONNX graph cannot say.
import { place, thrown } from "../../ir/diagnostic.ts";

/** `by`: who made the op, such as "pass add-norm". */
export const cannotSay = thrown<{ op: string; site: string; by: string }>("DSC4131", {
  name: "an op that ONNX cannot say",
  means:
    "dsc export onnx writes every op in standard operators, and a fused op by the ops it stands for. This one has " +
    "neither; the message names the pass that made it.",
  example: "A plug-in's pass that brings an op declared by a reference alone.",
  fix: "Export the graph after an earlier pass (--after), or declare the op as `fused`.",
  at: ({ site }) => [place(site)],
  short: ({ op, by }) => ({
    title: `ONNX cannot say ${op}: ${by}`,
    notes: [`${op} has no form in standard operators and is not made of ops that have one`],
    help: "give --after the name of an earlier pass, or none; declare the op as `fused`, of ops that can be said",
  }),
});

export const cannotHold = thrown<{ tensor: string; dtype: string }>("DSC4132", {
  name: "a stored type that ONNX's opset 23 does not have",
  means: "Weights stay in the checkpoint's files, so their type has to be one of ONNX's: F32, F16, BF16 or F8_E4M3.",
  example: "Scales stored as F8_E8M0.",
  fix: "Store the tensor as one of these: e8m0 scales as F32, as the published checkpoints have them.",
  at: ({ tensor }) => [place(tensor)],
  short: ({ dtype }) => ({
    title: `an ONNX file of opset 23 cannot point at ${dtype}`,
    notes: ["it has types for F32, F16, BF16 and F8_E4M3"],
    help: "store the tensor as one of these",
  }),
});

export const otherShape = thrown<{ tensor: string; seen: readonly number[]; expected: readonly number[] }>("DSC4133", {
  name: "a tensor of another shape than the graph reads",
  means: "The checkpoint is not that of the config: a tensor has the name that the graph reads, and another shape.",
  example: "dsc export onnx examples/tiny-r1 --set vocab_size=100 -o model.onnx",
  fix: "Give --weights the checkpoint of this config.",
  at: ({ tensor }) => [place(tensor)],
  short: ({ tensor, seen, expected }) => ({
    title: `${tensor} has another shape than the model's`,
    notes: [`the checkpoint has [${seen.join(", ")}], the graph reads [${expected.join(", ")}]`],
    help: "give --weights the checkpoint of this config",
  }),
});

export const noEntry = thrown<{ entry: string }>("DSC4134", {
  name: "no whole model to export",
  means: "A graph of ONNX is made of the module's entry `extend`, which takes ids and gives logits.",
  example: "An artifact whose graph was written by another program.",
  fix: "Export a config, or an artifact that dsc compiled of one.",
  at: ({ entry }) => [place(`entry ${entry}`)],
  short: ({ entry }) => ({
    title: `the module has no ${entry} that takes ids and gives logits`,
    notes: ["a graph of ONNX is made of the function that takes new rows on a cached prefix: entry extend"],
    help: "export a whole model: a config, or an artifact of one",
  }),
});
