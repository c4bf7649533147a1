// Embedding, products, norms, elementwise ops and quantisation in ONNX.
import { constantOp, einsumOp, rmsNorm, scale } from "../../ir/ops/index.ts";
import type { Node } from "../../ir/graph.ts";
import { asTensor, fixed } from "../../ir/types.ts";
import { as, dimsOf, dtypeAt, full, given, resultElem, sizes, type Lower, type Lowering } from "./lowering.ts";
import { elem } from "./proto.ts";

/** y = x wᵀ: Gemm where both are matrices, and around it the axes of rows and of packed weights. */
function product(at: Lowering, n: Node, x: string, w: string): string {
  const { s } = at;
  const [xd, wd] = [dimsOf(n.operands[0]), dimsOf(n.operands[1])];
  const flat = (name: string, dims: readonly unknown[], k: unknown): string =>
    dims.length === 2 ? name : s.op("Reshape", [name, s.ints([-1, fixed(k)])], {}, "flat");
  const y = s.op("Gemm", [flat(x, xd, xd.at(-1)), flat(w, wd, wd.at(-1))], { transB: 1 }, "linear");
  const out = asTensor(n.results[0].type).dims;
  return out.length === 2 ? y : s.op("Reshape", [y, s.ints(sizes(out))]);
}

const linear: Lower = (at, n, [x, w]) => {
  const to = resultElem(at, n);
  return [given(at, n, product(at, n, as(at, x, to), as(at, w, to)))];
};

/** ai.dsc::BlockLinear(x, codes, scales), in f32. */
const blockLinear: Lower = (at, n, [x, w]) => {
  const rows = full(at, x, dtypeAt(n, 0));
  const [y] = at.s.call(at.functions.use("BlockLinear"), [rows.name, w.name, w.scales!], ["block_linear"]);
  return [given(at, n, y, elem.FLOAT)];
};

const embed: Lower = (at, n, [ids, table]) => [given(at, n, at.s.op("Gather", [table.name, ids.name], {}, "embed"), table.elem)];

const norm: Lower = (at, n, [x, gain]) => {
  if (!rmsNorm.made(n)) throw new TypeError("no norm");
  const to = resultElem(at, n);
  const by = gain
    ? as(at, gain, to)
    : at.s.cast(at.s.op("Expand", [at.s.floats(1), at.s.ints([fixed(dimsOf(n.operands[0]).at(-1))])]), elem.FLOAT, to);
  const y = at.s.op("RMSNormalization", [as(at, x, to), by], { axis: -1, epsilon: { f: n.attrs.eps } }, "norm");
  return [given(at, n, y)];
};

const einsum: Lower = (at, n, [a, b]) => {
  if (!einsumOp.made(n)) throw new TypeError("no einsum");
  const to = resultElem(at, n);
  return [given(at, n, at.s.op("Einsum", [as(at, a, to), as(at, b, to)], { equation: n.attrs.spec }))];
};

/** An operator of ONNX over all operands, in the result's element type. */
const elementwise =
  (operator: string): Lower =>
  (at, n, ins) => [
    given(
      at,
      n,
      at.s.op(
        operator,
        ins.map((v) => as(at, v, resultElem(at, n))),
      ),
    ),
  ];

const scaled: Lower = (at, n, [x]) => {
  if (!scale.made(n)) throw new TypeError("no scale");
  const to = resultElem(at, n);
  return [given(at, n, at.s.op("Mul", [as(at, x, to), at.s.cast(at.s.floats(n.attrs.by), elem.FLOAT, to)], {}, "scale"))];
};

const constant: Lower = (at, n) => {
  if (!constantOp.made(n)) throw new TypeError("no constant");
  const one = at.s.cast(at.s.floats(n.attrs.value), elem.FLOAT, resultElem(at, n));
  return [given(at, n, at.s.op("Expand", [one, at.s.ints(sizes(dimsOf(n.results[0])))], {}, "constant"))];
};

const quantize: Lower = (at, n, [x]) => {
  const name = at.functions.use(n.attrs.scale === "ue8m0" ? "QuantizeRowsPow2" : "QuantizeRows");
  const [codes, scales] = at.s.call(name, [as(at, x, elem.FLOAT)], ["codes", "scales"]);
  return [{ name: codes, elem: elem.FLOAT8E4M3FN, scales }];
};

const dequantize: Lower = (at, n, [x]) => {
  const y = full(at, x, dtypeAt(n, 0));
  return [given(at, n, y.name, y.elem)];
};

export const dense: Readonly<Record<string, Lower>> = {
  embed,
  linear,
  block_linear: blockLinear,
  rms_norm: norm,
  einsum,
  add: elementwise("Add"),
  mul: elementwise("Mul"),
  add_bias: elementwise("Add"),
  scale: scaled,
  constant,
  quantize,
  dequantize,
};
