/** Lines of a table whose columns are as wide as their widest word; the numbered columns stand to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], right: readonly number[]): string[] {
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.map((r) => r[i].length)));
  return all.map((r) => r.map((w, i) => (right.includes(i) ? w.padStart(widths[i]) : w.padEnd(widths[i]))).join("  ").trimEnd());
}
