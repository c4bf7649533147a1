// SRC or OUT to an .onnx file beside its weights: the graph of a pass, the checkpoint's tensors by place, the bytes.
import path from "node:path";
import { encoded } from "../../codegen/onnx/proto.ts";
import { onnxModel } from "../../codegen/onnx/export.ts";
import { version } from "../artifact/version.ts";
import type { Checkpoint } from "../../runtime/index.ts";
import { externalTo } from "./external.ts";
import type { Graphed } from "./graph.ts";

export interface OnnxExport {
  bytes: Uint8Array;
  after: string;
  nodes: number;
  /** Functions of ai.dsc that it has. */
  functions: string[];
  initializers: number;
  /** Files that hold the weights, as the .onnx names them. */
  weights: string[];
  /** Second names that files of other folders got. */
  links: string[];
}

/** What the file says of itself. */
const docOf = ({ after, quantised }: Graphed | Omit<Graphed, "warnings">): string =>
  [
    "input_ids [1, T] and past.N [1, S, r + d] of every layer N, S may be 0; logits [1, T, V] and present.N [1, S + T, r + d].",
    `The graph ${after === "frontend" ? "before any pass" : `after pass ${after}`} of dsc.`,
    ...(quantised === undefined ? [] : [`Inputs of FP8 linears are ${quantised ? "" : "not "}quantised.`]),
  ].join(" ");

/** The .onnx that will lie at `out`. Gives weights of other folders their second names. */
export async function exportOnnx(
  graphed: Graphed | Omit<Graphed, "warnings">,
  checkpoint: Checkpoint,
  out: string,
  portable: boolean,
): Promise<OnnxExport> {
  const external = externalTo(checkpoint, out);
  const { module, maker, after } = graphed;
  const model = onnxModel(module, { find: external.find, portable, maker, version, doc: docOf(graphed) });
  const bytes = await encoded(model);
  return {
    bytes,
    after,
    nodes: model.graph.node.length,
    functions: model.functions.map((f) => f.name),
    initializers: model.graph.initializer!.length,
    weights: [...external.used],
    links: external.link().map((l) => path.relative(process.cwd(), l)),
  };
}
