// Memory planning: arena buffers share slots when their lives do not meet. Sizes are symbolic, so a slot's size is the
// largest of its tenants', evaluated when the number of rows is known; the choice of tenant uses assumed sizes.
import type { FunctionPlan, Ref, Step } from "../../ir/artifact.ts";
import { evaluate, mul, type Size } from "../../ir/size.ts";
import { storageBytes } from "../../ir/dtype.ts";
import { type Draft, type DraftFunc, type DraftRef } from "./select.ts";
import type { Buffer } from "./view.ts";

const bufferBytes = (b: Buffer): Size => mul(storageBytes[b.dtype], ...b.shape);

/** Assumed sizes, only to judge which slot fits best. */
const typical = { T: 64, B: 8, S: 1024, t: 8, s: 1024, m: 8, b: 1, e: 1, P: 16 };

/** A buffer of a function's arena: where it lies, and from which of the function's own steps to which it holds its value. */
export interface Tenant {
  name: string;
  slot: number;
  bytes: Size;
  first: number;
  last: number;
}

/** Assigns slots; `kernelName` names the kernel of a launch, `keep` is told what lies where, in the order of first steps. */
export function planMemory(
  f: DraftFunc,
  kernelName: (d: Draft & { kind: "kernel" }) => string,
  keep?: (tenant: Tenant) => void,
): FunctionPlan {
  const last = new Map<Buffer, number>();
  const first = new Map<Buffer, number>();
  f.steps.forEach((s, i) => {
    for (const b of buffersOf(s)) {
      if (!("arena" in b.place)) continue;
      if (!first.has(b)) first.set(b, i);
      last.set(b, i);
    }
  });
  const slots: { tenants: Size[]; bytes: number; freeAt: number }[] = [];
  const slotOf = new Map<Buffer, number>();
  f.steps.forEach((_, i) => {
    for (const [b, from] of first) {
      if (from !== i) continue;
      const size = bufferBytes(b);
      const need = evaluate(size, typical);
      // The tightest free slot; a slot that would have to grow is better than a new one.
      let best = -1;
      for (const [j, s] of slots.entries()) {
        if (s.freeAt >= i) continue;
        if (best < 0 || Math.abs(slots[j].bytes - need) < Math.abs(slots[best].bytes - need)) best = j;
      }
      if (best < 0) best = slots.push({ tenants: [], bytes: 0, freeAt: -1 }) - 1;
      const slot = slots[best];
      if (!slot.tenants.some((t) => JSON.stringify(t) === JSON.stringify(size))) slot.tenants.push(size);
      slot.bytes = Math.max(slot.bytes, need);
      slot.freeAt = last.get(b)!;
      slotOf.set(b, best);
      keep?.({ name: b.name ?? "a value", slot: best, bytes: size, first: from, last: last.get(b)! });
    }
  });
  const ref = (r: DraftRef): Ref => ({
    ...("arena" in r.buffer.place ? { slot: slotOf.get(r.buffer)! } : r.buffer.place),
    ...(r.offset ? { offset: r.offset } : {}),
    ...(r.rowBytes ? { rowBytes: r.rowBytes } : {}),
    ...(r.expertBytes ? { expertBytes: r.expertBytes } : {}),
  });
  const step = (d: Draft): Step => {
    switch (d.kind) {
      case "kernel":
        return { kind: "kernel", kernel: kernelName(d), args: d.args.map(ref), dims: d.chosen.dims, site: d.site };
      case "call":
        return {
          kind: "call",
          function: d.function,
          layer: d.layer,
          args: Object.fromEntries(Object.entries(d.args).map(([k, r]) => [k, ref(r)])),
        };
      case "cases":
        return { kind: "cases", on: d.on, cases: d.cases.map((c) => ({ most: c.most, steps: c.steps.map(step) })) };
      case "slices":
        return d.over === "sequences"
          ? { kind: "slices", over: "sequences", steps: d.steps.map(step) }
          : { kind: "slices", over: "experts", offsets: ref(d.offsets), count: d.count, steps: d.steps.map(step) };
      case "collective":
        return { ...d, args: d.args.map(ref) };
    }
  };
  return {
    name: f.name,
    inputs: f.inputs,
    results: f.results,
    slots: slots.map((s) => (s.tenants.length === 1 ? s.tenants[0] : { op: "max", of: s.tenants })),
    steps: f.steps.map(step),
  };
}

function buffersOf(d: Draft): Buffer[] {
  switch (d.kind) {
    case "kernel":
    case "collective":
      return d.args.map((a) => a.buffer);
    case "call":
      return Object.values(d.args).map((a) => a.buffer);
    case "cases":
      return d.cases.flatMap((c) => c.steps.flatMap(buffersOf));
    case "slices":
      return [...("offsets" in d ? [d.offsets.buffer] : []), ...d.steps.flatMap(buffersOf)];
  }
}
