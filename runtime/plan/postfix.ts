// Sizes whose symbols have values only while a program runs: m, the rows of an expert, e, its index, and first, its first row.
// Written as postfix code into a program, evaluated by every thread alike.
import type { Dims, Size } from "../../ir/size.ts";
import { evaluate } from "../../ir/size.ts";
import { brokenManifest } from "../diagnostics.ts";

/** Postfix code: pairs of (code, operand). Operands of OPS are the number of values they take. */
const CONST = 0;
const SYMBOL = 1;
const SYMBOLS = ["m", "e", "first"] as const;
const OPS = ["add", "mul", "ceildiv", "div", "max", "min"] as const;
const FIRST_OP = 2;

/** Folds what is known; m and e may remain. */
export function residual(size: Size, dims: Dims): Size {
  if (typeof size === "number") return size;
  if (typeof size === "string") {
    if (dims[size] !== undefined) return dims[size];
    if ((SYMBOLS as readonly string[]).includes(size)) return size;
    throw brokenManifest({ why: `size symbol ${size} has no value inside a loop over experts` });
  }
  const of = size.of.map((s) => residual(s, dims));
  return of.every((s) => typeof s === "number") ? evaluate({ op: size.op, of }, {}) : { op: size.op, of };
}

/** Puts sizes in the place of symbols. */
export function substitute(size: Size, values: Readonly<Record<string, Size>>): Size {
  if (typeof size === "string") return values[size] ?? size;
  return typeof size === "number" ? size : { op: size.op, of: size.of.map((s) => substitute(s, values)) };
}

/** Appends a size as postfix code, behind its word count. */
export function postfix(size: Size, words: number[]): void {
  const from = words.length;
  words.push(0);
  const emit = (s: Size): void => {
    if (typeof s === "number") words.push(CONST, s);
    else if (typeof s === "string") words.push(SYMBOL, SYMBOLS.indexOf(s as (typeof SYMBOLS)[number]));
    else {
      s.of.forEach(emit);
      words.push(FIRST_OP + OPS.indexOf(s.op), s.of.length);
    }
  };
  emit(size);
  words[from] = words.length - from - 1;
}

const stack: number[] = [];

/** The value of the postfix code in words [from, to). */
export function postfixValue(words: ArrayLike<number>, from: number, to: number, m: number, e: number, first: number): number {
  let depth = 0;
  for (let at = from; at < to; at += 2) {
    const code = words[at];
    const operand = words[at + 1];
    if (code === CONST) stack[depth++] = operand;
    else if (code === SYMBOL) stack[depth++] = operand === 0 ? m : operand === 1 ? e : first;
    else {
      depth -= operand;
      let v = stack[depth];
      for (let i = 1; i < operand; i++) v = apply(OPS[code - FIRST_OP], v, stack[depth + i]);
      stack[depth++] = v;
    }
  }
  return stack[0];
}

function apply(op: (typeof OPS)[number], a: number, b: number): number {
  switch (op) {
    case "add":
      return a + b;
    case "mul":
      return a * b;
    case "ceildiv":
      return Math.ceil(a / b);
    case "div":
      return Math.floor(a / b);
    case "max":
      return Math.max(a, b);
    case "min":
      return Math.min(a, b);
  }
}
