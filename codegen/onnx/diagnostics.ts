// DSC413x: what an ONNX graph cannot say.
import { DiagnosticError, error, place } from "../../ir/diagnostic.ts";

/** `by`: who made the op, such as "pass add-norm". */
export const cannotSay = (op: string, site: string, by: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC4131", `ONNX cannot say ${op}: ${by}`, {
      spans: [place(site)],
      notes: [`${op} has no form in standard operators and is not made of ops that have one`],
      help: "give --after the name of an earlier pass, or none; declare the op as `fused`, of ops that can be said",
    }),
  );

export const cannotHold = (tensor: string, dtype: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC4132", `an ONNX file of opset 23 cannot point at ${dtype}`, {
      spans: [place(tensor)],
      notes: ["it has types for F32, F16, BF16 and F8_E4M3"],
      help: "store the tensor as one of these",
    }),
  );

export const otherShape = (tensor: string, seen: readonly number[], expected: readonly number[]): DiagnosticError =>
  new DiagnosticError(
    error("DSC4133", `${tensor} has another shape than the model's`, {
      spans: [place(tensor)],
      notes: [`the checkpoint has [${seen.join(", ")}], the graph reads [${expected.join(", ")}]`],
      help: "give --weights the checkpoint of this config",
    }),
  );

export const noEntry = (entry: string): DiagnosticError =>
  new DiagnosticError(
    error("DSC4134", `the module has no ${entry} that takes ids and gives logits`, {
      spans: [place(`entry ${entry}`)],
      notes: ["a graph of ONNX is made of the function that takes new rows on a cached prefix: entry extend"],
      help: "export a whole model: a config, or an artifact of one",
    }),
  );
