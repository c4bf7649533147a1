// The steps of a function as launches in order, for one batch: calls are followed, sequences and cases resolved on the host, where
// lengths are known. A loop over experts asks for its offsets, which an earlier kernel wrote; a graph cannot hold one.
import { inside, type FunctionPlan, type Manifest, type Ref, type Step } from "../../../ir/artifact.ts";
import { evaluate, type Dims, type Size } from "../../../ir/size.ts";
import { brokenManifest } from "../../diagnostics.ts";
import type { Call } from "../../device.ts";
import { caseOf } from "../program.ts";
import { functionOf, largestDims } from "../dims.ts";
import { align } from "../align.ts";

/** Where a launch stands: its step of the plan, the layer, and the sizes there (of a slice, inside a loop). */
export interface Site {
  step: Extract<Step, { kind: "kernel" }>;
  function: string;
  layer: number | undefined;
  dims: Dims;
}

export interface Visitor {
  /** Addresses in the order of the kernel's buffers, dims by the kernel's names. */
  launch(kernel: string, addresses: readonly number[], dims: Record<string, number>, site: Site): void;
  /** count i32 values that launches before this one wrote. */
  read(at: number, count: number): Int32Array;
}

interface Frame {
  plan: FunctionPlan;
  layer: number | undefined;
  args: ReadonlyMap<string, number>;
  slots: readonly number[];
  /** Where the slots of callees begin. */
  end: number;
}

interface Region {
  dims: Dims;
  /** First row of the slice and, over experts, which one. */
  first: number;
  expert: number;
}

/** Visits every launch of a call in order. */
export function visitSteps(manifest: Manifest, call: Call, visitor: Visitor): void {
  const outer = largestDims(call.batch);
  const { T, B, P, S } = outer;
  const sized = (s: Size, dims: Dims): number => {
    try {
      return evaluate(s, dims);
    } catch (e) {
      throw brokenManifest((e as Error).message);
    }
  };
  const frame = (name: string, layer: number | undefined, args: ReadonlyMap<string, number>, arena: number): Frame => {
    const plan = functionOf(manifest, name);
    let end = arena;
    const slots = plan.slots.map((s) => {
      const from = end;
      end += align(sized(s, outer));
      return from;
    });
    return { plan, layer, args, slots, end };
  };
  const base = (ref: Ref, f: Frame): number | undefined => {
    if ("slot" in ref) return f.slots[ref.slot];
    if ("arg" in ref) return f.args.get(ref.arg);
    if ("weight" in ref) return call.places.weight(ref.weight, ref.part, f.layer);
    return "batch" in ref ? call.places.batch(ref.batch) : call.places.cache(ref.cache, f.layer);
  };
  const place = (ref: Ref, f: Frame, r: Region): number => {
    const found = base(ref, f);
    if (found === undefined) throw brokenManifest(`${f.plan.name} uses ${JSON.stringify(ref)}, which its caller does not give`);
    return (
      found +
      (ref.offset === undefined ? 0 : sized(ref.offset, r.dims)) +
      r.first * (ref.rowBytes ?? 0) +
      r.expert * (ref.expertBytes ?? 0)
    );
  };
  const walk = (steps: readonly Step[], f: Frame, r: Region): void => {
    for (const step of steps) {
      if (step.kind === "kernel") {
        const record = manifest.kernels[step.kernel];
        if (!record) throw brokenManifest(`${f.plan.name} launches ${step.kernel}, which is not one of its kernels`);
        const dims: Record<string, number> = {};
        for (const [i, d] of record.dims.entries()) dims[d] = sized(step.dims[i], r.dims);
        visitor.launch(
          step.kernel,
          step.args.map((a) => place(a, f, r)),
          dims,
          { step, function: f.plan.name, layer: f.layer, dims: r.dims },
        );
      } else if (step.kind === "call") {
        const args = new Map(Object.entries(step.args).map(([name, ref]) => [name, place(ref, f, r)]));
        const callee = frame(step.function, step.layer, args, f.end);
        walk(callee.plan.steps, callee, r);
      } else if (step.kind === "cases") walk(caseOf(step, sized(step.on, r.dims)).steps, f, r);
      else if (step.over === "sequences") {
        const { starts, lengths } = call.batch ?? { starts: [0], lengths: [] };
        for (const [b, s] of lengths.entries())
          walk(step.steps, f, { first: starts[b], dims: { ...r.dims, t: starts[b + 1] - starts[b], s, b }, expert: 0 });
      } else {
        const offsets = visitor.read(place(step.offsets, f, r), step.count + 1).slice();
        for (let e = 0; e < step.count; e++) {
          const m = offsets[e + 1] - offsets[e];
          if (m > 0) walk(step.steps, f, { first: offsets[e], dims: { ...r.dims, m, e }, expert: e });
        }
      }
    }
  };
  const top = frame(call.function, call.layer, call.args, call.arena);
  walk(top.plan.steps, top, { first: 0, dims: call.batch ? { T, B, P, S } : {}, expert: 0 });
}

/** Whether the launches of a function depend on nothing but rows, sequences and pages: then one graph serves every length. */
export function lengthFree(manifest: Manifest, name: string, known = new Map<string, boolean>()): boolean {
  const cached = known.get(name);
  if (cached !== undefined) return cached;
  const plan = functionOf(manifest, name);
  const free = (s: Size): boolean =>
    typeof s === "string" ? s === "T" || s === "B" || s === "P" : typeof s === "number" || s.of.every(free);
  const fixed = (refs: readonly Ref[]): boolean => refs.every((r) => r.offset === undefined || free(r.offset));
  const ok = (steps: readonly Step[]): boolean =>
    steps.every((s) => {
      if (s.kind === "slices") return false;
      if (s.kind === "kernel") return s.dims.every(free) && fixed(s.args);
      if (s.kind === "call") return fixed(Object.values(s.args)) && lengthFree(manifest, s.function, known);
      return free(s.on) && ok(inside(s));
    });
  const result = plan.slots.every(free) && ok(plan.steps);
  known.set(name, result);
  return result;
}
