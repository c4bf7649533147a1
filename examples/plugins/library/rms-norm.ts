// A function of somebody's library in the place of dsc's kernel: rms_norm of rms-norm.so, which rms-norm.cpp beside this file makes.
// Any library that exports __tvm_ffi_NAME is bound so, whatever it was written in: FlashInfer, TileLang, TVM, CuTe DSL.
import { asRows, libraryFunction, num, refuse, strided } from "dsc/codegen";
import { plugin } from "dsc/plugin";

const rmsNorm = libraryFunction({
  name: "rms_norm_library",
  serves: ["rms_norm"],
  on: "cpu",
  library: "./rms-norm.so",
  function: "rms_norm",
  /** Its arguments at a site: operands and results as they lie in memory, then eps. */
  pass({ ins: [x, gain], outs: [y], attrs }) {
    if (!gain) return refuse("it has no gain");
    if (x.shape.length !== 2) return refuse("x has more axes than two");
    if (!asRows(x) || !asRows(y)) return strided;
    if ([x, y].some((v) => v.dtype !== "f32")) return refuse("its rows are float32");
    return [{ in: 0 }, { in: 1 }, { out: 0 }, { float: num(attrs.eps) }];
  },
  cases: [
    { sizes: { d: 130 }, rest: [3], optional: ["gain"], attrs: { eps: 1e-5 } },
    { sizes: { d: 1 }, rest: [1], optional: ["gain"] },
    { sizes: { d: 1024 }, rest: [5], optional: ["gain"], dtypes: { w: "bf16" } },
  ],
});

export default plugin({ name: "rms-norm-library", version: "1.0.0", functions: [rmsNorm] });
