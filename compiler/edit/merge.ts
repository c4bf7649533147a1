// Three texts into one, line by line: what either side changed of what they have in common, and markers where both changed the
// same.
import { diffArrays } from "diff";

export interface Merged {
  text: string;
  /** Places where both sides changed the same lines; each stands in the text with all three forms. */
  conflicts: number;
}

/** What the forms of a conflict are called. */
export interface Labels {
  mine: string;
  base: string;
  theirs: string;
}

/** `mine` and `theirs` were both made of `base`. */
export function merge(mine: string, base: string, theirs: string, labels: Labels): Merged {
  const [a, o, b] = [mine, base, theirs].map((t) => t.split("\n"));
  const [toA, toB] = [matches(o, a), matches(o, b)];
  const out: string[] = [];
  let conflicts = 0;
  let [i, j, k] = [0, 0, 0];
  while (i < o.length || j < a.length || k < b.length) {
    if (i < o.length && toA[i] === j && toB[i] === k) {
      out.push(o[i]);
      [i, j, k] = [i + 1, j + 1, k + 1];
      continue;
    }
    // Up to the next line that all three have.
    let next = i;
    while (next < o.length && (toA[next] < 0 || toB[next] < 0)) next++;
    const [nextA, nextB] = next < o.length ? [toA[next], toB[next]] : [a.length, b.length];
    const [x, y, z] = [a.slice(j, nextA), o.slice(i, next), b.slice(k, nextB)];
    if (alike(x, y)) out.push(...z);
    else if (alike(z, y) || alike(x, z)) out.push(...x);
    else {
      conflicts++;
      out.push(`<<<<<<< ${labels.mine}`, ...x, `||||||| ${labels.base}`, ...y, "=======", ...z, `>>>>>>> ${labels.theirs}`);
    }
    [i, j, k] = [next, nextA, nextB];
  }
  return { text: out.join("\n"), conflicts };
}

const alike = (x: readonly string[], y: readonly string[]): boolean => x.length === y.length && x.every((l, i) => l === y[i]);

/** For every line of a text the line of another that it is there, or -1. */
function matches(from: string[], to: string[]): number[] {
  const out: number[] = [];
  let at = 0;
  for (const part of diffArrays(from, to)) {
    const count = part.value.length;
    if (part.added) at += count;
    else if (part.removed) out.push(...Array<number>(count).fill(-1));
    else for (let n = 0; n < count; n++) out.push(at++);
  }
  return out;
}
