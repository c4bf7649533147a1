// Sizes of one call: its tables, the dims its batch gives to symbols, and the arena that its functions need.
import { inside, type FunctionPlan, type Manifest, type Step } from "../../ir/artifact.ts";
import { evaluate } from "../../ir/size.ts";
import type { Dims, Size } from "../../ir/size.ts";
import { brokenManifest } from "../diagnostics.ts";
import { align } from "./align.ts";

export const TABLES = ["positions", "sequence", "starts", "lengths", "pages", "ids"] as const;
export type BatchTable = (typeof TABLES)[number];

/** Elements of a table, all i32. */
export function tableCount(table: BatchTable, batch: BatchShape | undefined): number {
  if (!batch) return 0;
  const { starts, lengths, pages } = batch;
  if (table === "starts") return starts.length;
  if (table === "lengths") return lengths.length;
  return table === "pages" ? lengths.length * pages : starts[starts.length - 1];
}

/** Row starts [B + 1] and cached lengths [B] (new rows included) of the sequences of one call, and columns of the page table. */
export interface BatchShape {
  starts: readonly number[];
  lengths: readonly number[];
  pages: number;
}

/** Largest values of the symbols in any slice: what slots are sized for. A load function has no batch. */
export function largestDims(batch: BatchShape | undefined): Dims {
  if (!batch) return {};
  const b = batch.lengths.length;
  const t = batch.lengths.reduce((most, _, i) => Math.max(most, batch.starts[i + 1] - batch.starts[i]), 0);
  const s = Math.max(0, ...batch.lengths);
  return { T: batch.starts[b], B: b, P: batch.pages, S: s, t, s, m: batch.starts[b], b: Math.max(0, b - 1), e: 0 };
}

interface Arena {
  /** What its size follows. */
  symbols: readonly string[];
  /** By the values of those. */
  bytes: Map<string, number>;
}

/** Sizes that were asked for: a step would add up those of every layer each time, which is a tenth of its host's work. */
const arenas = new WeakMap<Manifest, Map<string, Arena>>();
const MOST_SIZES = 256;

/** Bytes of arena that a function and all it calls need at these dims. */
export function arenaBytes(manifest: Manifest, name: string, dims: Dims): number {
  let functions = arenas.get(manifest);
  if (!functions) arenas.set(manifest, (functions = new Map()));
  let arena = functions.get(name);
  if (!arena) functions.set(name, (arena = { symbols: arenaSymbols(manifest, name), bytes: new Map() }));
  const key = arena.symbols.map((s) => dims[s]).join(" ");
  const cached = arena.bytes.get(key);
  if (cached !== undefined) return cached;
  if (arena.bytes.size >= MOST_SIZES) arena.bytes.clear();
  const bytes = addedUp(manifest, name, dims);
  arena.bytes.set(key, bytes);
  return bytes;
}

function arenaSymbols(manifest: Manifest, name: string): string[] {
  const [found, seen] = [new Set<string>(), new Set<string>()];
  const note = (s: Size): void => {
    if (typeof s === "string") found.add(s);
    else if (typeof s === "object") s.of.forEach(note);
  };
  const visit = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    const plan = functionOf(manifest, name);
    plan.slots.forEach(note);
    const within = (steps: readonly Step[]): void =>
      steps.forEach((s) => (s.kind === "call" ? visit(s.function) : within(inside(s))));
    within(plan.steps);
  };
  visit(name);
  return [...found];
}

function addedUp(manifest: Manifest, name: string, dims: Dims): number {
  const known = new Map<string, number>();
  const need = (name: string): number => {
    const cached = known.get(name);
    if (cached !== undefined) return cached;
    known.set(name, 0);
    const plan = functionOf(manifest, name);
    const inner = (steps: readonly Step[]): number =>
      steps.reduce((most, s) => Math.max(most, s.kind === "call" ? need(s.function) : inner(inside(s))), 0);
    const total = sized(plan.slots, dims).reduce((a, n) => a + align(n), 0) + inner(plan.steps);
    known.set(name, total);
    return total;
  };
  return need(name);
}

/** Functions of a manifest by name; a name without one is the compiler's fault. */
export function functionOf(manifest: Manifest, name: string): FunctionPlan {
  if (!Object.hasOwn(manifest.functions, name))
    throw brokenManifest({ why: `it calls ${name}, which is not one of its functions` });
  return manifest.functions[name];
}

/** Sizes at some dims; one that has no value is the compiler's fault. */
export function sized(sizes: readonly Size[], dims: Dims): number[] {
  try {
    return sizes.map((s) => evaluate(s, dims));
  } catch (e) {
    throw brokenManifest({ why: (e as Error).message });
  }
}
