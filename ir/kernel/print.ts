// The text of a tile program, as it stands in every artifact. One statement a line; a slice `p : 128` is 128 columns (or rows)
// from p, `|` gives the bound past which they are masked. Strides are printed where they are not row-major. ir/kernel/parse.ts
// reads it back to the same kernel, so what a reader could take for something else is marked: an index within braces, `: i32`, `^T`.
import { packed } from "./build.ts";
import type { BufferParam, Index, Kernel, MapExpr, Place, Stmt, Tile } from "./stmt.ts";
import { operands, typeOf } from "./walk.ts";

const infix: Record<string, string> = { add: "+", sub: "-", mul: "*", div: "/", mod: "%", lt: "<", le: "<=", eq: "==", ne: "!=" };
const rank: Record<string, number> = { mul: 3, div: 3, mod: 3, add: 2, sub: 2, lt: 1, le: 1, eq: 1, ne: 1, and: 0, or: 0 };

/** An index as text. */
function printIndex(i: Index, outer = 0): string {
  if (typeof i !== "object") return String(i);
  if (i.op === "min" || i.op === "max") return `${i.op}(${printIndex(i.a)}, ${printIndex(i.b)})`;
  const r = rank[i.op];
  const text = `${printIndex(i.a, r)} ${infix[i.op]} ${printIndex(i.b, r + 1)}`;
  return r < outer ? `(${text})` : text;
}

/**
 * Whether an operation on elements reads as one index: its leaves are indices and whole numbers, its operations those of
 * indices.
 */
const likeIndex = (e: MapExpr): boolean =>
  "index" in e || ("c" in e && Number.isSafeInteger(e.c)) || ("op" in e && integerOps.has(e.op) && operands(e).every(likeIndex));
const integerOps: ReadonlySet<string> = new Set(["add", "sub", "mul", "div", "mod", "min", "max"]);
const hasIndex = (e: MapExpr): boolean => "index" in e || ("op" in e && operands(e).some(hasIndex));

const number = (n: number): string => (Object.is(n, -0) ? "-0" : String(n));

function expression(e: MapExpr, outer = 0, marked = false): string {
  if ("t" in e) return e.t.name;
  if ("c" in e) return number(e.c);
  if ("index" in e) return marked || typeof e.index === "number" ? `{${printIndex(e.index)}}` : printIndex(e.index, outer);
  if (!marked && likeIndex(e) && hasIndex(e)) return expression(e, outer, true);
  if (e.op === "select") {
    const s = e as { if: MapExpr; a: MapExpr; b: MapExpr };
    return `select(${expression(s.if)}, ${expression(s.a)}, ${expression(s.b)})`;
  }
  if (!("b" in e))
    return e.op === "neg" ? ("c" in e.a ? `-(${number(e.a.c)})` : `-${expression(e.a, 4)}`) : `${e.op}(${expression(e.a)})`;
  const b = (e as { b: MapExpr }).b;
  if (e.op === "max" || e.op === "min") return `${e.op}(${expression(e.a, 0, marked)}, ${expression(b, 0, marked)})`;
  const r = rank[e.op];
  const text = `${expression(e.a, r, marked)} ${infix[e.op] ?? e.op} ${expression(b, r + 1, marked)}`;
  return r < outer ? `(${text})` : text;
}

const shapeOf = (t: Tile): string => (t.rows === 1 && t.cols === 1 ? "" : `[${t.rows}, ${t.cols}]`);

function place(p: Place, t: Tile): string {
  const axes = p.at.map((at, axis) => {
    const text = printIndex(at);
    const [extent, limit] = axis === p.rows ? [t.rows, p.rowLimit] : axis === p.cols ? [t.cols, p.colLimit] : [1, undefined];
    const bound = limit === undefined ? "" : ` | ${printIndex(limit)}`;
    if (axis === p.rows && p.rowIndex) return `${p.rowIndex.name}${bound}`;
    return extent === 1 ? `${text}${bound}` : `${text} : ${extent}${bound}`;
  });
  // Slices of one extent along two axes: the tile's rows run along the first, unless it is turned.
  const turned =
    p.rows !== undefined && p.cols !== undefined && p.rows > p.cols && t.rows === t.cols && t.rows > 1 && !p.rowIndex;
  return `${p.buffer}[${axes.join(", ")}]${turned ? "^T" : ""}`;
}

function lines(list: readonly Stmt[], indent: string): string[] {
  return list.flatMap((s) =>
    statement(s).flatMap((line) => (typeof line === "string" ? [indent + line] : lines(line, `${indent}  `))),
  );
}

/** The dtype of a map's tile, where its expression has another. */
const dtypeOf = (s: Stmt & { kind: "map" }): string => (s.dst.dtype === (typeOf(s.expr) ?? "f32") ? "" : ` : ${s.dst.dtype}`);

function statement(s: Stmt): (string | readonly Stmt[])[] {
  switch (s.kind) {
    case "grid":
      return [
        `grid ${s.axes.map((a) => `${a.name} < ${printIndex(a.extent)}${a.tile === 1 ? "" : ` by ${a.tile}`}`).join(", ")}`,
      ];
    case "loop":
      return [`for ${s.name} = ${printIndex(s.from)} .. ${printIndex(s.to)}${s.step === 1 ? "" : ` by ${s.step}`}:`, s.body];
    case "when":
      return [`when ${printIndex(s.a, 2)} ${infix[s.test]} ${printIndex(s.b, 2)}:`, s.body];
    case "scalar":
      return [`${s.name} := ${s.buffer}[${s.at.map((i) => printIndex(i)).join(", ")}]`];
    case "peek":
      return [`${s.name} := ${s.from.name}[0, 0]`];
    case "load":
      return [`${s.dst.name}${shapeOf(s.dst)} = load ${place(s.from, s.dst)}${s.fill === 0 ? "" : ` else ${number(s.fill)}`}`];
    case "store":
      return [`store ${place(s.to, s.src)} = ${s.src.name}`];
    case "fill":
      return [`${s.dst.name}${shapeOf(s.dst)} = ${number(s.value)}${s.dst.dtype === "i32" ? " : i32" : ""}`];
    case "iota":
      return [`${s.dst.name}${shapeOf(s.dst)} = ${printIndex(s.from)} + iota ${s.along}`];
    case "map":
      return [`${s.dst.name}${shapeOf(s.dst)} = ${expression(s.expr)}${dtypeOf(s)}`];
    case "reduce":
      return [`${s.dst.name}${shapeOf(s.dst)} = ${s.op} ${s.src.name} along ${s.along}`];
    case "dot":
      return [`${s.dst.name}${shapeOf(s.dst)} = dot ${s.a.name}, ${s.b.name}${s.form === "nt" ? "^T" : ""}`];
    case "accumulate":
      return [`${s.acc.name} += ${[s.part, ...s.by].map((t) => t.name).join(" * ")}`];
    case "scan":
      return [`${s.dst.name}${shapeOf(s.dst)} = exclusive sum of ${s.src.name}`];
  }
}

/** The first line of one statement: what generated code quotes above its translation. */
export const printStatement = (s: Stmt): string => statement(s)[0] as string;

/** A parameter as text: name, type and shape. */
export function printParameter(p: BufferParam): string {
  const shape = p.shape.map((i) => printIndex(i)).join(", ");
  const plain = JSON.stringify(packed(p.shape)) === JSON.stringify(p.strides);
  const strides = plain ? "" : ` strides [${p.strides.map((i) => printIndex(i)).join(", ")}]`;
  return `${p.access === "in" ? "" : `${p.access} `}${p.name}: ${p.dtype}[${shape}]${strides}`;
}

/** The whole kernel as text, ending in a line break. */
export function printKernel(k: Kernel): string {
  const head = [
    `# ${k.summary}`,
    `kernel ${k.name}(`,
    ...k.params.map((p) => `    ${printParameter(p)},`),
    `)${k.dims.length ? ` dims ${k.dims.join(", ")}` : ""}:`,
  ];
  return `${[...head, ...lines(k.body, "  ")].join("\n")}\n`;
}
