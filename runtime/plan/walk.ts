// The one walker of a plan: the steps of a function as launches in order, for one batch. Calls are followed, sequences and cases are
// resolved, addresses and sizes known. Only the rows of experts are not: an earlier kernel writes them. A device that can read them
// (`rowsOf`) has a loop over experts walked expert by expert; for another the body is walked once between "experts" and "end", with m
// (rows), e (expert) and first (its first row) left open. A rank of several has a walk of its own, with its places: walks stop at every
// launch, so that a group can go on with all of them in step.
import type { ArgPlan, CollectiveStep, FunctionPlan, KernelRecord, Manifest, Ref, Step } from "../../ir/artifact.ts";
import type { Dims, Size } from "../../ir/size.ts";
import { brokenManifest } from "../diagnostics.ts";
import { align } from "./align.ts";
import { residual } from "./postfix.ts";
import { functionOf, largestDims, sized, tableCount, type BatchShape } from "./dims.ts";
import { pointer, value, type Places, type Pointer } from "./pointer.ts";

/** Where a launch stands: its step of the plan, the function, the layer, and the sizes there (of a slice, inside a loop). */
export interface Site {
  step: Extract<Step, { kind: "kernel" }>;
  function: string;
  layer: number | undefined;
  dims: Dims;
}

export interface Launch {
  kind: "launch";
  kernel: string;
  record: KernelRecord;
  /** In the order of the kernel's buffers. */
  pointers: readonly Pointer[];
  /** In the order of the kernel's dims: numbers, and sizes over m, e and first between "experts" and "end". */
  dims: readonly Size[];
  at: Site;
}

/** A loop over experts whose body follows once, up to "end": `offsets` is where the first row of each and the count of all lie, i32. */
export interface Experts {
  kind: "experts";
  offsets: Pointer;
  count: number;
}

/** Where ranks meet: every one of them comes to the same, in the same order. */
export interface Meeting {
  kind: "meeting";
  step: CollectiveStep;
  /** Operands, then results. */
  pointers: readonly Pointer[];
  outer: number;
  inner: number;
  function: string;
  layer: number | undefined;
}

export type Item = Launch | Experts | Meeting | { kind: "end" };

/** What is walked: one run of a function of the manifest. */
export interface Walked {
  function: string;
  /** Of functions that read a layer's weights or cache. */
  layer?: number;
  /** Rows and lengths of the sequences; a load function has none. */
  batch?: BatchShape;
  /** Addresses of inputs and results by name. */
  args: ReadonlyMap<string, number>;
  /** Where the slots of the function and of all it calls begin. */
  arena: number;
  places: Places;
}

/** `count` i32 values at an address, which launches before have written; good until the next call. */
export type RowsOf = (at: number, count: number) => Int32Array;

interface Frame {
  plan: FunctionPlan;
  layer: number | undefined;
  args: ReadonlyMap<string, Pointer>;
  /** Where its slots begin, and where those of callees do. */
  slots: readonly number[];
}

interface Region {
  dims: Dims;
  /** First row of the slice and, over experts, which one. */
  first: number;
  expert: number;
  /** In a loop over experts that is walked once. */
  open: boolean;
}

/** Steps under way: which is next, in which function, of which slice; `ends` those of a loop that is walked once. */
interface Level {
  steps: readonly Step[];
  next: number;
  f: Frame;
  r: Region;
  ends: boolean;
}
const levelOf = (steps: readonly Step[], f: Frame, r: Region): Level => ({ steps, next: 0, f, r, ends: false });

/** The case of a choice that a size falls into. */
export function caseOf(step: Step & { kind: "cases" }, size: number): { steps: Step[] } {
  const found = step.cases.find((c) => c.most === null || size <= c.most);
  if (!found) throw brokenManifest({ why: `a choice of kernels has no case for size ${size}` });
  return found;
}

/** Bytes of an input or a result for a batch. */
export const argBytes = ({ shape, dtype }: ArgPlan, batch: BatchShape | undefined): number =>
  sized(shape, largestDims(batch)).reduce((x, y) => x * y, dtype === "bf16" ? 2 : 4);

/** Every launch of a call in order. Refuses a plan that does not fit itself (DSC5005). */
export function walkPlan(manifest: Manifest, call: Walked, rowsOf?: RowsOf): Generator<Item, void, undefined> {
  return new Walk(manifest, call, rowsOf).items();
}

class Walk {
  readonly #manifest: Manifest;
  readonly #call: Walked;
  readonly #rowsOf: RowsOf | undefined;
  /** Largest values of the symbols in any slice: what slots are sized for. */
  readonly #outer: Dims;
  /** Where the slots of a function begin, from its arena on; the last is where they end. */
  readonly #offsets = new Map<FunctionPlan, readonly number[]>();

  constructor(manifest: Manifest, call: Walked, rowsOf: RowsOf | undefined) {
    [this.#manifest, this.#call, this.#rowsOf] = [manifest, call, rowsOf];
    this.#outer = largestDims(call.batch);
  }

  *items(): Generator<Item, void, undefined> {
    // Steps that are under way, the innermost last: one generator, for a launch would pass through one more for every level.
    const open = [this.#top()];
    for (let level = open.at(-1); level; level = open.at(-1)) {
      const { steps, f, r } = level;
      if (level.next === steps.length) {
        open.pop();
        if (level.ends) yield { kind: "end" };
        continue;
      }
      const step = steps[level.next++];
      if (step.kind === "kernel") yield this.#launch(step, f, r);
      else if (step.kind === "collective") yield this.#meeting(step, f, r);
      else if (step.kind === "slices" && step.over === "experts") {
        if (r.open) throw brokenManifest({ why: `${f.plan.name} has a loop over experts inside another` });
        const offsets = this.#pointer(step.offsets, f, r);
        if (this.#rowsOf) open.push(...this.#experts(step, this.#rowsOf(offsets.at, step.count + 1), f, r));
        else {
          yield { kind: "experts", offsets, count: step.count };
          open.push({ ...levelOf(step.steps, f, { dims: r.dims, first: 0, expert: 0, open: true }), ends: true });
        }
      } else if (step.kind === "slices") open.push(...this.#sequences(step.steps, f, r));
      else open.push(this.#inside(step, f, r));
    }
  }

  #top(): Level {
    const { batch, layer, arena } = this.#call;
    const plan = functionOf(this.#manifest, this.#call.function);
    const args = new Map<string, Pointer>();
    for (const a of [...plan.inputs, ...plan.results]) {
      const from = this.#call.args.get(a.name);
      if (from !== undefined) args.set(a.name, value(from, argBytes(a, batch)));
    }
    // Outside regions the symbols of slices have no meaning; leaving them out turns a stray use into an error.
    const { T, B, P, S } = this.#outer;
    const region: Region = { dims: batch ? { T, B, P, S } : {}, first: 0, expert: 0, open: false };
    return levelOf(plan.steps, this.#frame(plan, layer, args, arena), region);
  }

  /** The steps of a callee, or of the case that holds. */
  #inside(step: Extract<Step, { kind: "call" | "cases" }>, f: Frame, r: Region): Level {
    if (step.kind === "cases") {
      if (r.open)
        throw brokenManifest({ why: `${f.plan.name} chooses kernels by the rows of an expert, which only a kernel knows` });
      return levelOf(caseOf(step, sized([step.on], r.dims)[0]).steps, f, r);
    }
    const plan = functionOf(this.#manifest, step.function);
    const args = new Map(Object.entries(step.args).map(([name, ref]) => [name, this.#pointer(ref, f, r)]));
    return levelOf(plan.steps, this.#frame(plan, step.layer, args, f.slots[f.slots.length - 1]), r);
  }

  /** The steps for every sequence, the last one first. */
  #sequences(steps: readonly Step[], f: Frame, r: Region): Level[] {
    const { starts, lengths } = this.#call.batch ?? { starts: [0], lengths: [] };
    const each = lengths.map((s, b) => {
      const dims = { ...r.dims, t: starts[b + 1] - starts[b], s, b };
      return levelOf(steps, f, { dims, first: starts[b], expert: 0, open: false });
    });
    return each.toReversed();
  }

  /** The steps for every expert that has rows, the last one first. */
  #experts({ steps, count }: { steps: readonly Step[]; count: number }, rows: Int32Array, f: Frame, r: Region): Level[] {
    const each: Level[] = [];
    for (let e = count - 1; e >= 0; e--) {
      const [first, m] = [rows[e], rows[e + 1] - rows[e]];
      if (m > 0) each.push(levelOf(steps, f, { dims: { ...r.dims, m, e }, first, expert: e, open: false }));
    }
    return each;
  }

  #launch(step: Extract<Step, { kind: "kernel" }>, f: Frame, r: Region): Launch {
    const record = this.#manifest.kernels[step.kernel];
    if (!record) throw brokenManifest({ why: `${f.plan.name} launches ${step.kernel}, which is not one of its kernels` });
    if (step.dims.length !== record.dims.length)
      throw brokenManifest({
        why: `${step.site} gives ${step.dims.length} dims to ${step.kernel}, which takes ${record.dims.join(", ")}`,
      });
    return {
      kind: "launch",
      kernel: step.kernel,
      record,
      pointers: step.args.map((a) => this.#pointer(a, f, r)),
      dims: r.open ? step.dims.map((d) => residual(d, r.dims)) : sized(step.dims, r.dims),
      at: { step, function: f.plan.name, layer: f.layer, dims: r.dims },
    };
  }

  #meeting(step: CollectiveStep, f: Frame, r: Region): Meeting {
    if (r.open)
      throw brokenManifest({ why: `${f.plan.name} lets ranks meet inside a loop over experts, whose rows differ between them` });
    const [outer, inner] = sized([step.outer, step.inner], r.dims);
    const pointers = step.args.map((a) => this.#pointer(a, f, r));
    return { kind: "meeting", step, pointers, outer, inner, function: f.plan.name, layer: f.layer };
  }

  #pointer(ref: Ref, f: Frame, r: Region): Pointer {
    const p = this.#whole(ref, f);
    const { offset, rowBytes = 0, expertBytes = 0 } = ref;
    if (offset === undefined && rowBytes === 0 && expertBytes === 0) return p;
    const at = p.at + (offset === undefined ? 0 : sized([offset], r.dims)[0]);
    if (r.open) return pointer(p, at, p.row + rowBytes, p.expert + expertBytes);
    return pointer(p, at + r.first * rowBytes + r.expert * expertBytes, p.row, p.expert);
  }

  /** What a reference names, before offsets. */
  #whole(ref: Ref, f: Frame): Pointer {
    const { places, batch } = this.#call;
    if ("slot" in ref) {
      const from = f.slots[ref.slot] ?? NaN;
      return value(from, (f.slots[ref.slot + 1] ?? NaN) - from);
    }
    if ("arg" in ref) {
      const found = f.args.get(ref.arg);
      if (!found) throw brokenManifest({ why: `${f.plan.name} uses ${ref.arg}, which its caller does not give` });
      return found;
    }
    if ("batch" in ref) return value(places.batch(ref.batch), tableCount(ref.batch, batch) * 4);
    const kind = "weight" in ref ? "weight" : "cache";
    const at = "weight" in ref ? places.weight(ref.weight, ref.part, f.layer) : places.cache(ref.cache, f.layer);
    return { kind, from: at, to: at, at, row: 0, expert: 0 };
  }

  #frame(plan: FunctionPlan, layer: number | undefined, args: ReadonlyMap<string, Pointer>, arena: number): Frame {
    let offsets = this.#offsets.get(plan);
    if (!offsets) {
      let end = 0;
      offsets = [0, ...sized(plan.slots, this.#outer).map((n) => (end += align(n)))];
      this.#offsets.set(plan, offsets);
    }
    return { plan, layer, args, slots: offsets.map((o) => arena + o) };
  }
}
