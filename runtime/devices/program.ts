// Turns a function of the manifest into one flat list of words that every thread executes alike.
// Calls and loops over sequences are unrolled here, with all addresses and dims known; a loop over experts stays a loop,
// for its bounds are written by an earlier kernel. Its body keeps dims as postfix code over m (rows) and e (expert).
//   launch   LAUNCH, kernel, site, layer, segment, cells, n, n values
//   experts  EXPERTS, segment, address of offsets, experts, words of the body, body: inner launches
//   copy     COPY, source segment, offset there, segment, offset there, bytes
//   inner    INNER, kernel, site, layer, n, then n + 1 items (cells first): word count and postfix code
import type { ArgPlan, FunctionPlan, Manifest, Ref, Step } from "../../ir/artifact.ts";
import type { Dims, Size } from "../../ir/size.ts";
import { brokenManifest } from "../diagnostics.ts";
import type { Param } from "../../ir/kernel/catalogue.ts";
import { align } from "./align.ts";
import { TABLES, functionOf, largestDims, sized, tableCount, type BatchShape, type BatchTable } from "./dims.ts";
import { postfix, residual, substitute } from "./postfix.ts";
import { Router, type Operand, type Use } from "./router.ts";
import type { Segments } from "./segments.ts";

export const LAUNCH = 0;
export const EXPERTS = 1;
export const INNER = 2;
export const COPY = 3;

/** Byte addresses of what a program touches outside its arena. */
export interface Places {
  weight(symbol: string, part: "data" | "scales", layer: number | undefined): number;
  cache(name: string, layer: number | undefined): number;
  batch(table: BatchTable): number;
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
  operand: Operand;
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

/** The case of a choice that a size falls into. */
export function caseOf(step: Step & { kind: "cases" }, size: number): { steps: Step[] } {
  const found = step.cases.find((c) => c.most === null || size <= c.most);
  if (!found) throw brokenManifest(`a choice of kernels has no case for size ${size}`);
  return found;
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
    /** Of a device with several: see router.ts. */
    segments?: Segments;
  },
): Program {
  const words: number[] = [];
  const router = at.segments && new Router(at.segments, (copy) => words.push(COPY, ...copy));
  /** Set while a loop over experts is walked only to see what its launches use. */
  let seen: Use[] | undefined;
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

  const fixed = (base: number, operand: Operand): Place => ({ base, row: 0, expert: 0, operand });
  const value = (from: number, bytes: number): Place => fixed(from, { kind: "value", from, to: from + bytes });

  /** What a reference names, before offsets. */
  const whole = (ref: Ref, f: Frame): Place => {
    if ("slot" in ref) {
      const offsets = offsetsOf(f.plan);
      const from = offsets[ref.slot] ?? NaN;
      return value(f.arena + from, (offsets[ref.slot + 1] ?? NaN) - from);
    }
    if ("arg" in ref) {
      const found = f.args.get(ref.arg);
      if (!found) throw brokenManifest(`${f.plan.name} uses ${ref.arg}, which its caller does not give`);
      return found;
    }
    if ("weight" in ref) {
      const base = at.places.weight(ref.weight, ref.part, f.layer);
      return fixed(base, { kind: "weight", at: base });
    }
    if ("batch" in ref) return value(at.places.batch(ref.batch), tableCount(ref.batch, at.batch) * 4);
    const base = at.places.cache(ref.cache, f.layer);
    return fixed(base, { kind: "cache", at: base });
  };

  const place = (ref: Ref, f: Frame, r: Region): Place => {
    const p = whole(ref, f);
    if (ref.offset === undefined && ref.rowBytes === undefined && ref.expertBytes === undefined) return p;
    let base = p.base + (ref.offset === undefined ? 0 : sized([ref.offset], r.dims)[0]);
    if (r.experts) return { ...p, base, row: p.row + (ref.rowBytes ?? 0), expert: p.expert + (ref.expertBytes ?? 0) };
    base += r.first * (ref.rowBytes ?? 0);
    return { ...p, base };
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
    const uses = router ? refs.map((p, i): Use => ({ operand: p.operand, written: written(record.params[i]) })) : [];
    const addressOf = (p: Place): number => (router ? router.address(p.base, p.operand) : p.base);
    const layer = f.layer ?? -1;
    if (!r.experts) {
      const dims = sized(step.dims, r.dims);
      const own: Record<string, number> = {};
      for (let i = 0; i < dims.length; i++) own[record.dims[i]] = dims[i];
      const cells = sized([record.cells ?? 1], own)[0];
      if (cells === 0) return;
      const segment = router?.enter(uses) ?? 0;
      words.push(LAUNCH, kernel, site, layer, segment, cells, refs.length + dims.length);
      for (const p of refs) words.push(addressOf(p));
      for (const d of dims) words.push(d);
      return;
    }
    if (seen) {
      seen.push(...uses);
      return;
    }
    const dims = step.dims.map((d) => residual(d, r.dims));
    const cells = residual(substitute(record.cells ?? 1, Object.fromEntries(dims.map((d, i) => [record.dims[i], d]))), {});
    words.push(INNER, kernel, site, layer, refs.length + dims.length);
    postfix(cells, words);
    for (const p of refs) {
      const base = addressOf(p);
      const moved: Size[] = [base];
      if (p.row) moved.push({ op: "mul", of: [p.row, "first"] });
      if (p.expert) moved.push({ op: "mul", of: [p.expert, "e"] });
      postfix(moved.length === 1 ? base : { op: "add", of: moved }, words);
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
        const inside: Region = { first: 0, dims: r.dims, experts: true };
        const offsets = place(step.offsets, f, r);
        let segment = 0;
        if (router) {
          // The whole loop runs in one segment, so that nothing is copied inside it.
          seen = [{ operand: offsets.operand, written: false }];
          walk(step.steps, f, inside);
          segment = router.enter(seen);
          seen = undefined;
        }
        words.push(EXPERTS, segment, router ? router.address(offsets.base, offsets.operand) : offsets.base, step.count, 0);
        const from = words.length;
        walk(step.steps, f, inside);
        words[from - 1] = words.length - from;
      }
    }
  };

  const plan = functionOf(manifest, name);
  const bytesOf = (n: string): number => {
    const arg = [...plan.inputs, ...plan.results].find((a) => a.name === n);
    return arg ? sized(arg.shape, outer).reduce((x, y) => x * y, arg.dtype === "bf16" ? 2 : 4) : 0;
  };
  const args = new Map([...at.args].map(([n, base]) => [n, value(base, bytesOf(n))]));
  const named = (list: readonly ArgPlan[], visit: (from: number, to: number) => void): void => {
    for (const { operand } of list.flatMap((a) => args.get(a.name) ?? []))
      if (operand.kind === "value") visit(operand.from, operand.to);
  };
  if (router) {
    named(plan.inputs, (from, to) => router.given(from, to));
    if (at.batch) for (const t of TABLES) router.given(at.places.batch(t), at.places.batch(t) + tableCount(t, at.batch) * 4);
  }
  walk(plan.steps, { plan, layer: at.layer, args, arena: at.arena }, { first: 0, dims: top, experts: false });
  if (router) named(plan.results, (from, to) => router.home(from, to));
  return { words: Int32Array.from(words), sites };
}

/** Whether a launch writes what it is given for a parameter. */
const written = (p: Param | undefined): boolean => p?.kind === "buffer" && p.access !== "in";
