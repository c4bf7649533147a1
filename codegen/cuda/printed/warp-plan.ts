// Which tile programs a warp can run without shared memory, and how their outermost loops divide among several warps.
// A warp holds a row (or column) tile in registers, element lane + 32 q in v[q]; single elements are the same in every lane.
import type { Index, Kernel, Stmt, Tile } from "../../../ir/kernel/stmt.ts";
import { flatten, mentions, tilesIn, tilesOf, tilesRead, tileWritten } from "../../../ir/kernel/walk.ts";

export type Loop = Extract<Stmt, { kind: "loop" }>;

/** Longest vector kept in registers: 32 registers a lane. */
const LONGEST = 1024;

export const isSingle = (t: Tile): boolean => t.rows === 1 && t.cols === 1;
export const lengthOf = (t: Tile): number => t.rows * t.cols;

/** Whether every tile is a vector or a single element, and vectors that meet have the same length and direction. */
export function fitsWarp(kernel: Kernel): boolean {
  if (tilesIn(kernel).some((t) => (t.rows > 1 && t.cols > 1) || lengthOf(t) > LONGEST)) return false;
  return flatten(kernel.body).every((s) => {
    if (s.kind === "dot" || s.kind === "accumulate") return false;
    const met =
      s.kind === "map"
        ? [s.dst, ...tilesOf(s.expr)]
        : s.kind === "load"
          ? [s.dst, ...tilesRead(s)]
          : s.kind === "store"
            ? tilesRead(s)
            : [];
    const vectors = met.filter((t) => !isSingle(t));
    // A vector that meets only single elements is broadcast; a single element is never made of vectors, except by reduce.
    return (
      vectors.every((t) => t.rows === vectors[0].rows && t.cols === vectors[0].cols) &&
      (s.kind === "reduce" || !vectors.length || s.kind === "store" || !isSingle(tileWritten(s)!))
    );
  });
}

/** How an outermost loop runs on several warps: each takes every n-th iteration, or the partial results are joined in order. */
export type Share = { kind: "apart" } | { kind: "ordered"; acc: Tile; part: Tile; join: Stmt & { kind: "map" }; steps: number };

export interface WarpPlan {
  /** Warps that share one cell; 1: every warp has a cell of its own. */
  warps: number;
  shares: ReadonlyMap<Loop, Share>;
  /** Cells a block visits when warps do not share one. */
  cells: number;
}

/** Iterations of a loop where they are known. */
export const tripsOf = (s: Loop): number | undefined =>
  typeof s.from === "number" && typeof s.to === "number" ? Math.max(0, Math.ceil((s.to - s.from) / s.step)) : undefined;

/** Divides a kernel's work. `threads` fixes the size of a block. */
export function planWarps(kernel: Kernel, threads: number | undefined): WarpPlan {
  const loops = kernel.body.filter((s): s is Loop => s.kind === "loop");
  const shares = new Map<Loop, Share>();
  for (const l of loops) {
    const share = shareOf(kernel, l);
    if (share) shares.set(l, share);
  }
  const most = Math.max(0, ...loops.map((l) => tripsOf(l) ?? 0));
  const stored = new Set(flatten(kernel.body).flatMap((s) => (s.kind === "store" ? [s.to.buffer] : [])));
  const conflict = flatten(kernel.body).some(
    (s) => (s.kind === "load" && stored.has(s.from.buffer)) || (s.kind === "scalar" && stored.has(s.buffer)),
  );
  const all = loops.length > 0 && shares.size === loops.length && most >= 4 && !conflict;
  const asked = threads ? threads / 32 : undefined;
  if (!all) return { warps: 1, shares: new Map(), cells: asked ?? 4 };
  return { warps: asked ?? evenWarps(most), shares, cells: 1 };
}

/** As many warps, up to 16, as divide the steps evenly: then every warp takes the same turns and its loads can all be in flight. */
function evenWarps(steps: number): number {
  for (let n = Math.min(16, steps); n >= 4; n--) if (steps % n === 0) return n;
  return Math.min(8, steps);
}

/** An index that differs between any two iterations: the loop variable, or its quotient by what divides the step. */
function distinct(i: Index, l: Loop): boolean {
  if (i === l.name) return true;
  if (typeof i !== "object") return false;
  if (i.op === "add") return (distinct(i.a, l) && !mentions(i.b, l.name)) || (distinct(i.b, l) && !mentions(i.a, l.name));
  return i.op === "div" && i.a === l.name && typeof i.b === "number" && l.from === 0 && l.step % i.b === 0;
}

function shareOf(kernel: Kernel, l: Loop): Share | undefined {
  const body = flatten(l.body);
  const last = l.body.at(-1);
  const steps = tripsOf(l);
  const join = last?.kind === "map" ? last : undefined;
  const carried = join ? orderedJoin(join) : undefined;
  const inner = carried ? body.filter((s) => s !== join) : body;
  // Every other tile is made anew in each iteration, and nobody outside looks at it.
  const outside = flatten(kernel.body).filter((s) => !body.includes(s));
  const made = new Set<string>();
  for (const s of inner) {
    const w = tileWritten(s);
    const reads = tilesRead(s).map((t) => t.name);
    if (w && reads.includes(w.name) && !made.has(w.name)) return undefined;
    if (w) made.add(w.name);
  }
  const madeBefore = new Set<string>();
  for (const s of inner) {
    if (tilesRead(s).some((t) => made.has(t.name) && !madeBefore.has(t.name))) return undefined;
    const w = tileWritten(s);
    if (w) madeBefore.add(w.name);
  }
  if (outside.some((s) => [...tilesRead(s), tileWritten(s)].some((t) => t && made.has(t.name)))) return undefined;
  if (carried) {
    const stores = inner.some((s) => s.kind === "store");
    if (
      stores ||
      steps === undefined ||
      steps > 4096 ||
      inner.some((s) => [...tilesRead(s), tileWritten(s)].some((t) => t?.name === carried.acc.name)) ||
      !made.has(carried.part.name)
    )
      return undefined;
    return { kind: "ordered", ...carried, join: join!, steps };
  }
  const apart = inner.every((s) => {
    if (s.kind !== "store") return true;
    if (s.to.rowIndex) return false;
    return s.to.at.some(
      (i, axis) =>
        distinct(i, l) &&
        (axis === s.to.cols
          ? s.src.cols <= l.step && i !== undefined && !(typeof i === "object" && i.op === "div")
          : axis === s.to.rows
            ? s.src.rows <= l.step && !(typeof i === "object" && i.op === "div")
            : true),
    );
  });
  return apart ? { kind: "apart" } : undefined;
}

/** acc = acc op part, both single elements. */
function orderedJoin(s: Stmt & { kind: "map" }): { acc: Tile; part: Tile } | undefined {
  const e = s.expr;
  if (!isSingle(s.dst) || !("b" in e) || e.op === "select" || !["add", "max", "min"].includes(e.op)) return undefined;
  if (!("t" in e.a) || !("t" in e.b) || e.a.t.name !== s.dst.name || !isSingle(e.b.t)) return undefined;
  return { acc: s.dst, part: e.b.t };
}
