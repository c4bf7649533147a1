// Turns a function of the manifest into one flat list of words that every thread executes alike.
// Calls and loops over sequences are unrolled here, with all addresses and dims known; a loop over experts stays a loop,
// for its bounds are written by an earlier kernel. Its body keeps dims as postfix code over m (rows) and e (expert).
//   launch   LAUNCH, kernel, site, layer, cells, n, n values
//   experts  EXPERTS, address of offsets, experts, words of the body, body: inner launches
//   inner    INNER, kernel, site, layer, n, then n + 1 items (cells first): word count and postfix code
import { inside, type FunctionPlan, type Manifest, type Ref, type Step } from "../../ir/artifact.ts";
import { evaluate } from "../../ir/size.ts";
import type { Dims, Size } from "../../ir/size.ts";
import { brokenManifest } from "../diagnostics.ts";
import { postfix, residual, substitute } from "./postfix.ts";

export const LAUNCH = 0;
export const EXPERTS = 1;
export const INNER = 2;

export const ALIGN = 64;
export const align = (n: number): number => Math.ceil(n / ALIGN) * ALIGN;

export type BatchTable = "positions" | "sequence" | "starts" | "lengths" | "pages" | "ids";

/** Byte addresses of what a program touches outside its arena. */
export interface Places {
  weight(symbol: string, part: "data" | "scales", layer: number | undefined): number;
  cache(layer: number | undefined): number;
  batch(table: BatchTable): number;
}

/** Row starts [B + 1] and cached lengths [B] (new rows included) of the sequences of one call, and columns of the page table. */
export interface BatchShape {
  starts: readonly number[];
  lengths: readonly number[];
  pages: number;
}

export interface Program {
  words: Int32Array;
  /** By the site word of a launch: where the compiler placed it. */
  sites: string[];
}

/** An address that may move with the expert of an enclosing loop. */
interface Place {
  base: number;
  row: number;
  expert: number;
}
interface Frame {
  plan: FunctionPlan;
  layer: number | undefined;
  args: ReadonlyMap<string, Place>;
  arena: number;
}
interface Region {
  first: number;
  dims: Dims;
  experts: boolean;
}

/** Largest values of the symbols in any slice: what slots are sized for. A load function has no batch. */
export function largestDims(batch: BatchShape | undefined): Dims {
  if (!batch) return {};
  const b = batch.lengths.length;
  const t = batch.lengths.reduce((most, _, i) => Math.max(most, batch.starts[i + 1] - batch.starts[i]), 0);
  const s = Math.max(0, ...batch.lengths);
  return { T: batch.starts[b], B: b, P: batch.pages, S: s, t, s, m: batch.starts[b], b: Math.max(0, b - 1), e: 0 };
}

/** Bytes of arena that a function and all it calls need at these dims. */
export function arenaBytes(manifest: Manifest, name: string, dims: Dims): number {
  const known = new Map<string, number>();
  const need = (name: string): number => {
    const cached = known.get(name);
    if (cached !== undefined) return cached;
    known.set(name, 0);
    const plan = functionOf(manifest, name);
    const inner = (steps: readonly Step[]): number =>
      steps.reduce(
        (most, s) => Math.max(most, s.kind === "call" ? need(s.function) : inner(inside(s))),
        0,
      );
    const total = sized(plan.slots, dims).reduce((a, n) => a + align(n), 0) + inner(plan.steps);
    known.set(name, total);
    return total;
  };
  return need(name);
}

/** The case of a choice that a size falls into. */
export function caseOf(step: Step & { kind: "cases" }, size: number): { steps: Step[] } {
  const found = step.cases.find((c) => c.most === null || size <= c.most);
  if (!found) throw brokenManifest(`a choice of kernels has no case for size ${size}`);
  return found;
}

/** Functions of a manifest by name; a name without one is the compiler's fault. */
export function functionOf(manifest: Manifest, name: string): FunctionPlan {
  if (!Object.hasOwn(manifest.functions, name)) throw brokenManifest(`it calls ${name}, which is not one of its functions`);
  return manifest.functions[name];
}

function sized(sizes: readonly Size[], dims: Dims): number[] {
  try {
    return sizes.map((s) => evaluate(s, dims));
  } catch (e) {
    throw brokenManifest((e as Error).message);
  }
}

/** Flattens a call of `name`. `args` are the addresses of its inputs and results, `arena` the address its slots start at. */
export function flatten(
  manifest: Manifest,
  name: string,
  at: {
    layer?: number;
    batch?: BatchShape;
    args: ReadonlyMap<string, number>;
    arena: number;
    places: Places;
    kernels: ReadonlyMap<string, number>;
  },
): Program {
  const words: number[] = [];
  const sites: string[] = [];
  const siteNumbers = new Map<string, number>();
  const outer = largestDims(at.batch);
  const slotOffsets = new Map<FunctionPlan, number[]>();
  // Outside regions the symbols of slices have no meaning; leaving them out turns a stray use into an error.
  const { T, B, P, S } = outer;
  const top: Dims = at.batch ? { T, B, P, S } : {};

  const offsetsOf = (plan: FunctionPlan): number[] => {
    let offsets = slotOffsets.get(plan);
    if (!offsets) {
      offsets = [0];
      for (const n of sized(plan.slots, outer)) offsets.push(offsets[offsets.length - 1] + align(n));
      slotOffsets.set(plan, offsets);
    }
    return offsets;
  };

  const place = (ref: Ref, f: Frame, r: Region): Place => {
    let p: Place;
    if ("slot" in ref) p = { base: f.arena + (offsetsOf(f.plan)[ref.slot] ?? NaN), row: 0, expert: 0 };
    else if ("arg" in ref) {
      const found = f.args.get(ref.arg);
      if (!found) throw brokenManifest(`${f.plan.name} uses ${ref.arg}, which its caller does not give`);
      p = found;
    } else if ("weight" in ref) p = { base: at.places.weight(ref.weight, ref.part, f.layer), row: 0, expert: 0 };
    else if ("batch" in ref) p = { base: at.places.batch(ref.batch), row: 0, expert: 0 };
    else p = { base: at.places.cache(f.layer), row: 0, expert: 0 };
    if (ref.offset === undefined && ref.rowBytes === undefined && ref.expertBytes === undefined) return p;
    let base = p.base + (ref.offset === undefined ? 0 : sized([ref.offset], r.dims)[0]);
    if (r.experts) return { base, row: p.row + (ref.rowBytes ?? 0), expert: p.expert + (ref.expertBytes ?? 0) };
    base += r.first * (ref.rowBytes ?? 0);
    return { base, row: p.row, expert: p.expert };
  };

  const launch = (step: Step & { kind: "kernel" }, f: Frame, r: Region): void => {
    const record = manifest.kernels[step.kernel];
    const kernel = at.kernels.get(step.kernel);
    if (!record || kernel === undefined)
      throw brokenManifest(`${f.plan.name} launches ${step.kernel}, which is not one of its kernels`);
    if (step.dims.length !== record.dims.length)
      throw brokenManifest(
        `${step.site} gives ${step.dims.length} dims to ${step.kernel}, which takes ${record.dims.join(", ")}`,
      );
    let site = siteNumbers.get(step.site);
    if (site === undefined) {
      siteNumbers.set(step.site, (site = sites.length));
      sites.push(step.site);
    }
    const refs = step.args.map((a) => place(a, f, r));
    const layer = f.layer ?? -1;
    if (!r.experts) {
      const dims = sized(step.dims, r.dims);
      const own: Record<string, number> = {};
      for (let i = 0; i < dims.length; i++) own[record.dims[i]] = dims[i];
      const cells = sized([record.cells ?? 1], own)[0];
      if (cells === 0) return;
      words.push(LAUNCH, kernel, site, layer, cells, refs.length + dims.length);
      for (const p of refs) words.push(p.base);
      for (const d of dims) words.push(d);
      return;
    }
    const dims = step.dims.map((d) => residual(d, r.dims));
    const cells = residual(substitute(record.cells ?? 1, Object.fromEntries(dims.map((d, i) => [record.dims[i], d]))), {});
    words.push(INNER, kernel, site, layer, refs.length + dims.length);
    postfix(cells, words);
    for (const p of refs) {
      const moved: Size[] = [p.base];
      if (p.row) moved.push({ op: "mul", of: [p.row, "first"] });
      if (p.expert) moved.push({ op: "mul", of: [p.expert, "e"] });
      postfix(moved.length === 1 ? p.base : { op: "add", of: moved }, words);
    }
    for (const d of dims) postfix(d, words);
  };

  const walk = (steps: readonly Step[], f: Frame, r: Region): void => {
    for (const step of steps) {
      if (step.kind === "kernel") launch(step, f, r);
      else if (step.kind === "call") {
        const plan = functionOf(manifest, step.function);
        const args = new Map(Object.entries(step.args).map(([name, ref]) => [name, place(ref, f, r)]));
        const offsets = offsetsOf(f.plan);
        walk(plan.steps, { plan, layer: step.layer, args, arena: f.arena + offsets[offsets.length - 1] }, r);
      } else if (step.kind === "cases") {
        if (r.experts) throw brokenManifest(`${f.plan.name} chooses kernels by the rows of an expert, which only a kernel knows`);
        const [size] = sized([step.on], r.dims);
        walk(caseOf(step, size).steps, f, r);
      } else if (step.over === "sequences") {
        const { starts, lengths } = at.batch ?? { starts: [0], lengths: [] };
        lengths.forEach((s, b) =>
          walk(step.steps, f, { first: starts[b], dims: { ...r.dims, t: starts[b + 1] - starts[b], s, b }, experts: false }),
        );
      } else {
        if (r.experts) throw brokenManifest(`${f.plan.name} has a loop over experts inside another`);
        words.push(EXPERTS, place(step.offsets, f, r).base, step.count, 0);
        const from = words.length;
        walk(step.steps, f, { first: 0, dims: r.dims, experts: true });
        words[from - 1] = words.length - from;
      }
    }
  };

  const plan = functionOf(manifest, name);
  const args = new Map([...at.args].map(([n, base]) => [n, { base, row: 0, expert: 0 }]));
  walk(plan.steps, { plan, layer: at.layer, args, arena: at.arena }, { first: 0, dims: top, experts: false });
  return { words: Int32Array.from(words), sites };
}
