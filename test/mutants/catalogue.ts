// All deliberate bugs. Numbers are those of the audit that began the list; three of its 80 are left out, for no test can fail:
//   23  absorbed values with their operands' letters changed throughout: another spelling of the same einsum
//   37  top-p by the floor of its share where logits are sorted: the sum that reaches the share is the same
//   61  the scales of the first 128 rows of w for all rows of a streamed FP8 tile: a tile has no more than 128
import { frontend } from "./frontend.ts";
import { kernels } from "./kernels.ts";
import type { Mutant } from "./mutant.ts";
import { native } from "./native.ts";
import { runtime } from "./runtime.ts";

export const mutants: readonly Mutant[] = [...frontend, ...kernels, ...native, ...runtime];

/** Which killers need a host compiler. */
export const needsCompiler = (m: Mutant): boolean =>
  m.killers.every(([file]) => /test\/kernels\/(native|stream|norm|experts|printers|ring|gemm|sort|route|mla)/.test(file));

/** A part of them that another seed chooses otherwise. */
export function chosen(seed: string, fraction: number): Mutant[] {
  const hash = (text: string): number => {
    let h = 0x811c9dc5;
    for (const c of text) h = Math.imul(h ^ c.codePointAt(0)!, 0x01000193);
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    return (h ^ (h >>> 13)) >>> 0;
  };
  const order = mutants.toSorted((a, b) => hash(seed + a.name) - hash(seed + b.name));
  return order.slice(0, Math.ceil(order.length * fraction));
}
