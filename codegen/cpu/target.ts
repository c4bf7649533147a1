// The CPU as a target: which kernel family serves which op, and how a family becomes WebAssembly.
// Activations are f32; a problem carries every static size and stride, run-time sizes are passed as dims.
import { DiagnosticError } from "../../ir/diagnostic.ts";
import type { Arg, Catalogue, Chosen, Problem, Site, View } from "../../ir/kernel/catalogue.ts";
import { printKernel } from "../../ir/kernel/print.ts";
import { mul, type Size } from "../../ir/size.ts";
import { parseSpec } from "../../ir/ops/math.ts";
import { cpuActivations } from "../diagnostics.ts";
import { families } from "../kernels/index.ts";
import type { Built, TargetBackend } from "../target.ts";
import { lowerToWasm } from "./lower.ts";

/** Rows of one cache page: the runtime's page size. */
const PAGE_ROWS = 64;

export function cpuTarget(options: { activations: "f32" | "bf16" }): TargetBackend {
  if (options.activations !== "f32") throw new DiagnosticError(cpuActivations());
  return { catalogue, build };
}

function build(family: string, problem: Problem): Built {
  const kernel = families[family](problem);
  const { wasm, text, cells, scratchBytes } = lowerToWasm(kernel);
  return {
    name: kernel.name,
    text: `${printKernel(kernel)}\n;; lowered:\n${text}`,
    textType: "txt",
    binary: wasm,
    binaryType: "wasm",
    record: {
      entry: "run",
      family,
      params: kernel.params.map((p) => ({ kind: "buffer", name: p.name, dtype: p.dtype, access: p.access })),
      dims: [...kernel.dims],
      cells,
      scratchBytes,
    },
  };
}

/** Rows of a tensor whose leading axes fold into one: [.., d] with one stride between rows. Null when they do not. */
function asRows(v: View, trailing = 1): { rows: Size; stride: number } | null {
  const lead = v.shape.length - trailing;
  if (v.strides.at(-1) !== 1) return null;
  if (lead === 0) return { rows: 1, stride: 0 };
  for (let i = 0; i + 1 < lead; i++) if (JSON.stringify(v.strides[i]) !== JSON.stringify(mul(v.strides[i + 1], v.shape[i + 1]))) return null;
  const stride = v.strides[lead - 1];
  return typeof stride === "number" ? { rows: mul(...v.shape.slice(0, lead)), stride } : null;
}

const elements = (v: View): Size => mul(...v.shape);
const isPacked = (v: View): boolean => {
  let n: Size = 1;
  for (let i = v.shape.length - 1; i >= 0; i--) {
    if (v.shape[i] !== 1 && JSON.stringify(v.strides[i]) !== JSON.stringify(n)) return false;
    n = mul(n, v.shape[i]);
  }
  return true;
};
const num = (s: Size | undefined): number => {
  if (typeof s !== "number") throw new RangeError(`expected a static size, got ${JSON.stringify(s)}`);
  return s;
};
const one = (family: string, problem: Problem, args: Arg[], dims: Size[]): Chosen[] => [{ family, problem, args, dims }];
const refuse = (reason: string): { reason: string } => ({ reason });
const strided = refuse("the rows of an operand do not lie at one stride");

type Choose = (s: Site) => Chosen[] | { reason: string };

/** Elementwise over contiguous tensors. */
const elementwise =
  (op: string): Choose =>
  ({ ins, outs, attrs }) =>
    [...ins, ...outs].every(isPacked)
      ? one("flat", op === "scale" ? { op, by: attrs.by as number } : { op }, [...ins.map((_, i): Arg => ({ in: i })), { out: 0 }], [elements(outs[0])])
      : refuse("an operand is a strided view");

const choosers: Readonly<Record<string, Choose>> = {
  embed: ({ ins, outs }) => one("embed", { vocab: num(ins[1].shape[0]), d: num(ins[1].shape[1]), table: ins[1].dtype }, [{ in: 0 }, { in: 1 }, { out: 0 }], [outs[0].shape[0]]),

  rms_norm({ ins, outs, attrs }) {
    const [x, y] = [asRows(ins[0]), asRows(outs[0])];
    if (!x || !y) return strided;
    return one("rms_norm", { d: num(ins[0].shape.at(-1)), xStride: x.stride, yStride: y.stride, eps: attrs.eps as number, gain: ins[1].dtype }, [{ in: 0 }, { in: 1 }, { out: 0 }], [x.rows]);
  },

  norm_quant({ ins, attrs }) {
    const x = asRows(ins[0]);
    if (!x) return strided;
    return one(
      "norm_quant",
      { d: num(ins[0].shape.at(-1)), xStride: x.stride, yStride: 0, eps: attrs.eps as number, gain: ins[1].dtype, ue8m0: attrs.scale === "ue8m0" },
      [{ in: 0 }, { in: 1 }, { out: 0 }, { out: 0, part: "scales" }], [x.rows],
    );
  },

  quantize({ ins, attrs }) {
    const x = asRows(ins[0]);
    if (!x) return strided;
    return one("quantize", { d: num(ins[0].shape.at(-1)), xStride: x.stride, ue8m0: attrs.scale === "ue8m0" }, [{ in: 0 }, { out: 0 }, { out: 0, part: "scales" }], [x.rows]);
  },

  dequantize({ ins }) {
    const v = ins[0];
    const args: Arg[] = [{ in: 0 }, { in: 0, part: "scales" }, { out: 0 }];
    if (v.scaled === "1x128") return one("dequantize_rows", { k: num(v.shape.at(-1)) }, args, [mul(...v.shape.slice(0, -1))]);
    return one("dequantize_blocks", { batch: num(mul(...v.shape.slice(0, -2))), n: num(v.shape.at(-2)), k: num(v.shape.at(-1)) }, args, []);
  },

  linear({ ins, outs }) {
    const [x, y] = [asRows(ins[0]), asRows(outs[0], ins[1].shape.length - 1)];
    if (!x || !y || !isPacked(ins[1])) return strided;
    const n = num(mul(...ins[1].shape.slice(0, -1)));
    return one("linear", { n, k: num(ins[1].shape.at(-1)), xStride: x.stride, yStride: y.stride, w: ins[1].dtype }, [{ in: 0 }, { in: 1 }, { out: 0 }], [x.rows]);
  },

  block_linear({ ins }) {
    const x = asRows(ins[0]);
    if (!x) return strided;
    const w = ins[1].shape;
    const scaled = ins[0].scaled === "1x128";
    return one(
      "block_linear",
      { parts: num(mul(...w.slice(0, -2))), n: num(w.at(-2)), k: num(w.at(-1)), x: scaled ? "e4m3" : "f32", xStride: x.stride },
      [{ in: 0 }, ...(scaled ? [{ in: 0, part: "scales" } as const] : []), { in: 1 }, { in: 1, part: "scales" }, { out: 0 }], [x.rows],
    );
  },

  grouped_linear({ ins }) {
    const x = asRows(ins[0]);
    if (!x) return strided;
    const w = ins[1].shape;
    const scaled = ins[0].scaled === "1x128";
    return one(
      "grouped_linear",
      { experts: num(w[0]), parts: num(mul(...w.slice(1, -2))), n: num(w.at(-2)), k: num(w.at(-1)), x: scaled ? "e4m3" : "f32", w: ins[1].dtype, xStride: x.stride },
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
    return one("add_bias", { d: num(ins[0].shape.at(-1)), xStride: x.stride, yStride: y.stride, bias: ins[1].dtype }, [{ in: 0 }, { in: 1 }, { out: 0 }], [x.rows]);
  },

  silu_mul({ ins, outs }) {
    const [x, y] = [asRows(ins[0], 2), asRows(outs[0])];
    if (!x || !y) return strided;
    return one("silu_mul", { n: num(ins[0].shape.at(-1)), xStride: x.stride, yStride: y.stride }, [{ in: 0 }, { out: 0 }], [x.rows]);
  },

  silu_mul_quant({ ins, attrs }) {
    const x = asRows(ins[0], 2);
    if (!x) return strided;
    return one("silu_mul_quant", { n: num(ins[0].shape.at(-1)), xStride: x.stride, ue8m0: attrs.scale === "ue8m0" }, [{ in: 0 }, { out: 0 }, { out: 0, part: "scales" }], [x.rows]);
  },

  softmax_causal: ({ ins, outs }) =>
    isPacked(ins[0]) && isPacked(outs[0]) ? one("softmax_causal", { heads: num(ins[0].shape[1]) }, [{ in: 0 }, { out: 0 }], [ins[0].shape[0], ins[0].shape[2]]) : strided,

  einsum: ({ ins, outs, attrs }) => bmm(String(attrs.spec), ins[0], ins[1], outs[0]),

  rope({ ins, attrs }) {
    const x = ins[0];
    const [heads, d] = x.shape.length === 3 ? [num(x.shape[1]), num(x.shape[2])] : [1, num(x.shape[1])];
    const xStrides = [num(x.strides[0]), x.shape.length === 3 ? num(x.strides[1]) : d];
    return one("rope", { heads, d, xStrides, interleaved: attrs.interleaved as boolean, maxPositions: num(ins[1].shape[0]) }, [{ in: 0 }, { in: 1 }, { batch: "positions" }, { out: 0 }], [x.shape[0]]);
  },

  cache_append: ({ ins }) =>
    one(
      "cache_append",
      { r: num(ins[0].shape[1]), d: num(ins[1].shape[1]), pageRows: PAGE_ROWS, cStride: num(ins[0].strides[0]), kpStride: num(ins[1].strides[0]) },
      [{ cache: true }, { in: 0 }, { in: 1 }, { batch: "positions" }, { batch: "sequence" }, { batch: "pages" }], [ins[0].shape[0], "P"],
    ),

  rope_append: ({ ins, attrs }) =>
    one(
      "rope_append",
      {
        r: num(ins[0].shape[1]), d: num(ins[1].shape[1]), pageRows: PAGE_ROWS, cStride: num(ins[0].strides[0]), krStride: num(ins[1].strides[0]),
        gain: ins[2].dtype, eps: attrs.eps as number, interleaved: attrs.interleaved as boolean, maxPositions: num(ins[3].shape[0]),
      },
      [{ cache: true }, { in: 0 }, { in: 1 }, { in: 2 }, { in: 3 }, { batch: "positions" }, { batch: "sequence" }, { batch: "pages" }], [ins[0].shape[0], "P"],
    ),

  cache_rows: ({ outs, cacheWidth }) => one("cache_rows", { width: cacheWidth!, pageRows: PAGE_ROWS }, [{ cache: true }, { batch: "pages" }, { out: 0 }], [outs[0].shape[0], "b", "P"]),

  attend({ ins, outs, attrs }) {
    const [q, qp, k, kp, v] = ins;
    const heads = num(q.shape[1]);
    // Latents are shared by all heads: no head axis, so its stride is 0.
    const strides = (x: View): number[] => (x.shape.length === 3 ? [num(x.strides[0]), num(x.strides[1])] : [num(x.strides[0]), 0]);
    if (ins.some((x) => x.strides.at(-1) !== 1)) return strided;
    return one(
      "attend",
      { heads, n: num(q.shape[2]), d: num(qp.shape[2]), v: num(v.shape.at(-1)), q: strides(q), qp: strides(qp), k: strides(k), kp: num(kp.strides[0]), vStrides: strides(v), y: strides(outs[0]), scale: attrs.scale as number },
      [{ in: 0 }, { in: 1 }, { in: 2 }, { in: 3 }, { in: 4 }, { out: 0 }], [q.shape[0], kp.shape[0]],
    );
  },

  mla_attend: ({ ins, attrs }) =>
    one(
      "mla_attend",
      {
        heads: num(ins[0].shape[1]), r: num(ins[0].shape[2]), d: num(ins[1].shape[2]), pageRows: PAGE_ROWS,
        ql: [num(ins[0].strides[0]), num(ins[0].strides[1])], qp: [num(ins[1].strides[0]), num(ins[1].strides[1])], scale: attrs.scale as number,
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
        method: attrs.method as string, normalise: attrs.normalise as boolean, factor: attrs.factor as number, bias, xStride: x.stride,
      },
      [{ in: 0 }, ...(bias ? [{ in: 1 } as const] : []), { out: 0 }, { out: 1 }], [x.rows],
    );
  },

  sort_experts: ({ ins, attrs }) => one("sort_experts", { experts: attrs.experts as number, k: num(ins[0].shape[1]) }, [{ in: 0 }, { out: 0 }, { out: 1 }], [elements(ins[0])]),

  gather_rows({ ins, attrs }) {
    const x = asRows(ins[0]);
    if (!x) return strided;
    const scaled = ins[0].scaled !== undefined;
    return one(
      "gather_rows",
      { d: num(ins[0].shape[1]), per: attrs.per as number, x: scaled ? "e4m3" : "f32", xStride: x.stride },
      scaled ? [{ in: 0 }, { in: 0, part: "scales" }, { in: 1 }, { out: 0 }, { out: 0, part: "scales" }] : [{ in: 0 }, { in: 1 }, { out: 0 }], [ins[0].shape[0], ins[1].shape[0]],
    );
  },

  combine({ ins }) {
    const x = asRows(ins[0]);
    if (!x) return strided;
    return one("combine", { d: num(ins[0].shape[1]), k: num(ins[2].shape[1]), xStride: x.stride }, [{ in: 0 }, { in: 1 }, { in: 2 }, { out: 0 }], [ins[2].shape[0], x.rows]);
  },

  argmax({ ins }) {
    const x = asRows(ins[0]);
    return x ? one("argmax", { d: num(ins[0].shape[1]), xStride: x.stride }, [{ in: 0 }, { out: 0 }], [x.rows]) : strided;
  },

  last_rows({ ins, outs }) {
    const x = asRows(ins[0]);
    return x ? one("last_rows", { d: num(ins[0].shape[1]), xStride: x.stride }, [{ in: 0 }, { batch: "starts" }, { out: 0 }], [ins[0].shape[0], outs[0].shape[0]]) : strided;
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
};

/** An einsum of two operands as a batched product: one letter contracted, the last of each operand's own as rows or columns. */
function bmm(spec: string, a: View, b: View, y: View): Chosen[] | { reason: string } {
  const s = parseSpec(spec)!;
  const stride = (word: string, v: View, c: string): Size => (word.includes(c) ? v.strides[word.indexOf(c)] : 0);
  const extent = (c: string): Size => (s.a.includes(c) ? a.shape[s.a.indexOf(c)] : b.shape[s.b.indexOf(c)]);
  const summed = [...new Set(s.a + s.b)].filter((c) => !s.out.includes(c));
  if (summed.length !== 1) return refuse(`einsum ${spec} contracts ${summed.length} axes`);
  const k = summed[0];
  const onlyA = [...s.out].filter((c) => s.a.includes(c) && !s.b.includes(c));
  const onlyB = [...s.out].filter((c) => s.b.includes(c) && !s.a.includes(c));
  const both = [...s.out].filter((c) => s.a.includes(c) && s.b.includes(c));
  if (!onlyA.length || !onlyB.length) return refuse(`einsum ${spec} is no product of two matrices`);
  // Rows are the axis with a varying extent where there is one; what is left over is the batch.
  const m = onlyA.find((c) => typeof extent(c) !== "number") ?? onlyA.at(-1)!;
  const n = onlyB.find((c) => typeof extent(c) !== "number") ?? onlyB.at(-1)!;
  const batch = [...both, ...onlyA.filter((c) => c !== m), ...onlyB.filter((c) => c !== n)];
  if (batch.length > 1) return refuse(`einsum ${spec} has ${batch.length} batch axes`);
  const z = batch[0];
  const names = new Map<string, string>();
  const values: Size[] = [];
  const dim = (name: string, v: Size): number | string => {
    if (typeof v === "number") return v;
    const key = JSON.stringify(v);
    if (!names.has(key)) {
      names.set(key, name);
      values.push(v);
    }
    return names.get(key)!;
  };
  const problem: Record<string, number | string | readonly (number | string)[]> = {
    batch: z === undefined ? 1 : dim("batch", extent(z)), m: dim("m", extent(m)), n: dim("n", extent(n)), k: dim("k", extent(k)),
  };
  const strides = (name: string, word: string, v: View, axes: (string | undefined)[]): (number | string)[] => axes.map((c, i) => (c === undefined ? 0 : dim(`${name}${i}`, stride(word, v, c))));
  problem.a = strides("a", s.a, a, [z, m, k]);
  problem.b = strides("b", s.b, b, [z, n, k]);
  problem.y = strides("y", s.out, y, [z, m, n]);
  problem.aType = a.dtype;
  problem.bType = b.dtype;
  problem.dims = [...names.values()];
  return one("bmm", problem as Problem, [{ in: 0 }, { in: 1 }, { out: 0 }], values);
}

function copyOf(from: View, to: View): Chosen[] | { reason: string } {
  if (from.dtype !== "f32") return refuse("only f32 tensors are copied");
  // Fold leading axes that lie alike in both, until three are left.
  const fold = (shape: Size[], a: Size[], b: Size[]): [Size[], Size[], Size[]] => {
    if (shape.length <= 3) {
      const pad = 3 - shape.length;
      return [[...Array<Size>(pad).fill(1), ...shape], [...Array<Size>(pad).fill(0), ...a], [...Array<Size>(pad).fill(0), ...b]];
    }
    const merges = (s: Size[]): boolean => JSON.stringify(s[0]) === JSON.stringify(mul(s[1], shape[1]));
    return merges(a) && merges(b) ? fold([mul(shape[0], shape[1]), ...shape.slice(2)], a.slice(1), b.slice(1)) : [shape, a, b];
  };
  const [shape, a, b] = fold(from.shape, from.strides, to.strides);
  if (shape.length > 3) return refuse("a copy has more than three separate axes");
  const names = new Map<string, string>();
  const values: Size[] = [];
  const dim = (v: Size): number | string => {
    if (typeof v === "number") return v;
    const key = JSON.stringify(v);
    if (!names.has(key)) {
      names.set(key, `n${names.size}`);
      values.push(v);
    }
    return names.get(key)!;
  };
  const problem = { shape: shape.map(dim), from: a.map(dim), to: b.map(dim) };
  return one("copy", { ...problem, dims: [...names.values()] } as unknown as Problem, [{ in: 0 }, { out: 0 }], values);
}

const catalogue: Catalogue = {
  target: "cpu",
  choose: (site) => choosers[site.op]?.(site) ?? refuse(`no kernel family serves ${site.op}`),
  copy: copyOf,
};
