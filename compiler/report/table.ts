// Tables for a person: columns and the numbers in them.

/** A number in a column: no more digits than its size asks for. */
export const digits = (n: number): string => (n >= 100 ? n.toFixed(0) : n >= 1 ? n.toFixed(1) : n.toFixed(3));

/** How often, whole where it is. */
export const times = (n: number): string => digits(n).replace(/\.0$/, "");

/**
 * Lines of a table whose columns are as wide as their widest word; the numbered columns stand to the right, and one with
 * nothing in it is left out.
 */
export function table(head: readonly string[], rows: readonly (readonly string[])[], right: readonly number[]): string[] {
  const empty = head.findIndex((h, i) => h !== "" && rows.length > 0 && rows.every((r) => r[i] === ""));
  if (empty >= 0)
    return table(
      head.toSpliced(empty, 1),
      rows.map((r) => r.toSpliced(empty, 1)),
      right.filter((i) => i !== empty).map((i) => (i > empty ? i - 1 : i)),
    );
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.map((r) => r[i].length)));
  return all.map((r) =>
    r
      .map((w, i) => (right.includes(i) ? w.padStart(widths[i]) : w.padEnd(widths[i])))
      .join("  ")
      .trimEnd(),
  );
}
