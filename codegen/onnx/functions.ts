// Functions of the domain ai.dsc: what ONNX has no operator for. Every one has a body in standard operators, so that any runtime executes
// it; a runtime with kernels of its own may know them by name. Sizes are read from shapes, so one body serves every use.
import { AMAX_FLOOR } from "../../ir/numeric.ts";
import { DOMAIN, elem, OPSET, type FunctionProto } from "./proto.ts";
import { Scope } from "./scope.ts";

/** Columns and rows of a block of scales. */
const BLOCK = 128;
/** The largest e4m3 number. */
const E4M3_MAX = 448;

/** Writes a body: names of the results from names of the operands. `uses` makes sure of another function. */
export type Body = (s: Scope, operands: readonly string[], uses: (name: LibraryName) => string) => readonly string[];

interface Declared {
  doc: string;
  ins: readonly string[];
  body: Body;
}

/** One size of a shape, without axes. */
export const sizeAt = (s: Scope, shape: string, axis: number): string => s.op("Gather", [shape, s.ints(axis)], {}, "size");
/** A number without axes as a list of one. */
const listOf = (s: Scope, scalar: string): string => s.op("Unsqueeze", [scalar, s.ints([0])], {}, "list");
const blocksOf = (s: Scope, size: string): string =>
  s.op("Div", [s.op("Range", [s.ints(0), size, s.ints(1)]), s.ints(BLOCK)], {}, "block");
const floatOf = (s: Scope, x: string): string => s.op("Cast", [x], { to: elem.FLOAT }, "f");

/** Every column's scale, along the last axis. */
const byColumn = (s: Scope, scales: string, shape: string): string =>
  s.op("Gather", [scales, blocksOf(s, sizeAt(s, shape, -1))], { axis: -1 }, "by_column");

const dequantizeBlocks: Body = (s, [codes, scales]) => {
  const shape = s.op("Shape", [codes]);
  const rows = s.op("Gather", [scales, blocksOf(s, sizeAt(s, shape, -2))], { axis: -2 }, "by_row");
  return [s.op("Mul", [floatOf(s, codes), byColumn(s, rows, shape)], {}, "y")];
};

const dequantizeRows: Body = (s, [codes, scales]) => {
  const shape = s.op("Shape", [codes]);
  return [s.op("Mul", [floatOf(s, codes), byColumn(s, scales, shape)], {}, "y")];
};

/** The smallest power of two that is no less. A logarithm is off by one at powers of two, so it is put right twice. */
function powerOfTwo(s: Scope, x: string): string {
  const exponent = s.op("Floor", [s.op("Div", [s.op("Log", [x]), s.floats(Math.LN2)])], {}, "exponent");
  let p = s.op("Pow", [s.floats(2), exponent], {}, "power");
  for (let i = 0; i < 2; i++) p = s.op("Where", [s.op("Less", [p, x]), s.op("Add", [p, p]), p], {}, "power");
  return p;
}

const quantizeRows =
  (powers: boolean): Body =>
  (s, [x]) => {
    const shape = s.op("Shape", [x]);
    const k = sizeAt(s, shape, -1);
    const blocks = s.op("Div", [s.op("Add", [k, s.ints(BLOCK - 1)]), s.ints(BLOCK)], {}, "blocks");
    const rows = s.op("Reshape", [x, s.op("Concat", [s.ints([-1]), listOf(s, k)], { axis: 0 })], {}, "rows");
    const over = s.op("Sub", [s.op("Mul", [blocks, s.ints(BLOCK)]), k], {}, "over");
    const padded = s.op("Pad", [rows, s.op("Concat", [s.ints([0, 0, 0]), listOf(s, over)], { axis: 0 })], {}, "padded");
    const cut = s.op("Concat", [s.ints([-1]), listOf(s, blocks), s.ints([BLOCK])], { axis: 0 });
    const each = s.op("ReduceMax", [s.op("Abs", [s.op("Reshape", [padded, cut])]), s.ints([2])], { keepdims: 0 }, "amax");
    const plain = s.op("Div", [s.op("Max", [each, s.floats(AMAX_FLOOR)]), s.floats(E4M3_MAX)], {}, "scale");
    const scales = powers ? powerOfTwo(s, plain) : plain;
    const scaled = s.op("Div", [rows, byColumn(s, scales, s.op("Shape", [rows]))], {}, "scaled");
    const codes = s.op("Cast", [s.op("Reshape", [scaled, shape])], { to: elem.FLOAT8E4M3FN, saturate: 1 }, "codes");
    const head = s.op("Slice", [shape, s.ints([0]), s.ints([-1])], {}, "head");
    return [codes, s.op("Reshape", [scales, s.op("Concat", [head, listOf(s, blocks)], { axis: 0 })], {}, "scales")];
  };

/** x [.., k] by w [..p, n, k] in f32: [.., ..p, n]. */
function product(s: Scope, x: string, w: string): string {
  const [xs, ws] = [s.op("Shape", [x]), s.op("Shape", [w])];
  const flat = (v: string, shape: string): string =>
    s.op("Reshape", [v, s.op("Concat", [s.ints([-1]), listOf(s, sizeAt(s, shape, -1))], { axis: 0 })], {}, "flat");
  const y = s.op("Gemm", [flat(x, xs), flat(w, ws)], { transB: 1 }, "product");
  const head = (shape: string): string => s.op("Slice", [shape, s.ints([0]), s.ints([-1])], {}, "head");
  return s.op("Reshape", [y, s.op("Concat", [head(xs), head(ws)], { axis: 0 })], {}, "y");
}

const blockLinear: Body = (s, [x, w, scales], uses) => {
  // Not by a call: onnxruntime takes the element types of an operand from the operators that read it.
  const [full] = dequantizeBlocks(s, [w, scales], uses);
  return [product(s, floatOf(s, x), full)];
};

/** A run for every expert that has rows; its rows lie together, so results follow one another. */
function grouped(s: Scope, x: string, w: string, offsets: string, matrix: (inner: Scope, e: string) => string): string {
  const shape = s.op("Shape", [w]);
  const inner = s.op("Slice", [shape, s.ints([1]), s.ints([-1])], {}, "inner");
  const width = s.op("ReduceProd", [inner], { keepdims: 1 }, "width");
  const [from, to] = [s.ints([0]), s.ints([1])];
  const starts = s.op("Slice", [offsets, from, s.ints([-1])], {}, "starts");
  const ends = s.op("Slice", [offsets, to, s.ints([Number.MAX_SAFE_INTEGER])], {}, "ends");
  const chosen = s.op("Squeeze", [s.op("NonZero", [s.op("Sub", [ends, starts])]), from], {}, "chosen");
  const none = s.op("ConstantOfShape", [s.op("Concat", [s.ints([0]), width], { axis: 0 })], {}, "none");
  const rows = s.loop(s.op("Size", [chosen]), none, 2, (l, i, before) => {
    const e = l.op("Gather", [chosen, i], {}, "e");
    const at = (list: string): string => listOf(l, l.op("Gather", [list, e], {}, "at"));
    const mine = l.op("Slice", [x, at(starts), at(ends), from], {}, "mine");
    const flat = l.op("Reshape", [matrix(l, e), l.op("Concat", [width, s.ints([-1])], { axis: 0 })], {}, "flat");
    return l.op("Concat", [before, l.op("Gemm", [mine, flat], { transB: 1 })], { axis: 0 }, "after");
  });
  return s.op("Reshape", [rows, s.op("Concat", [s.ints([-1]), inner], { axis: 0 })], {}, "y");
}

const groupedLinear: Body = (s, [x, w, offsets]) => [
  grouped(s, floatOf(s, x), w, offsets, (l, e) => floatOf(l, l.op("Gather", [w, e]))),
];

const groupedBlockLinear: Body = (s, [x, w, scales, offsets], uses) => {
  const full = uses("DequantizeBlocks");
  return [
    grouped(
      s,
      floatOf(s, x),
      w,
      offsets,
      (l, e) => l.call(full, [l.op("Gather", [w, e]), l.op("Gather", [scales, e])], ["full"])[0],
    ),
  ];
};

/** TopK breaks ties by the lower index, so sorting by it is stable. */
const ascending = (s: Scope, list: string): readonly [string, string] => {
  const [values, order] = [s.name("values"), s.name("order")];
  s.node("TopK", [list, s.op("Shape", [list])], { largest: 0, sorted: 1, axis: 0 }, [values, order]);
  return [values, order];
};

const sortExperts: Body = (s, [indices, experts]) => {
  const pairs = s.op("Reshape", [indices, s.ints([-1])], {}, "pairs");
  const [, order] = ascending(s, pairs);
  const [, places] = ascending(s, order);
  const each = s.op("Range", [s.ints(0), s.op("Add", [experts, s.ints(1)]), s.ints(1)], {}, "each");
  const below = s.op("Less", [pairs, s.op("Unsqueeze", [each, s.ints([1])])], {}, "below");
  const counted = s.op("Cast", [below], { to: elem.INT64 }, "counted");
  return [order, s.op("ReduceSum", [counted, s.ints([1])], { keepdims: 0 }, "offsets"), places];
};

const combine: Body = (s, [ys, places, weights]) => {
  const shape = s.op("Concat", [s.op("Shape", [weights]), s.ints([-1])], { axis: 0 });
  const rows = s.op("Reshape", [s.op("Gather", [ys, places]), shape], {}, "rows");
  const weighed = s.op("Mul", [rows, s.op("Unsqueeze", [weights, s.ints([2])])], {}, "weighed");
  return [s.op("ReduceSum", [weighed, s.ints([1])], { keepdims: 0 }, "y")];
};

const library = {
  DequantizeBlocks: {
    doc: "Codes [.., n, k] times scales [.., ceil(n / 128), ceil(k / 128)], in f32.",
    ins: ["codes", "scales"],
    body: dequantizeBlocks,
  },
  DequantizeRows: {
    doc: "Codes [.., k] times scales [.., ceil(k / 128)], in f32.",
    ins: ["codes", "scales"],
    body: dequantizeRows,
  },
  QuantizeRows: {
    doc: "Rows [.., k] as e4m3 codes with a scale per 128 columns: max(amax, 1e-4) / 448.",
    ins: ["x"],
    body: quantizeRows(false),
  },
  QuantizeRowsPow2: {
    doc: "QuantizeRows with every scale rounded up to a power of two.",
    ins: ["x"],
    body: quantizeRows(true),
  },
  BlockLinear: {
    doc: "x [.., k] by the rows of w [..p, n, k], e4m3 codes with a scale per block of 128 x 128: [.., ..p, n] in f32.",
    ins: ["x", "w", "scales"],
    body: blockLinear,
  },
  GroupedLinear: {
    doc: "Rows offsets[e] .. offsets[e + 1] of x [r, k] by matrix e of w [e, ..p, n, k]: [r, ..p, n] in f32.",
    ins: ["x", "w", "offsets"],
    body: groupedLinear,
  },
  GroupedBlockLinear: {
    doc: "GroupedLinear over e4m3 codes with a scale per block of 128 x 128.",
    ins: ["x", "w", "scales", "offsets"],
    body: groupedBlockLinear,
  },
  SortExperts: {
    doc: "Pairs (token, slot) of indices [T, k] sorted by expert, stably; where each expert begins, and where each pair went.",
    ins: ["indices", "experts"],
    body: sortExperts,
  },
  Combine: {
    doc: "y[t] = sum over slots j of weights[t, j] * ys[places[t k + j]].",
    ins: ["ys", "places", "weights"],
    body: combine,
  },
} as const satisfies Record<string, Declared>;

export type LibraryName = keyof typeof library;

/** The functions of one model: those of the library that it uses, and those made for it. */
export class Functions {
  readonly #made = new Map<string, FunctionProto>();
  readonly #own = new Map<object, Map<string, string>>();

  /** Makes sure that the model has a function of the library; gives its name. */
  use(name: LibraryName): string {
    if (!this.#made.has(name)) {
      const { doc, ins, body } = library[name] as Declared;
      this.define(name, doc, ins, body);
    }
    return name;
  }

  /** Adds a function. */
  define(name: string, docString: string, ins: readonly string[], body: Body): void {
    const s = new Scope();
    const input = ins.map((i) => s.reserve(i));
    const output = body(s, input, (other) => this.use(other));
    const opsetImport = [
      { domain: "", version: OPSET },
      { domain: DOMAIN, version: 1 },
    ];
    this.#made.set(name, { name, domain: DOMAIN, input, output, node: s.body, opsetImport, docString });
  }

  /** A function made for a node, once for each kind of operands; named by `word`, and numbered where there are several. */
  own(word: string, key: object, kinds: string, doc: string, ins: readonly string[], body: Body): string {
    const before = this.#own.get(key) ?? new Map<string, string>();
    this.#own.set(key, before);
    const known = before.get(kinds);
    if (known !== undefined) return known;
    const count = [...this.#own.values()].reduce((n, m) => n + m.size, 0);
    const name = count === 0 ? word : `${word}_${count + 1}`;
    before.set(kinds, name);
    this.define(name, doc, ins, body);
    return name;
  }

  /** All of them, those that others call first. */
  get all(): FunctionProto[] {
    return [...this.#made.values()];
  }
}
