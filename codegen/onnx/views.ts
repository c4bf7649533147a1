// Ops that move elements without computing, and those that put stored weights together.
import { joinExperts, pad, split } from "../../ir/ops/index.ts";
import { fixed } from "../../ir/types.ts";
import { as, dimsOf, given, joined, movable, resultElem, sizes, type Emitted, type Lower, type Lowering } from "./lowering.ts";
import { elem } from "./proto.ts";

const reshape: Lower = (at, n, [x]) => [
  { name: at.s.op("Reshape", [x.name, at.s.ints(sizes(dimsOf(n.results[0])))]), elem: x.elem },
];

const splitAt: Lower = (at, n, [x]) => {
  if (!split.made(n)) throw new TypeError("no split");
  const { at: place, axis } = n.attrs;
  const whole = fixed(dimsOf(n.operands[0]).at(axis));
  const names = [at.s.name("left"), at.s.name("right")];
  at.s.node("Split", [x.name, at.s.ints([place, whole - place])], { axis }, names);
  return names.map((name) => ({ name, elem: x.elem }));
};

const concat: Lower = (at, n, ins) => {
  const to = resultElem(at, n);
  return [
    given(
      at,
      n,
      at.s.op(
        "Concat",
        ins.map((v) => as(at, v, to)),
        { axis: -1 },
      ),
    ),
  ];
};

/** Every row: results of an export have all of them, and what comes after treats rows alike. */
const lastRows: Lower = (_at, _n, [x]) => [x];

/** Two weights, codes and scales alike. */
function both(at: Lowering, a: Emitted, b: Emitted, axis: number, shaped: (name: string, i: number) => string): Emitted {
  const parts = [a, b];
  const data = joined(
    at,
    parts.map((p, i) => ({ ...p, name: shaped(p.name, i) })),
    axis,
    "joined",
  );
  if (a.scales === undefined) return data;
  const scales = parts.map((p, i) => ({ name: shaped(p.scales!, i), elem: elem.FLOAT }));
  return { ...data, scales: joined(at, scales, axis, "scales").name };
}

const unsqueezed = ({ s }: Lowering, name: string, axis: number): string => s.op("Unsqueeze", [name, s.ints([axis])], {}, "part");

const stack: Lower = (at, n, [a, b]) => {
  const axis = dimsOf(n.operands[0]).length - 2;
  const [left, right] = [a, b].map((v) => movable(at, v));
  return [both(at, left, right, axis, (name) => unsqueezed(at, name, axis))];
};

const joinRows: Lower = (at, _n, [a, b]) => [both(at, movable(at, a), movable(at, b), 0, (name) => name)];

const joinedExperts: Lower = (at, n, [a, b]) => {
  if (!joinExperts.made(n)) throw new TypeError("no join_experts");
  const { parts, of } = n.attrs;
  if (parts === 1) return [both(at, movable(at, a), movable(at, b), 0, (name, i) => (i === 0 ? name : unsqueezed(at, name, 0)))];
  const { s } = at;
  const [, rows, columns] = dimsOf(n.operands[0]).map(fixed);
  const cut = (name: string): string => {
    if (of === "rows") return s.op("Reshape", [name, s.ints([parts, rows, columns])], {}, "parts");
    return s.op("Transpose", [s.op("Reshape", [name, s.ints([rows, parts, columns])])], { perm: [1, 0, 2] }, "parts");
  };
  return [joined(at, [a, { ...b, name: cut(b.name) }], 0, "joined")];
};

const padded: Lower = (at, n, [x]) => {
  if (!pad.made(n)) throw new TypeError("no pad");
  const dims = dimsOf(n.operands[0]);
  const axis = dims.length + n.attrs.axis;
  const more = n.attrs.to - fixed(dims[axis]);
  return [{ name: zerosAfter(at, as(at, x, elem.FLOAT), dims.length, axis, more), elem: elem.FLOAT }];
};

/** Zeros after the last of an axis. */
export const zerosAfter = ({ s }: Lowering, name: string, axes: number, axis: number, more: number): string =>
  s.op("Pad", [name, s.ints(Array.from({ length: 2 * axes }, (_, i) => (i === axes + axis ? more : 0)))], {}, "padded");

export const views: Readonly<Record<string, Lower>> = {
  reshape,
  split: splitAt,
  concat,
  last_rows: lastRows,
  stack,
  join_rows: joinRows,
  join_experts: joinedExperts,
  pad: padded,
};
