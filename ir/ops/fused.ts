// Ops that others say, each declared by its graph: what comes next to a norm, a product, a gate or an append, in one kernel. With few
// rows each neighbour is a launch of its own that moves next to nothing; with many, rows are visited once instead of twice.
import { gating } from "../activation.ts";
import { attr } from "../attr.ts";
import { DiagnosticError } from "../diagnostic.ts";
import { opMismatch } from "../diagnostics.ts";
import { fused, sizeAttr } from "../fused.ts";
import { asTensor, product } from "../types.ts";
import { cacheAppend, rope } from "./attention.ts";
import { blockLinear, groupedLinear, linear } from "./dense.ts";
import { combine, gatherRows, route, routing, sortExperts } from "./expert.ts";
import { gatedPair } from "./gated.ts";
import { add, einsum, einsumOp } from "./math.ts";
import { rmsNorm } from "./norm.ts";
import { quantize } from "./quant.ts";
import { reshape } from "./view.ts";

const scaleFormat = attr.word(["f32", "ue8m0"], "f32");
const eps = attr.f32(1e-6);
/** Of an operand that the pattern of a rule leaves open, the name of its dtype variable. */
const dtypeOf = (v: { type: Parameters<typeof asTensor>[0] }): string => asTensor(v.type).dtype;

export const normQuant = fused("norm_quant", {
  summary: "rms_norm, then quantize, without writing the row in between.",
  ins: { x: "[..b, d] a", gain: "[d] w" },
  attrs: { eps, scale: scaleFormat },
  of: ({ x, gain }, { eps, scale }) => quantize({ x: rmsNorm({ x, gain, eps }), scale }),
});

export const addNorm = fused("add_norm", {
  summary: "Sum of a residual connection, and its rms_norm: the row is read once.",
  ins: { a: "[..b, d] a", b: "[..b, d] a", gain: "[d] w" },
  attrs: { eps },
  outs: { sum: "[..b, d] a", y: "[..b, d] a" },
  of({ a, b, gain }, { eps }) {
    const sum = add({ a, b });
    return { sum, y: rmsNorm({ x: sum, gain, eps }) };
  },
});

export const addNormQuant = fused("add_norm_quant", {
  summary: "Sum of a residual connection, and its rms_norm quantised; the normalised row is not written.",
  ins: { a: "[..b, d] a", b: "[..b, d] a", gain: "[d] w" },
  attrs: { eps, scale: scaleFormat },
  outs: { sum: "[..b, d] a", codes: "[..b, d] e4m3/1x128" },
  of({ a, b, gain }, { eps, scale }) {
    const sum = add({ a, b });
    return { sum, codes: quantize({ x: rmsNorm({ x: sum, gain, eps }), scale }) };
  },
});

/** A layer with experts needs the row twice: the router reads it as it is, the experts read its codes. */
export const addNormBoth = fused("add_norm_both", {
  summary: "Sum of a residual connection, and its rms_norm both as it is and quantised.",
  ins: { a: "[..b, d] a", b: "[..b, d] a", gain: "[d] w" },
  attrs: { eps, scale: scaleFormat },
  outs: { sum: "[..b, d] a", y: "[..b, d] a", codes: "[..b, d] e4m3/1x128" },
  of({ a, b, gain }, { eps, scale }) {
    const sum = add({ a, b });
    const y = rmsNorm({ x: sum, gain, eps });
    return { sum, y, codes: quantize({ x: y, scale }) };
  },
});

export const gatedQuant = fused("gated_quant", {
  summary: "gated_pair, then quantize.",
  ins: { x: "[..b, 2, n] a" },
  attrs: { scale: scaleFormat, ...gating },
  of: ({ x }, { scale, ...by }) => quantize({ x: gatedPair({ x, ...by }), scale }),
});

export const normLinear = fused("norm_linear", {
  summary: "y = rms_norm(x) wᵀ; the normalised row is not written.",
  ins: { x: "[..b, k] a", w: "[..p, n, k] w", gain: "[k] g" },
  attrs: { eps, dtype: attr.word(["same", "f32"], "same") },
  of: ({ x, w, gain }, { eps, dtype }) => linear({ x: rmsNorm({ x, gain, eps }), w, dtype }),
});

/** A router and the experts read the same row: a product of few rows makes it on the way. */
export const normLinearBoth = fused("norm_linear_both", {
  summary: "z = rms_norm(x), and y = z wᵀ: the row is normalised once for the product and for others that read it.",
  ins: { x: "[..b, k] a", w: "[n, k] w", gain: "[k] g" },
  attrs: { eps, dtype: attr.word(["same", "f32"], "same") },
  outs: { z: "[..b, k] a", y: "[..b, n] y" },
  of({ x, w, gain }, { eps, dtype }) {
    const z = rmsNorm({ x, gain, eps });
    return { z, y: linear({ x: z, w, dtype }) };
  },
});

export const linearAdd = fused("linear_add", {
  summary: "residual + x wᵀ.",
  ins: { x: "[..b, k] a", w: "[n, k] w", residual: "[..b, n] a" },
  of: ({ x, w, residual }) => add({ a: residual, b: linear({ x, w }) }),
});

export const gatedLinearAdd = fused("gated_linear_add", {
  summary: "residual + (act(gate) * up) wᵀ, gate and up side by side in x; the row between is not written.",
  ins: { x: "[..b, 2, k] a", w: "[n, k] w", residual: "[..b, n] a" },
  attrs: gating,
  of: ({ x, w, residual }, by) => linearAdd({ x: gatedPair({ x, ...by }), w, residual }),
});

/** What experts' rows are before `down`, in one product: gate and up are twice as wide as what comes of them. */
export const groupedLinearGated = fused("grouped_linear_gated", {
  summary: "gated_pair of a grouped product: gate and up, which are not written.",
  ins: { x: "[r, k] a", w: "[e, 2, n, k] w", offsets: "[f] i32" },
  attrs: { dtype: attr.word(["f32", "bf16"], "f32"), ...gating },
  traits: { reads: { w: "experts" } },
  unrounded: true,
  of: ({ x, w, offsets }, { dtype, ...by }) => gatedPair({ x: groupedLinear({ x, w, offsets, dtype }), ...by }),
});

export const normBlockLinear = fused("norm_block_linear", {
  summary: "y = quantize(rms_norm(x)) wᵀ with block-scaled weights; neither the normalised row nor its codes are written.",
  ins: { x: "[..b, k] a", w: "[..p, n, k] e4m3/128x128", gain: "[k] g" },
  attrs: { eps, scale: scaleFormat, dtype: attr.word(["f32", "bf16"], "f32") },
  of: ({ x, w, gain }, { eps, scale, dtype }) => blockLinear({ x: normQuant({ x, gain, eps, scale }), w, dtype }),
});

export const blockLinearAdd = fused("block_linear_add", {
  summary: "residual + x wᵀ with block-scaled weights.",
  ins: { x: "[..b, k] e4m3/1x128", w: "[n, k] e4m3/128x128", residual: "[..b, n] a" },
  of: ({ x, w, residual }) => add({ a: residual, b: blockLinear({ x, w, dtype: dtypeOf(residual) }) }),
});

/** Heads side by side are the row that o_proj reads; where a head is whole scale blocks, whoever makes it can quantise it. */
export const einsumQuant = fused("einsum_quant", {
  summary: "einsum, its last two axes side by side as one row, then quantize.",
  ins: { a: "[..p] a", b: "[..q] w" },
  attrs: { spec: attr.word(), scale: scaleFormat },
  of({ a, b }, { spec, scale }) {
    const y = einsumOp({ a, b, spec });
    const { dims } = asTensor(y.type);
    const row = product(dims.slice(-2));
    if (row === undefined)
      throw new DiagnosticError(
        opMismatch({ op: "einsum", problem: `the last two axes of ${spec} are no row of a known width` }),
      );
    return quantize({ x: reshape({ x: y, dims: [...dims.slice(0, -2), row] }), scale });
  },
});

/** norm of the latent, rotation of the shared key, and the append, in one pass over the row. */
export const ropeAppend = fused("rope_append", {
  summary: "rms_norm the latent, rope the shared key, append both.",
  ins: { cache: "cache", c: "[T, r] a", kr: "[T, d] a", gain: "[r] w", table: "[p, d] f32", batch: "batch" },
  attrs: { eps, interleaved: attr.bool(true) },
  traits: { reads: { table: "tokens" }, appends: true },
  unrounded: true,
  of: ({ cache, c, kr, gain, table, batch }, { eps, interleaved }) =>
    cacheAppend({ cache, c: rmsNorm({ x: c, gain, eps }), kp: rope({ x: kr, table, batch, interleaved }), batch }),
});

/** All that absorbed attention waits for once the query is there: three small pieces of work that need nothing of each other. */
export const mlaQuery = fused("mla_query", {
  summary: "Before attention over latents: absorb W_uk into the query, rope its other lanes, and rope_append the new rows.",
  ins: {
    qc: "[T, h, n] a",
    wUk: "[h, n, r] w",
    qr: "[T, h, d] a",
    cache: "cache",
    c: "[T, r] a",
    kr: "[T, d] a",
    gain: "[r] g",
    table: "[p, d] f32",
    batch: "batch",
  },
  attrs: { eps, interleaved: attr.bool(true) },
  traits: { reads: { table: "tokens" }, appends: true },
  outs: { ql: "[T, h, r] a", qp: "[T, h, d] a", after: "cache" },
  unrounded: true,
  of: ({ qc, wUk, qr, cache, c, kr, gain, table, batch }, { eps, interleaved }) => ({
    ql: einsum("thn,hnr->thr", qc, wUk),
    qp: rope({ x: qr, table, batch, interleaved }),
    after: ropeAppend({ cache, c, kr, gain, table, batch, eps, interleaved }),
  }),
});

export const combineAdd = fused("combine_add", {
  summary: "combine, then what is added to it: the shared expert's rows where there are any, and the residual x.",
  ins: { ys: "[r, d] a", places: "[r] i32", weights: "[T, k] f32", x: "[T, d] a", "shared?": "[T, d] a" },
  unrounded: true,
  of({ ys, places, weights, x, shared }) {
    const routed = combine({ ys, places, weights });
    return add({ a: x, b: shared ? add({ a: routed, b: shared }) : routed });
  },
});

/**
 * What few tokens need from the router's choice to the next residual, as one op: how little moves between its parts is a
 * kernel's to know.
 */
export const expertsAdd = fused("experts_add", {
  summary:
    "residual + every token's experts, weighted: sort_experts, gather_rows, grouped_linear, gated_quant, " +
    "grouped_linear and combine_add in one.",
  ins: {
    x: "[T, k] e4m3/1x128",
    gateUp: "[e, 2, n, k] e4m3/128x128",
    down: "[e, d, n] e4m3/128x128",
    indices: "[T, j] i32",
    weights: "[T, j] f32",
    residual: "[T, d] a",
  },
  attrs: {
    scale: scaleFormat,
    // Of all experts the last so many are every token's: their weights may be read before the choice is known.
    shared: attr.int(0),
    ...gating,
  },
  traits: { reads: { gateUp: "experts", down: "experts" } },
  of({ x, gateUp, down, indices, weights, residual }, { scale, act, limit }) {
    const [experts, per] = [asTensor(gateUp.type).dims[0], asTensor(indices.type).dims[1]].map(sizeAttr);
    const dtype = dtypeOf(residual);
    const { order, offsets, places } = sortExperts({ indices, experts });
    const xs = groupedLinear({ x: gatherRows({ x, order, per }), w: gateUp, offsets, dtype });
    const gated = gatedQuant({ x: xs, scale, act, limit });
    return combineAdd({ ys: groupedLinear({ x: gated, w: down, offsets, dtype }), places, weights, x: residual });
  },
});

export const routeExpertsAdd = fused("route_experts_add", {
  summary: "route, then experts_add: the choice is not written.",
  ins: {
    x: "[T, k] e4m3/1x128",
    gateUp: "[e, 2, n, k] e4m3/128x128",
    down: "[e, d, n] e4m3/128x128",
    logits: "[T, q] f32",
    residual: "[T, d] a",
    bias: "[q] f32",
  },
  attrs: { ...routing, scale: scaleFormat, ...gating },
  traits: { reads: { gateUp: "experts", down: "experts" } },
  of({ x, gateUp, down, logits, residual, bias }, { scale, act, limit, ...routing }) {
    const { indices, weights } = route({ logits, bias, ...routing });
    return expertsAdd({ x, gateUp, down, indices, weights, residual, scale, shared: routing.shared, act, limit });
  },
});

export const plainExpertsAdd = fused("plain_experts_add", {
  summary:
    "residual + every token's experts, weighted, whose weights have no scales: sort_experts, gather_rows, " +
    "grouped_linear_gated, grouped_linear and combine_add in one.",
  ins: {
    x: "[T, k] a",
    gateUp: "[e, 2, n, k] w",
    down: "[e, d, n] w",
    indices: "[T, j] i32",
    weights: "[T, j] f32",
    residual: "[T, d] a",
  },
  // As of experts_add.
  attrs: { shared: attr.int(0), ...gating },
  traits: { reads: { gateUp: "experts", down: "experts" } },
  of({ x, gateUp, down, indices, weights, residual }, { act, limit }) {
    const [experts, per] = [asTensor(gateUp.type).dims[0], asTensor(indices.type).dims[1]].map(sizeAttr);
    const dtype = dtypeOf(residual);
    const { order, offsets, places } = sortExperts({ indices, experts });
    const gated = groupedLinearGated({ x: gatherRows({ x, order, per }), w: gateUp, offsets, dtype, act, limit });
    return combineAdd({ ys: groupedLinear({ x: gated, w: down, offsets, dtype }), places, weights, x: residual });
  },
});

export const routePlainExpertsAdd = fused("route_plain_experts_add", {
  summary: "route, then plain_experts_add: the choice is not written.",
  ins: {
    x: "[T, k] a",
    gateUp: "[e, 2, n, k] w",
    down: "[e, d, n] w",
    logits: "[T, q] f32",
    residual: "[T, d] a",
    "bias?": "[q] f32",
  },
  attrs: { ...routing, ...gating },
  traits: { reads: { gateUp: "experts", down: "experts" } },
  of({ x, gateUp, down, logits, residual, bias }, { act, limit, ...routing }) {
    const { indices, weights } = route({ logits, ...(bias ? { bias } : {}), ...routing });
    return plainExpertsAdd({ x, gateUp, down, indices, weights, residual, shared: routing.shared, act, limit });
  },
});
