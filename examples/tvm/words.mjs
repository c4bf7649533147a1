// A library of tvm-ffi's ABI called from Node: node examples/tvm/words.mjs LIBRARY (docs/interop.md says how this one is compiled).
import * as tvm from "dsc/tvm";

const module = tvm.loadModule(process.argv[2]);
console.log(module.get("join").call(tvm.array(["lists", "strings", "null"]), ", "), module.get("maybe").call(false));
console.log(module.get("apply").call(tvm.callback((n) => n * 2), 21));
const numbers = Float32Array.of(1, 2, 3.5);
console.log(module.get("total").call(new tvm.Tensor(numbers, [3], "float32")), module.get("counted").call(3).view());
try {
  module.get("positive").call(-3);
} catch (e) {
  console.log(`${e.name}: ${e.message}`);
}
