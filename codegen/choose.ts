// Which tile family serves which op, with its problem: shared by every target. A problem carries every static size, stride and
// dtype that is not f32; run-time sizes are passed as dims. What a family cannot say is refused with the reason.
import type { Arg, Chosen, Site, View } from "../ir/kernel/catalogue.ts";
import { mul } from "../ir/size.ts";
import { bmm, copyOf } from "./strided.ts";
import { act, asRows, elements, isPacked, num, one, refuse, result, strided } from "./views.ts";

/** Launches of a site, or why there are none. */
export type Choose = (s: Site) => Chosen[] | { reason: string };

/** Elementwise over contiguous tensors. */
const elementwise =
  (op: string): Choose =>
  ({ ins, outs, attrs }) =>
    [...ins, ...outs].every(isPacked)
      ? one("flat", { op, ...(op === "scale" ? { by: attrs.by as number } : {}), ...act(ins[0]) }, [...ins.map((_, i): Arg => ({ in: i })), { out: 0 }], [elements(outs[0])])
      : refuse("an operand is a strided view");

/** The three that begin with a residual sum differ in what else they write. */
function addNormOf(family: string, outs: Arg[]): Choose {
  return ({ ins, attrs }) => {
    const [a, b] = [asRows(ins[0]), asRows(ins[1])];
    if (!a || !b) return strided;
    const problem = { d: num(ins[0].shape.at(-1)), aStride: a.stride, bStride: b.stride, eps: attrs.eps as number, gain: ins[2].dtype, ...(attrs.scale ? { ue8m0: attrs.scale === "ue8m0" } : {}), ...act(ins[0]) };
    return one(family, problem, [{ in: 0 }, { in: 1 }, { in: 2 }, { out: 0 }, ...outs], [a.rows]);
  };
}

/** By op, the tile family that serves it and its problem. */
export const choosers: Readonly<Record<string, Choose>> = Object.freeze({
  embed: ({ ins, outs }) => one("embed", { vocab: num(ins[1].shape[0]), d: num(ins[1].shape[1]), table: ins[1].dtype, ...result(outs[0]) }, [{ in: 0 }, { in: 1 }, { out: 0 }], [outs[0].shape[0]]),

  rms_norm({ ins, outs, attrs }) {
    const [x, y] = [asRows(ins[0]), asRows(outs[0])];
    if (!x || !y) return strided;
    return one("rms_norm", { d: num(ins[0].shape.at(-1)), xStride: x.stride, yStride: y.stride, eps: attrs.eps as number, gain: ins[1].dtype, ...act(ins[0]) }, [{ in: 0 }, { in: 1 }, { out: 0 }], [x.rows]);
  },

  norm_quant({ ins, attrs }) {
    const x = asRows(ins[0]);
    if (!x) return strided;
    return one(
      "norm_quant",
      { d: num(ins[0].shape.at(-1)), xStride: x.stride, yStride: 0, eps: attrs.eps as number, gain: ins[1].dtype, ue8m0: attrs.scale === "ue8m0", ...act(ins[0]) },
      [{ in: 0 }, { in: 1 }, { out: 0 }, { out: 0, part: "scales" }], [x.rows],
    );
  },

  add_norm: addNormOf("add_norm", [{ out: 1 }]),
  add_norm_quant: addNormOf("add_norm_quant", [{ out: 1 }, { out: 1, part: "scales" }]),
  add_norm_both: addNormOf("add_norm_both", [{ out: 1 }, { out: 2 }, { out: 2, part: "scales" }]),

  quantize({ ins, attrs }) {
    const x = asRows(ins[0]);
    if (!x) return strided;
    return one("quantize", { d: num(ins[0].shape.at(-1)), xStride: x.stride, ue8m0: attrs.scale === "ue8m0", ...act(ins[0]) }, [{ in: 0 }, { out: 0 }, { out: 0, part: "scales" }], [x.rows]);
  },

  dequantize({ ins, outs }) {
    const v = ins[0];
    const args: Arg[] = [{ in: 0 }, { in: 0, part: "scales" }, { out: 0 }];
    if (v.scaled === "1x128") return one("dequantize_rows", { k: num(v.shape.at(-1)), ...result(outs[0]) }, args, [mul(...v.shape.slice(0, -1))]);
    return one("dequantize_blocks", { batch: num(mul(...v.shape.slice(0, -2))), n: num(v.shape.at(-2)), k: num(v.shape.at(-1)), ...result(outs[0]) }, args, []);
  },

  linear({ ins, outs }) {
    const [x, y] = [asRows(ins[0]), asRows(outs[0], ins[1].shape.length - 1)];
    if (!x || !y || !isPacked(ins[1])) return strided;
    const n = num(mul(...ins[1].shape.slice(0, -1)));
    return one("linear", { n, k: num(ins[1].shape.at(-1)), xStride: x.stride, yStride: y.stride, w: ins[1].dtype, ...act(ins[0]), ...result(outs[0]) }, [{ in: 0 }, { in: 1 }, { out: 0 }], [x.rows]);
  },

  block_linear({ ins, outs }) {
    const x = asRows(ins[0]);
    if (!x) return strided;
    const w = ins[1].shape;
    const scaled = ins[0].scaled === "1x128";
    return one(
      "block_linear",
      { parts: num(mul(...w.slice(0, -2))), n: num(w.at(-2)), k: num(w.at(-1)), x: ins[0].dtype, xStride: x.stride, ...result(outs[0]) },
      [{ in: 0 }, ...(scaled ? [{ in: 0, part: "scales" } as const] : []), { in: 1 }, { in: 1, part: "scales" }, { out: 0 }], [x.rows],
    );
  },

  grouped_linear({ ins, outs }) {
    const x = asRows(ins[0]);
    if (!x) return strided;
    const w = ins[1].shape;
    const scaled = ins[0].scaled === "1x128";
    return one(
      "grouped_linear",
      { experts: num(w[0]), parts: num(mul(...w.slice(1, -2))), n: num(w.at(-2)), k: num(w.at(-1)), x: ins[0].dtype, w: ins[1].dtype, xStride: x.stride, ...result(outs[0]) },
      [{ in: 0 }, ...(scaled ? [{ in: 0, part: "scales" } as const] : []), { in: 1 }, ...(ins[1].scaled ? [{ in: 1, part: "scales" } as const] : []), { in: 2 }, { out: 0 }], [x.rows],
    );
  },

  add: elementwise("add"),
  mul: elementwise("mul"),
  silu: elementwise("silu"),
  scale: elementwise("scale"),

  add_bias({ ins, outs }) {
    const [x, y] = [asRows(ins[0]), asRows(outs[0])];
    if (!x || !y) return strided;
    return one("add_bias", { d: num(ins[0].shape.at(-1)), xStride: x.stride, yStride: y.stride, bias: ins[1].dtype, ...act(ins[0]) }, [{ in: 0 }, { in: 1 }, { out: 0 }], [x.rows]);
  },

  silu_mul({ ins, outs }) {
    const [x, y] = [asRows(ins[0], 2), asRows(outs[0])];
    if (!x || !y) return strided;
    return one("silu_mul", { n: num(ins[0].shape.at(-1)), xStride: x.stride, yStride: y.stride, ...act(ins[0]) }, [{ in: 0 }, { out: 0 }], [x.rows]);
  },

  silu_mul_quant({ ins, attrs }) {
    const x = asRows(ins[0], 2);
    if (!x) return strided;
    return one("silu_mul_quant", { n: num(ins[0].shape.at(-1)), xStride: x.stride, ue8m0: attrs.scale === "ue8m0", ...act(ins[0]) }, [{ in: 0 }, { out: 0 }, { out: 0, part: "scales" }], [x.rows]);
  },

  softmax_causal: ({ ins, outs }) =>
    isPacked(ins[0]) && isPacked(outs[0]) ? one("softmax_causal", { heads: num(ins[0].shape[1]), ...act(ins[0]) }, [{ in: 0 }, { out: 0 }], [ins[0].shape[0], ins[0].shape[2]]) : strided,

  einsum: ({ ins, outs, attrs }) => bmm(String(attrs.spec), ins[0], ins[1], outs[0]),

  rope({ ins, attrs }) {
    const x = ins[0];
    const [heads, d] = x.shape.length === 3 ? [num(x.shape[1]), num(x.shape[2])] : [1, num(x.shape[1])];
    const xStrides = [num(x.strides[0]), x.shape.length === 3 ? num(x.strides[1]) : d];
    return one("rope", { heads, d, xStrides, interleaved: attrs.interleaved as boolean, maxPositions: num(ins[1].shape[0]), ...act(x) }, [{ in: 0 }, { in: 1 }, { batch: "positions" }, { out: 0 }], [x.shape[0]]);
  },

  cache_append: ({ ins, caches }) =>
    one(
      "cache_append",
      { r: num(ins[0].shape[1]), d: num(ins[1].shape[1]), pageRows: caches![0].pageRows, cStride: num(ins[0].strides[0]), kpStride: num(ins[1].strides[0]), ...act(ins[0]) },
      [{ cache: true }, { in: 0 }, { in: 1 }, { batch: "positions" }, { batch: "sequence" }, { batch: "pages" }], [ins[0].shape[0], "P"],
    ),

  rope_append: ({ ins, attrs, caches }) =>
    one(
      "rope_append",
      {
        r: num(ins[0].shape[1]), d: num(ins[1].shape[1]), pageRows: caches![0].pageRows, cStride: num(ins[0].strides[0]), krStride: num(ins[1].strides[0]),
        gain: ins[2].dtype, eps: attrs.eps as number, interleaved: attrs.interleaved as boolean, maxPositions: num(ins[3].shape[0]), ...act(ins[0]),
      },
      [{ cache: true }, { in: 0 }, { in: 1 }, { in: 2 }, { in: 3 }, { batch: "positions" }, { batch: "sequence" }, { batch: "pages" }], [ins[0].shape[0], "P"],
    ),

  cache_rows({ outs, caches }) {
    const [{ width, pageRows }] = caches!;
    return one("cache_rows", { width, pageRows, ...act(outs[0]) }, [{ cache: true }, { batch: "pages" }, { out: 0 }], [outs[0].shape[0], "b", "P"]);
  },

  attend({ ins, outs, attrs }) {
    const [q, qp, k, kp, v] = ins;
    const heads = num(q.shape[1]);
    // Latents are shared by all heads: no head axis, so its stride is 0.
    const strides = (x: View): number[] => (x.shape.length === 3 ? [num(x.strides[0]), num(x.strides[1])] : [num(x.strides[0]), 0]);
    if (ins.some((x) => x.strides.at(-1) !== 1)) return strided;
    return one(
      "attend",
      { heads, n: num(q.shape[2]), d: num(qp.shape[2]), v: num(v.shape.at(-1)), q: strides(q), qp: strides(qp), k: strides(k), kp: num(kp.strides[0]), vStrides: strides(v), y: strides(outs[0]), scale: attrs.scale as number, ...act(q) },
      [{ in: 0 }, { in: 1 }, { in: 2 }, { in: 3 }, { in: 4 }, { out: 0 }], [q.shape[0], kp.shape[0]],
    );
  },

  mla_attend: ({ ins, attrs, caches }) =>
    one(
      "mla_attend",
      {
        heads: num(ins[0].shape[1]), r: num(ins[0].shape[2]), d: num(ins[1].shape[2]), pageRows: caches![0].pageRows,
        ql: [num(ins[0].strides[0]), num(ins[0].strides[1])], qp: [num(ins[1].strides[0]), num(ins[1].strides[1])], scale: attrs.scale as number, ...act(ins[0]),
      },
      [{ in: 0 }, { in: 1 }, { cache: true }, { batch: "positions" }, { batch: "sequence" }, { batch: "pages" }, { out: 0 }], [ins[0].shape[0], "P"],
    ),

  route({ ins, attrs }) {
    const x = asRows(ins[0]);
    if (!x) return strided;
    const bias = ins.length > 1;
    return one(
      "route",
      {
        experts: num(ins[0].shape[1]), topk: attrs.topk as number, groups: attrs.groups as number, kept: attrs.kept as number, scoring: attrs.scoring as string,
        method: attrs.method as string, normalise: attrs.normalise as boolean, factor: attrs.factor as number, bias, xStride: x.stride, ...(attrs.shared ? { shared: attrs.shared as number } : {}), ...act(ins[0]),
      },
      [{ in: 0 }, ...(bias ? [{ in: 1 } as const] : []), { out: 0 }, { out: 1 }], [x.rows],
    );
  },

  sort_experts: ({ ins, attrs }) => one("sort_experts", { experts: attrs.experts as number, k: num(ins[0].shape[1]) }, [{ in: 0 }, { out: 0 }, { out: 1 }, { out: 2 }], [elements(ins[0])]),

  gather_rows({ ins, attrs }) {
    const x = asRows(ins[0]);
    if (!x) return strided;
    const scaled = ins[0].scaled !== undefined;
    return one(
      "gather_rows",
      { d: num(ins[0].shape[1]), per: attrs.per as number, x: ins[0].dtype, xStride: x.stride },
      scaled ? [{ in: 0 }, { in: 0, part: "scales" }, { in: 1 }, { out: 0 }, { out: 0, part: "scales" }] : [{ in: 0 }, { in: 1 }, { out: 0 }], [ins[0].shape[0], ins[1].shape[0]],
    );
  },

  combine({ ins }) {
    const x = asRows(ins[0]);
    if (!x) return strided;
    return one("combine", { d: num(ins[0].shape[1]), k: num(ins[2].shape[1]), xStride: x.stride, ...act(ins[0]) }, [{ in: 0 }, { in: 1 }, { in: 2 }, { out: 0 }], [ins[2].shape[0], x.rows]);
  },

  combine_add({ ins }) {
    const x = asRows(ins[0]);
    const shared = ins.length > 4;
    if (!x || !ins.slice(3).every(isPacked)) return strided;
    return one("combine_add", { d: num(ins[0].shape[1]), k: num(ins[2].shape[1]), xStride: x.stride, shared, ...act(ins[0]) }, [...ins.map((_, i): Arg => ({ in: i })), { out: 0 }], [ins[2].shape[0], x.rows]);
  },

  argmax({ ins }) {
    const x = asRows(ins[0]);
    return x ? one("argmax", { d: num(ins[0].shape[1]), xStride: x.stride }, [{ in: 0 }, { out: 0 }], [x.rows]) : strided;
  },

  last_rows({ ins, outs }) {
    const x = asRows(ins[0]);
    return x ? one("last_rows", { d: num(ins[0].shape[1]), xStride: x.stride, ...act(ins[0]) }, [{ in: 0 }, { batch: "starts" }, { out: 0 }], [ins[0].shape[0], outs[0].shape[0]]) : strided;
  },

  concat({ ins, outs }) {
    const width = num(ins[0].shape.at(-1));
    const copies = ins.map((v, i) => {
      // Each half goes beside the other: the same rows of the result, from its own column on.
      const c = copyOf(v, { ...outs[0], shape: v.shape });
      return "reason" in c ? c : { ...c[0], problem: { ...c[0].problem, offset: i * width }, args: [{ in: i }, { out: 0 }] as Arg[] };
    });
    const failed = copies.find((c) => "reason" in c);
    return failed ? (failed as { reason: string }) : (copies as Chosen[]);
  },
});

/** The tile kernels of a site: the choice of every target for an op it has nothing better for. */
export const chooseTiles: Choose = (site) => choosers[site.op]?.(site) ?? refuse(`no kernel family serves ${site.op}`);
