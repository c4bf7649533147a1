// Golden files: text a person has read and found right, held to the letter. `npm run bless` rewrites them; the diff of a commit
// is then reviewed as if a person had written it. In npm test a difference fails and shows only the lines that differ.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, inject } from "vitest";

declare module "vitest" {
  interface ProvidedContext {
    bless?: boolean;
  }
}

/** Whether golden files are written, not compared: only under bless.config.ts. */
export const blessing = inject("bless") === true;

/** Holds `got` to the golden file of this name below test/golden, or makes it the golden file when blessing. */
export function golden(name: string, got: string): void {
  const file = path.join(import.meta.dirname, name);
  if (blessing) {
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, got);
    return;
  }
  if (!existsSync(file)) expect.fail(`test/golden/${name} does not exist; npm run bless writes it`);
  same(`test/golden/${name}`, readFileSync(file, "utf8"), got);
}

/** Fails where a golden text and what it is now differ, with the lines that do. */
export function same(place: string, want: string, got: string): void {
  if (got !== want) expect.fail(`${place} differs (- golden, + now):\n\n${difference(want, got)}\n\nIf this is meant: npm run bless, and read git diff test/golden`);
}

/** Unchanged lines shown around a change, and lines shown in all. */
const [AROUND, MOST] = [2, 80];

/** Lines in which a golden text and another differ, with the numbers of golden lines, in order. */
export function difference(want: string, got: string): string {
  const [a, b] = [want.split("\n"), got.split("\n")];
  // The ends that agree are cut off first, so that the table below is as small as the change.
  let head = 0;
  while (head < Math.min(a.length, b.length) && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < Math.min(a.length, b.length) - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const [x, y] = [a.slice(head, a.length - tail), b.slice(head, b.length - tail)];
  // common[i][j]: lines that x from i and y from j have in common, in order.
  const common = Array.from({ length: x.length + 1 }, () => new Uint32Array(y.length + 1));
  for (let i = x.length - 1; i >= 0; i--)
    for (let j = y.length - 1; j >= 0; j--) common[i][j] = x[i] === y[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);

  const lines: { mark: " " | "-" | "+"; at: number | ""; text: string }[] = a.slice(0, head).map((text, i) => ({ mark: " ", at: i + 1, text }));
  for (let i = 0, j = 0; i < x.length || j < y.length; ) {
    if (i < x.length && j < y.length && x[i] === y[j]) lines.push({ mark: " ", at: head + ++i, text: y[j++] });
    else if (j === y.length || (i < x.length && common[i + 1][j] >= common[i][j + 1])) lines.push({ mark: "-", at: head + i + 1, text: x[i++] });
    else lines.push({ mark: "+", at: "", text: y[j++] });
  }
  for (let i = a.length - tail; i < a.length; i++) lines.push({ mark: " ", at: i + 1, text: a[i] });

  const near = (i: number): boolean => lines.slice(Math.max(0, i - AROUND), i + AROUND + 1).some((l) => l.mark !== " ");
  const out: string[] = [];
  let skipped = false;
  for (const [i, l] of lines.entries()) {
    if (near(i)) {
      if (skipped && out.length) out.push("      ...");
      out.push(`${String(l.at).padStart(5)} ${l.mark} ${l.text}`);
    }
    skipped = !near(i);
  }
  return out.length > MOST ? [...out.slice(0, MOST), `      ... and ${out.length - MOST} lines more`].join("\n") : out.join("\n");
}
