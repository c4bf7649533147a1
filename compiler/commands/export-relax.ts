// dsc export relax SRC -o model.py: the model as TVMScript of Relax, and what builds it.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import { usage } from "../diagnostics.ts";
import { graphOfConfig, isArtifact, type GraphOptions } from "../export/graph.ts";
import { checkOut, writeFile } from "../export/out.ts";
import { exportRelax, isRelaxExport } from "../export/relax.ts";
import { size } from "../report/summary.ts";
import { say } from "../tell.ts";
import { typed } from "./effects.ts";

/** The graph is that of a config before any pass: what other compilers fuse they find there. */
export function exportModule(
  src: string,
  out: string,
  { after, actQuant, json, ...rest }: Omit<GraphOptions, "stored" | "passOptions"> & { json: boolean },
): void {
  if (isArtifact(src))
    throw new DiagnosticError(
      usage({ problem: "export relax is of a config, and this is an artifact", help: "give what it was compiled of", word: src }),
    );
  const [foreign] = typed(["plugin", "pass-option", "portable", "weights", "attention", "kernel"]);
  if (foreign !== undefined)
    throw new DiagnosticError(
      usage({
        problem: `--${foreign} means nothing to export relax: no pass runs, everything is float32, and weights are read by the script`,
        help: `leave --${foreign} out`,
        word: `--${foreign}`,
      }),
    );
  if (after !== undefined && after !== "frontend")
    throw new DiagnosticError(
      usage({
        problem: "export relax writes the model as it is before any pass",
        help: "leave --after out; dsc export onnx takes it",
        word: "--after",
      }),
    );
  if (actQuant === "dynamic")
    throw new DiagnosticError(
      usage({ problem: "Relax has no product of quantised rows", help: "leave --act-quant out", word: "--act-quant" }),
    );
  checkOut(out, isRelaxExport);
  const options = { ...rest, after: "frontend", activations: "f32", actQuant, stored: undefined, passOptions: {} } as const;
  const graphed = graphOfConfig(src, options, []);
  graphed.warnings.forEach(say);
  const { text, weights, operators } = exportRelax(graphed);
  const bytes = new TextEncoder().encode(text);
  writeFile(out, bytes);
  if (json) return void process.stdout.write(`${JSON.stringify({ out, bytes: bytes.length, weights, operators })}\n`);
  process.stdout.write(
    `${out}: ${size(bytes.length)}, ${operators} bindings, ${weights} weights, computed in float32\n` +
      `python ${out} CHECKPOINT builds and runs it (pip install apache-tvm numpy)\n`,
  );
}
