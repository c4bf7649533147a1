// FP8 block GEMM: explicit dequantise nodes around a linear become one op over packed codes and their scales.
import { asTensor, blockLinear, dequantize, linear } from "../../ir/index.ts";
import type { Body } from "../contract.ts";
import { pass } from "../pass.ts";
import { rule } from "../rule.ts";

/** (s_x q_x)(s_w q_w)ᵀ, block by block: scales leave the sum over 128 columns they are constant on. */
const quantisedInput = rule("block GEMM of quantised rows", {
  vars: { x: "[..b, k] e4m3/1x128", w: "[n, k] e4m3/128x128" },
  attrs: { dtype: "f32" },
  from: ({ x, w, dtype }) => linear({ x: dequantize({ x, dtype }), w: dequantize({ x: w, dtype }) }),
  to: ({ x, w, dtype }) => blockLinear({ x, w, dtype }),
});

/** The same with an input that was never quantised (--act-quant none). */
const exactInput = rule("block GEMM of exact rows", {
  vars: { x: "[..b, k] a", w: "[n, k] e4m3/128x128" },
  attrs: { dtype: "f32" },
  from: ({ x, w, dtype }) => linear({ x, w: dequantize({ x: w, dtype }) }),
  to: ({ x, w, dtype }) => blockLinear({ x, w, dtype }),
  when({ x, dtype }) {
    if (dequantize.made(x.node)) return "its input is quantised: the other rule applies";
    return asTensor(x.type).dtype === dtype
      ? null
      : `the rows are ${asTensor(x.type).dtype}, the matrix becomes ${String(dtype)}`;
  },
});

/** Linears over block-scaled weights, regions included. */
export const scaledLinears = (b: Body): number => b.all(linear).filter((n) => dequantize.made(n.operands[1].node)).length;

export const fp8BlockGemm = pass({
  name: "fp8-block-gemm",
  summary: "Multiply packed e4m3 codes and apply their scales once per 128 columns; weights are never expanded.",
  rules: [quantisedInput, exactInput],
  promises: [
    {
      rules: [quantisedInput.name, exactInput.name],
      before: scaledLinears,
      // Absorption reads the halves of kv_b as they are: one linear less.
      after: (sites, ran) => sites - (sites > 0 ? ran.fired("absorb W_uk into the query") : 0),
    },
  ],
});
