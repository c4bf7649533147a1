// A model that dsc exported, run by onnxruntime: node examples/onnx/greedy.mjs FOLDER "prompt" 48, after
//   dsc export onnx FOLDER -o FOLDER/model.onnx --portable
// The graph takes any number of new rows on any number of cached ones: the prompt goes in at once, then one id at a time.
import path from "node:path";
import { loadTokenizer } from "dsc/runtime";
import ort from "onnxruntime-node";

const [folder, prompt, most] = process.argv.slice(2);
const tokenizer = await loadTokenizer(folder);
const session = await ort.InferenceSession.create(path.join(folder, "model.onnx"));
const pasts = session.inputNames.filter((name) => name.startsWith("past."));
const width = session.inputMetadata.find((input) => input.name === "past.0").shape[2];

// No rows yet: [1, 0, r + d] for every layer.
let cache = Object.fromEntries(pasts.map((name) => [name, new ort.Tensor("float32", new Float32Array(), [1, 0, width])]));
let ids = tokenizer.encode(prompt);
const said = [...ids];
for (let step = 0; step < Number(most); step++) {
  const rows = new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]);
  const { logits, ...present } = await session.run({ input_ids: rows, ...cache });
  cache = Object.fromEntries(pasts.map((name) => [name, present[name.replace("past", "present")]]));
  const last = logits.data.subarray(-logits.dims[2]);
  ids = [last.indexOf(Math.max(...last))];
  said.push(...ids);
}
console.log(tokenizer.decode(said));
