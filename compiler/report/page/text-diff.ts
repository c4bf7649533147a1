// Two texts of one function side by side. Values that a pass renumbers (%9, %10) are no change: a line is compared by what its
// operands are made by, not by their numbers.
import { diffArrays, diffWordsWithSpace } from "diff";

export type Row =
  | { kind: "same"; left: Cell; right: Cell }
  | { kind: "changed"; left: Cell | undefined; right: Cell | undefined };

export interface Cell {
  /** From 0. */
  line: number;
  text: string;
}

/** Lines without columns of spaces, numbers of values replaced by the op that makes them. */
function forms(lines: readonly string[]): string[] {
  const made = new Map<string, string>();
  return lines.map((raw) => {
    const line = raw.replace(/ {2,}/g, " ");
    const found = /^\s*((?:%[\w.]+(?:, )?)+) = (\S+)/.exec(line);
    if (found) found[1].split(", ").forEach((v, i) => made.set(v, /^%\d+$/.test(v) ? `%${found[2]}.${i}` : v));
    return line.replace(/%\d+\b/g, (v) => made.get(v) ?? v);
  });
}

export function diffRows(before: string, after: string): Row[] {
  const [a, b] = [before.split("\n"), after.split("\n")];
  const [fa, fb] = [forms(a), forms(b)];
  const rows: Row[] = [];
  let [i, j] = [0, 0];
  const parts = diffArrays(fa, fb);
  for (let k = 0; k < parts.length; k++) {
    const { value, added, removed } = parts[k];
    if (!added && !removed) {
      for (let n = 0; n < value.length; n++, i++, j++)
        rows.push({ kind: "same", left: { line: i, text: a[i] }, right: { line: j, text: b[j] } });
      continue;
    }
    const next = parts[k + 1];
    const [gone, come] = removed ? [value.length, next?.added ? next.value.length : 0] : [0, value.length];
    if (removed && next?.added) k++;
    for (const [l, r] of paired(a.slice(i, i + gone), b.slice(j, j + come)))
      rows.push({
        kind: "changed",
        left: l === undefined ? undefined : { line: i + l, text: a[i + l] },
        right: r === undefined ? undefined : { line: j + r, text: b[j + r] },
      });
    i += gone;
    j += come;
  }
  return rows;
}

/** Lines of the same op beside each other; what is left over beside what is left over. */
function paired(left: readonly string[], right: readonly string[]): [number | undefined, number | undefined][] {
  const op = (line: string): string => / = (\S+)/.exec(line)?.[1] ?? line.trim();
  const out: [number | undefined, number | undefined][] = [];
  let [i, j] = [0, 0];
  let [restLeft, restRight]: [number[], number[]] = [[], []];
  const flush = (): void => {
    for (let n = 0; n < Math.max(restLeft.length, restRight.length); n++) out.push([restLeft[n], restRight[n]]);
    [restLeft, restRight] = [[], []];
  };
  for (const { count, added, removed } of diffArrays(left.map(op), right.map(op)))
    for (let n = 0; n < count; n++) {
      if (removed) restLeft.push(i++);
      else if (added) restRight.push(j++);
      else {
        flush();
        out.push([i++, j++]);
      }
    }
  flush();
  return out;
}

/** The words of two lines: those only one of them has are marked. */
export function wordsOf(left: string, right: string): { left: [string, boolean][]; right: [string, boolean][] } {
  const parts = diffWordsWithSpace(left, right);
  return {
    left: parts.filter((p) => !p.added).map((p) => [p.value, !!p.removed]),
    right: parts.filter((p) => !p.removed).map((p) => [p.value, !!p.added]),
  };
}
