// A rule is its own unit test: letters get small sizes, holes random values, both sides are interpreted and compared.
import { describe, expect, test } from "vitest";
import type { AttrValue } from "../../ir/attr.ts";
import { Graph, interpret, param, tensor, tensorOf, cacheType, batchType, type Dim, type Tensor, type Value } from "../../ir/index.ts";
import { parsePattern } from "../../ir/signature.ts";
import { quantizeRows } from "../../ir/ops/quant.ts";
import { e4m3Values } from "../../ir/numeric.ts";
import { standard } from "../../passes/index.ts";
import { absorbRules } from "../../passes/mla/absorb.ts";
import type { Rule } from "../../passes/index.ts";

const rules: Rule[] = [...absorbRules, ...standard.flatMap((p) => [...(p.rules ?? []), ...(p.equations ?? [])])];
const sizes: Record<string, number> = { t: 3, s: 5, h: 2, n: 4, r: 6, v: 3, d: 4, k: 9, T: 3, m: 4, w: 5, p: 8, e: 2, f: 3 };

function random(seed: number): () => number {
  let x = seed * 2654435761 + 1;
  return () => {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    return (x >>> 8) / 2 ** 23 - 1;
  };
}

describe.each(rules.map((r) => [r.name, r] as const))("%s", (_, r) => {
  test.each([1, 2, 3])("both sides agree, seed %i", (seed) => {
    const next = random(seed);
    const g = new Graph();
    const size = (name: string): number => r.sizes?.[name] ?? sizes[name] ?? 3;
    const holes: Record<string, Value> = {};
    const values: Record<string, Tensor> = {};
    const bound: Record<string, Dim> = {};
    for (const [k, text] of Object.entries(r.vars)) {
      const p = parsePattern(text);
      if (p.kind !== "tensor") {
        holes[k] = param(g, k, p.kind === "batch" ? batchType : cacheType(size("r") + size("d"), "f32"));
        continue;
      }
      const dims = p.dims.flatMap((d) => (d.rest !== undefined ? [size("T")] : [d.size ?? size(d.name!)]));
      for (const d of p.dims) if (d.name) bound[d.name] = size(d.name);
      const dtype = ["i32", "f32", "bf16"].includes(p.dtype) || p.dtype.startsWith("e4m3") ? p.dtype : "f32";
      holes[k] = param(g, k, tensor(dims, dtype));
      const count = dims.reduce((a, b) => a * b, 1);
      if (dtype === "i32") {
        values[k] = tensorOf(dims, k === "offsets" ? [0, 2, 4] : Array.from({ length: count }, (_, i) => (i * 5) % count), "i32");
      } else if (dtype === "e4m3/1x128") values[k] = quantizeRows(tensorOf(dims, Array.from({ length: count }, next)), false);
      else if (dtype === "e4m3/128x128") {
        const lead = dims.slice(0, -2).reduce((a, b) => a * b, 1);
        values[k] = { shape: dims, dtype, data: Float64Array.from({ length: count }, () => e4m3Values[Math.floor((next() + 1) * 60)]), scales: Float64Array.from({ length: lead }, () => 1 + next() / 4) };
      } else values[k] = tensorOf(dims, Array.from({ length: count }, next));
    }
    const { from, to } = r.sides(holes, r.attrs as Record<string, AttrValue>, bound);
    const run = (v: Value): Tensor => {
      const func = { name: "side", params: Object.entries(holes).map(([name, value]) => ({ name, value })), results: [{ name: "y", value: v }], assume: {} };
      return interpret({ funcs: new Map(), weights: new Map() }, func, { values, batch: { starts: [0, 1, 3], lengths: [1, 2], ids: [0, 0, 0] }, caches: [[new Float64Array(), new Float64Array()]] }).y;
    };
    const [a, b] = [run(from), run(to)];
    const flat = (t: Tensor): number[] => (t.rows ? t.rows.flatMap((x) => [...x]) : [...t.data, ...(t.scales ?? [])]);
    expect(b.shape).toEqual(a.shape);
    const [fa, fb] = [flat(a), flat(b)];
    expect(fb.length).toBe(fa.length);
    const scale = Math.max(1, ...fa.map(Math.abs));
    // "within e4m3" allows one step of the format: 2^-3 of the value.
    const allowed = r.within === "e4m3" ? 0.13 * scale : 1e-9 * scale;
    fa.forEach((v, i) => expect(Math.abs(v - fb[i])).toBeLessThanOrEqual(allowed));
  });
});
