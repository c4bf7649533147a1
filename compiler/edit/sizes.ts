// Sizes that a kernel is tried at: rows around the tiles of every target, one and odd numbers of sequences, rows in the middle
// of a page of the cache, on its edge and past it. Of what the kernel is chosen for by a size, those of its own range, the
// edges among them.
import { PAGE_ROWS } from "../../codegen/backend.ts";
import type { Batch } from "../../ir/tensor.ts";
import { evaluate } from "../../ir/size.ts";
import type { Sizes } from "../analysis/launches.ts";
import type { KernelSite } from "./sites.ts";

/** A step at which a kernel is tried. */
export interface Step {
  /** In words: "3 rows of 2 sequences". */
  what: string;
  batch: Batch;
  sizes: Sizes;
}

/** Rows of each sequence that are new, and those that are cached with them. */
type Lengths = readonly (readonly [rows: number, cached: number])[];

const decodes: readonly Lengths[] = [
  [[1, 1]],
  [[1, 65]],
  [
    [1, 64],
    [1, 7],
  ],
  [
    [1, 130],
    [1, 1],
    [1, 63],
  ],
  [
    [1, 3],
    [1, 200],
    [1, 65],
    [1, 64],
    [1, 1],
  ],
  Array.from({ length: 8 }, (_, i) => [1, 1 + 29 * i] as const),
  Array.from({ length: 17 }, (_, i) => [1, 1 + 11 * i] as const),
  Array.from({ length: 33 }, (_, i) => [1, 1 + 5 * i] as const),
  Array.from({ length: 70 }, (_, i) => [1, 1 + (i % 9) * 16] as const),
];
const prefills: readonly Lengths[] = [
  [[1, 1]],
  [[2, 2]],
  [[3, 3]],
  [[7, 7]],
  [
    [5, 5],
    [1, 1],
    [9, 9],
  ],
  [[33, 33]],
  [[64, 64]],
  [
    [65, 65],
    [70, 70],
  ],
];
const extends_: readonly Lengths[] = [
  [[1, 2]],
  [[2, 64]],
  [[3, 70]],
  [
    [5, 6],
    [1, 130],
    [9, 64],
  ],
  [[33, 97]],
  [[65, 128]],
  [
    [64, 64],
    [70, 200],
  ],
];
/** Rows of one slice of experts. */
const slices = [1, 2, 3, 5, 31, 33, 70];

const orOf = (kind: string): readonly Lengths[] =>
  kind === "decode" || kind === "draft" ? decodes : kind === "extend" ? extends_ : prefills;

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;

/** A step of these sequences. `columns`: of the table of pages. */
function stepOf(lengths: Lengths, site: KernelSite, experts: number, columns: (pages: number) => number): Step {
  const starts = [0];
  for (const [rows] of lengths) starts.push(starts.at(-1)! + rows);
  const T = starts.at(-1)!;
  const most = Math.max(...lengths.map(([, cached]) => cached));
  const cached = lengths.reduce((n, [, s]) => n + s, 0);
  const batch = { starts, lengths: lengths.map(([, s]) => s), ids: Array<number>(T).fill(0) };
  const sizes = {
    T,
    B: lengths.length,
    t: lengths[0][0],
    s: lengths[0][1],
    S: most,
    E: experts,
    m: T,
    P: columns(Math.ceil(most / PAGE_ROWS)),
    chosen: experts,
    b: 0,
    e: 0,
  };
  const words =
    site.per === "experts"
      ? `${count(T, "row")} of an expert`
      : `${count(T, "row")} of ${count(lengths.length, "sequence")}, ${cached} cached`;
  return { what: words, batch, sizes };
}

/** Steps at which a place of a kernel is tried, small ones first; one for what is computed at load. */
export function stepsOf(site: KernelSite, experts: number, longest: number, columns: (pages: number) => number): Step[] {
  const step = (lengths: Lengths): Step => stepOf(lengths, site, experts, columns);
  if (site.func.assume.T === undefined) return [{ ...step([[1, 1]]), what: "at load" }];
  const kind = site.func.name.split("/")[0];
  const given: readonly Lengths[] =
    site.per === "experts" ? slices.map((m) => [[m, m]]) : site.per === "sequences" ? orOf(kind).map((l) => [l[0]]) : orOf(kind);
  const fits = (s: Step): boolean => s.sizes.S <= longest && inRange(site, s.sizes);
  const plain = given.map(step).filter(fits);
  const edges = edgesOf(site, kind === "decode" || kind === "draft", longest)
    .map(step)
    .filter(fits);
  const all = new Map([...plain, ...edges].map((s) => [JSON.stringify(s.batch), s]));
  return [...all.values()].toSorted((a, b) => a.sizes.T - b.sizes.T || a.sizes.S - b.sizes.S);
}

/** Rows of a step that nobody chose, and cached rows of its sequences. */
const ROWS = 8;
const CACHED = 128;

/** A step of so many rows: of as many sequences where it is one of decoding, else of one. None where the kernel is for other sizes. */
export function stepWith(
  site: KernelSite,
  experts: number,
  longest: number,
  columns: (pages: number) => number,
  rows?: number,
): Step | undefined {
  if (site.func.assume.T === undefined) return stepsOf(site, experts, longest, columns)[0];
  const decode = ["decode", "draft"].includes(site.func.name.split("/")[0]) && site.per === "step";
  const cached = Math.min(CACHED, longest);
  const of = (n: number): Step =>
    stepOf(decode ? Array.from({ length: n }, () => [1, cached] as const) : [[n, n]], site, experts, columns);
  const wanted = rows === undefined ? [ROWS, ...Array.from({ length: 4096 }, (_, i) => i + 1)] : [rows];
  const found = wanted.find((n) => (decode || n <= longest) && inRange(site, of(n).sizes));
  return found === undefined ? undefined : of(found);
}

function inRange({ range }: KernelSite, z: Sizes): boolean {
  if (!range) return true;
  const at = evaluate(range.on, z);
  return at >= range.from && at <= (range.most ?? Infinity);
}

const MOST_EDGE = 4096;

/** The least and the most rows of a range, and those beside them. */
function edgesOf({ range }: KernelSite, decode: boolean, longest: number): Lengths[] {
  if (!range) return [];
  const most = Math.min(range.most ?? range.from + 70, MOST_EDGE);
  const rows = [range.from, range.from + 1, Math.floor((range.from + most) / 2), most - 1, most].filter(
    (n) => n >= range.from && n <= most,
  );
  const of = (n: number): Lengths[] => [
    ...(decode ? [Array.from({ length: n }, (_, i) => [1, 1 + (i % 7) * 13] as const)] : n <= longest ? [[[n, n] as const]] : []),
    // A size of cached rows, in pages.
    ...(n * PAGE_ROWS <= longest ? [[[1, n * PAGE_ROWS] as const]] : []),
    ...(n <= longest ? [[[1, n] as const]] : []),
  ];
  return [...new Set(rows)].flatMap(of);
}
