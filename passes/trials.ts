// What a rule is tried at: its sample, then values of its attributes that are no default, sizes that are not everybody's (one
// row, none, odd, more axes or fewer), other dtypes, and quantised rows of two blocks of 128 and a ragged third.
import type { AttrKind, AttrValue } from "../ir/attr.ts";
import { formats, isDType, isScaled } from "../ir/dtype.ts";
import { topological } from "../ir/graph.ts";
import { parsePattern } from "../ir/signature.ts";
import { fixed } from "../ir/types.ts";
import { instanceOf, random, sizesOf, valuesOf, type Instance, type Setup } from "./instance.ts";
import type { Rule } from "./rule.ts";

/** One setting that both sides are interpreted at. */
export interface Trial extends Setup {
  /** The attribute whose values this trial is about. */
  attr?: string;
  /** The rule's own sample: its left side has to be a finite function here. Elsewhere it may not be defined. */
  sample?: true;
}

export const trialsOf = (rule: Rule, seed: number): Trial[] => {
  const sample = instanceOf(rule, 0);
  const drawn = attrTrials(rule, sample, seed);
  return [
    { sample: true },
    { filling: "hard" },
    ...drawn,
    ...sizeTrials(rule, sample),
    ...dtypeTrials(rule),
    ...blockTrials(rule, sample, drawn),
  ];
};

/** The kind of an attribute, from the op of the left side that has it; undefined where nothing there has it. */
export function kindOf(name: string, sample: Instance): AttrKind<AttrValue> | undefined {
  const nodes = topological(Object.values(sample.from));
  const same = (v: AttrValue): boolean => JSON.stringify(v) === JSON.stringify(sample.attrs[name]);
  const found = nodes.flatMap((n) => Object.entries(n.attrs).map(([k, v]) => ({ k, v, kind: n.op.attrs[k] })));
  return (found.find((x) => x.k === name && same(x.v)) ?? found.find((x) => same(x.v)))?.kind;
}

/** Values of a kind other than one: those its domain lists, else numbers on all sides of it. */
function others(kind: AttrKind<AttrValue>, value: AttrValue): AttrValue[] {
  const all: readonly AttrValue[] =
    kind.kind === "bool"
      ? [true, false]
      : kind.kind === "word"
        ? (kind.choices ?? [])
        : kind.kind === "int"
          ? [0, 1, 2, 3, 4, Number(value) + 1, Number(value) - 1, -1, -2]
          : kind.kind === "f32"
            ? [0.7, 1.9, -0.6, 0, Number(value) * 10]
            : [];
  return [...new Set(all)].filter((v) => !Object.is(v, value));
}

function attrTrials(rule: Rule, sample: Instance, seed: number): Trial[] {
  const next = random(seed + 100);
  const choices = Object.entries(rule.attrs).flatMap(([name, value]): [string, AttrValue[]][] => {
    const kind = kindOf(name, sample);
    return kind ? [[name, others(kind, value)]] : [];
  });
  const variables = dtypeVariables(rule);
  const single = choices.flatMap(([attr, values]) =>
    values.flatMap((v): Trial[] => {
      const alone = { attr, attrs: { [attr]: v } };
      // A dtype that is an attribute may have to be that of the rows, and shows only where it is not.
      return ["f32", "bf16", "same"].includes(String(v)) && variables.length
        ? [alone, { ...alone, dtypes: Object.fromEntries(variables.map((d) => [d, "bf16"])) }]
        : [alone];
    }),
  );
  // All of them at once, so that one that stands for another is seen too; numbers are drawn.
  const pick = ([name, values]: [string, AttrValue[]]): [string, AttrValue] => [
    name,
    typeof values[0] === "number" && !Number.isInteger(values[0])
      ? 1.1 + next()
      : values[Math.min(values.length - 1, Math.floor(((next() + 1) / 2) * values.length))],
  ];
  const usable = choices.filter(([, values]) => values.length > 0);
  const together = usable.length
    ? (["plain", "hard", "plain"] as const).map((filling): Trial => ({ attrs: Object.fromEntries(usable.map(pick)), filling }))
    : [];
  return [...single, ...together];
}

function sizeTrials(rule: Rule, sample: Instance): Trial[] {
  const sizes = sizesOf(rule);
  const patterns = Object.values(rule.vars).map(parsePattern);
  // A rule whose holes hold places ties its sizes together; the numbers it gives are then no samples.
  const placed = Object.values(sample.holes).some((v) => v.type.kind === "tensor" && v.type.dtype === "i32");
  const free = Object.keys(sizes).filter((k) => k !== "B" && !(placed && rule.sizes?.[k] !== undefined));
  // No rows is a step that may come; no columns is none: only letters of first axes become 0.
  const inner = new Set(patterns.flatMap((p) => (p.kind === "tensor" ? p.dims.slice(1).map((d) => d.name) : [])));
  const tries = (k: string): number[] => [1, ...(inner.has(k) ? [] : [0]), sizes[k] + 1, sizes[k] + 3, 7];
  const one = free.flatMap((k) =>
    tries(k)
      .filter((n) => n !== sizes[k])
      .map((n): Trial => ({ sizes: { [k]: n } })),
  );
  const odd = { sizes: Object.fromEntries(free.map((k, i) => [k, 5 + 2 * (i % 3)])) };
  const rests = patterns.some((p) => p.kind === "tensor" && p.dims.some((d) => d.rest !== undefined))
    ? [[], [1], [0], [2, 3], [3, 1, 2]]
    : [];
  return [
    ...one,
    { sizes: Object.fromEntries(free.map((k) => [k, 1])) },
    odd,
    { ...odd, filling: "hard" },
    ...rests.map((rest): Trial => ({ rest })),
  ];
}

function dtypeVariables(rule: Rule): string[] {
  const patterns = Object.values(rule.vars).map(parsePattern);
  return [...new Set(patterns.flatMap((p) => (p.kind === "tensor" && !isDType(p.dtype) ? [p.dtype] : [])))];
}

/** Every dtype variable as bf16, alone and together. */
function dtypeTrials(rule: Rule): Trial[] {
  const variables = dtypeVariables(rule);
  const all = Object.fromEntries(variables.map((v) => [v, "bf16" as const]));
  return variables.length === 0
    ? []
    : [{ dtypes: all }, ...(variables.length > 1 ? variables.map((v): Trial => ({ dtypes: { [v]: "bf16" } })) : [])];
}

/** Two blocks of 128 and a ragged third. */
const BLOCKS = [293, 261, 299, 269];

/** Trials at which every axis that meets a scale is over two blocks wide. */
function blockTrials(rule: Rule, sample: Instance, drawn: readonly Trial[]): Trial[] {
  if (scaledAxes(sample).length === 0) return [];
  const sizes: Record<string, number> = {};
  for (const letter of Object.keys(sizesOf(rule))) {
    if (letter === "T" || letter === "B") continue;
    const before = axesAt(rule, sizes);
    const after = axesAt(rule, { ...sizes, [letter]: (sizes[letter] ?? sizesOf(rule)[letter]) + 128 });
    // A letter that makes such an axis wider, where no other letter has made it wide yet.
    if (after.length !== before.length || after.some((n, i) => n !== before[i] && before[i] < 257))
      sizes[letter] = BLOCKS[Object.keys(sizes).length % BLOCKS.length];
  }
  const attrs = drawn.find((t) => t.attr === undefined)?.attrs;
  return [{ sizes }, { sizes, filling: "hard", ...(attrs ? { attrs } : {}) }];
}

function axesAt(rule: Rule, sizes: Readonly<Record<string, number>>): number[] {
  try {
    return scaledAxes(instanceOf(rule, 0, sizes));
  } catch {
    return scaledAxes(instanceOf(rule, 0));
  }
}

/** Sizes of the axes that blocks of 128 lie along: columns of quantised rows, rows and columns of quantised weights. */
const scaledAxes = (i: Instance): number[] =>
  topological(valuesOf(i))
    .flatMap((n) => [...n.operands, ...n.results])
    .flatMap((v) =>
      v.type.kind === "tensor" && isScaled(v.type.dtype)
        ? v.type.dims.slice(formats[v.type.dtype].scaled?.rows === 1 ? -1 : -2).map(fixed)
        : [],
    );
