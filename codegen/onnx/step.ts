// What the new rows of a call are: their positions, what they may see, and the angles that they are rotated by.
import type { Lowering, Step } from "./lowering.ts";
import { elem } from "./proto.ts";
import type { Scope } from "./scope.ts";

/** New rows follow the cached ones: row i of T is at position S + i and sees all up to it. */
export function stepOf(s: Scope, ids: string, past: string): Step {
  const rows = (name: string, word: string): string =>
    s.op("Gather", [s.op("Shape", [name], {}, `${word}_shape`), s.ints(0)], {}, word);
  const [T, S] = [rows(ids, "T"), rows(past, "S")];
  const end = s.op("Add", [S, T], {}, "end");
  const positions = s.op("Range", [S, end, s.ints(1)], {}, "positions");
  const all = s.op("Range", [s.ints(0), end, s.ints(1)], {}, "columns");
  return { positions, mask: s.op("LessOrEqual", [all, s.op("Unsqueeze", [positions, s.ints([1])])], {}, "mask") };
}

/** Angle = position * frequency, in f32. */
export function rotary({ s, step }: Lowering, invFreq: readonly number[], factor: number): { cos: string; sin: string } {
  const at = s.op("Unsqueeze", [s.op("Cast", [step.positions], { to: elem.FLOAT }), s.ints([0, 2])], {}, "position");
  const angle = s.op("Mul", [at, s.floats(invFreq)], {}, "angle");
  const wave = (op: string): string =>
    factor === 1 ? s.op(op, [angle]) : s.op("Mul", [s.op(op, [angle]), s.floats(factor)], {}, op);
  return { cos: wave("Cos"), sin: wave("Sin") };
}
