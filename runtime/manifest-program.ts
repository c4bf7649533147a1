// What the names and numbers of a manifest refer to: functions, kernels, weights and slots that are there, as many operands as a
// kernel takes and of its dtypes, symbols that have a value where they stand, offsets inside what they are offsets of, calls that
// end. Nothing here knows what a kernel computes; kernels are held by the digests of their files. plan/walk.ts, which steps run by,
// takes for granted what this establishes: here cases are followed that a batch does not take, and nothing has an address yet.
import { operandsOf } from "./ranks/operands.ts";
import {
  onCpu,
  inside,
  type ArgPlan,
  type CollectiveStep,
  type FunctionPlan,
  type KernelRecord,
  type Manifest,
  type Ref,
  type Step,
} from "../ir/artifact.ts";
import { boundBuffers, type Param } from "../ir/kernel/catalogue.ts";
import { evaluate, type Dims, type Size } from "../ir/size.ts";
import { caseOf } from "./plan/walk.ts";
import { largestDims, tableCount, type BatchShape } from "./plan/dims.ts";
import { brokenManifest } from "./diagnostics.ts";
import { partBytes } from "./weights.ts";

/** Deepest chain of calls, and most launches of one call of an entry: R1 has 2 and some thousands. */
const DEEPEST = 16;
const MOST_LAUNCHES = 1e6;
/** A kernel's cells each do something to some bytes of its operands. */
const CELLS_PER_BYTE = 16;

/** Batches that sizes are tried on: one row, rows of several sequences, cases for many rows. */
const batches: readonly BatchShape[] = [
  { starts: [0, 1], lengths: [1], pages: 1 },
  { starts: [0, 1, 2], lengths: [70, 5], pages: 2 },
  { starts: [0, 3, 5], lengths: [70, 5], pages: 2 },
  { starts: [0, 40, 41, 300], lengths: [40, 300, 259], pages: 5 },
];

const dtypeBytes: Readonly<Record<string, number>> = { f32: 4, i32: 4, bf16: 2, e4m3: 1 };

/** Where a step stands. */
interface Context {
  layer: number | undefined;
  /** Loops around it, by what they go over. */
  loops: readonly ("sequences" | "experts")[];
  batch: BatchShape | undefined;
  dims: Dims;
  /** The same with a value for every symbol, as slots are sized. */
  largest: Dims;
  /** In a case that this batch does not take: sizes are of others, and only what does not depend on them is looked at. */
  other?: boolean;
}

/** Throws DSC5005 unless the program of a manifest holds together. */
export function checkProgram(manifest: Manifest): void {
  for (const [name, f] of Object.entries(manifest.functions)) checkNames(manifest, name, f);
  const { entries, model } = manifest;
  for (const [name, layer] of [
    [entries.prefill],
    [entries.extend],
    [entries.decode],
    ...(entries.draft === undefined ? [] : [[entries.draft, model.layers] as const]),
  ] as const)
    batches.forEach((batch, i) => new Walk(manifest, i === 0).entry(name, batch, layer));
  for (const [i, l] of manifest.load.entries()) {
    if (Object.hasOwn(manifest.functions, l.function) && manifest.functions[l.function].inputs.length)
      throw brokenManifest({ why: `load function ${l.function} takes inputs`, at: `load[${i}]` });
    for (const layer of l.layers) new Walk(manifest, true).entry(l.function, undefined, layer);
  }
}

function checkNames(manifest: Manifest, name: string, f: FunctionPlan): void {
  if (f.name !== name) throw brokenManifest({ why: `function ${name} calls itself ${f.name}`, at: `functions.${name}.name` });
  const names = [...f.inputs, ...f.results].map((a) => a.name);
  if (new Set(names).size < names.length)
    throw brokenManifest({ why: `two inputs or results of ${name} have one name`, at: `functions.${name}` });
  // Also in functions that nothing calls: those who read the plan follow these names.
  const follow = (steps: readonly Step[]): void => {
    for (const s of steps) {
      if (s.kind === "kernel" && !Object.hasOwn(manifest.kernels, s.kernel))
        throw brokenManifest({ why: `${name} launches ${s.kernel}, which is not one of its kernels`, at: `functions.${name}` });
      if (s.kind === "call" && !Object.hasOwn(manifest.functions, s.function))
        throw brokenManifest({ why: `${name} calls ${s.function}, which is not one of its functions`, at: `functions.${name}` });
      follow(inside(s));
    }
  };
  follow(f.steps);
}

class Walk {
  private readonly manifest: Manifest;
  private readonly stack: string[] = [];
  /** Launches below a function, by where it was called. */
  private readonly known = new Map<string, number>();

  /** Layers share functions: all are followed once, for their weights, and one of them for the sizes of every batch. */
  private readonly everyLayer: boolean;

  constructor(manifest: Manifest, everyLayer: boolean) {
    [this.manifest, this.everyLayer] = [manifest, everyLayer];
  }

  entry(name: string, batch: BatchShape | undefined, layer: number | undefined): void {
    const largest = largestDims(batch);
    const { T, B, P, S } = largest;
    this.call(name, { layer, loops: [], batch, dims: batch ? { T, B, P, S } : {}, largest }, "entries");
  }

  /** Gives the launches of a call. */
  private call(name: string, c: Context, at: string): number {
    const { functions } = this.manifest;
    if (!Object.hasOwn(functions, name)) throw brokenManifest({ why: `it calls ${name}, which is not one of its functions`, at });
    const key = JSON.stringify([name, this.everyLayer ? c.layer : c.layer === undefined, c.loops, c.dims, c.other]);
    const known = this.known.get(key);
    if (known !== undefined) return known;
    if (this.stack.includes(name)) throw brokenManifest({ why: `${name} calls itself`, at });
    if (this.stack.length === DEEPEST) throw brokenManifest({ why: `calls go deeper than ${DEEPEST}`, at });
    this.stack.push(name);
    const f = functions[name];
    f.slots.forEach((s, i) => this.value(s, c.largest, `functions.${name}.slots[${i}]`));
    const launches = this.steps(f, f.steps, c, `functions.${name}.steps`);
    this.stack.pop();
    this.known.set(key, launches);
    if (launches > MOST_LAUNCHES) throw brokenManifest({ why: `${name} makes more than ${MOST_LAUNCHES} launches`, at });
    return launches;
  }

  private steps(f: FunctionPlan, steps: readonly Step[], c: Context, at: string): number {
    return steps.reduce((n, s, i) => n + this.step(f, s, c, `${at}[${i}]`), 0);
  }

  private step(f: FunctionPlan, s: Step, c: Context, at: string): number {
    if (s.kind === "kernel") return this.launch(f, s, c, at);
    if (s.kind === "call") return this.callStep(f, s, c, at);
    if (s.kind === "collective") return this.meeting(f, s, c, at);
    if (s.kind === "cases") return this.casesStep(f, s, c, at);
    if (c.loops.includes("experts")) throw brokenManifest({ why: "a loop inside a loop over experts", at });
    if (s.over === "sequences") {
      if (!c.batch) throw brokenManifest({ why: "a load function has no sequences", at });
      const { starts, lengths } = c.batch;
      const b = lengths.length - 1;
      return (
        lengths.length *
        this.steps(
          f,
          s.steps,
          { ...c, loops: [...c.loops, "sequences"], dims: { ...c.dims, t: starts[b + 1] - starts[b], s: lengths[b], b } },
          `${at}.steps`,
        )
      );
    }
    const room = this.operand(f, s.offsets, c, `${at}.offsets`, "i32");
    if (!c.other && room < 4 * (s.count + 1))
      throw brokenManifest({
        why: `the offsets of ${s.count} experts take ${4 * (s.count + 1)} bytes, and ${room} are there`,
        at: `${at}.offsets`,
      });
    return (
      s.count *
      this.steps(
        f,
        s.steps,
        {
          ...c,
          loops: [...c.loops, "experts"],
          dims: { ...c.dims, m: Math.max(1, c.batch?.starts.at(-1) ?? 1), e: s.count - 1 },
        },
        `${at}.steps`,
      )
    );
  }

  private casesStep(f: FunctionPlan, s: Step & { kind: "cases" }, c: Context, at: string): number {
    if (c.loops.includes("experts") && onCpu(this.manifest.target))
      throw brokenManifest({ why: "a choice by the rows of an expert, which only a kernel knows", at });
    s.cases.forEach(({ most }, i) => {
      const before = i ? s.cases[i - 1].most : -1;
      if (i + 1 === s.cases.length ? most !== null : most === null || before === null || most <= before)
        throw brokenManifest({ why: "cases go up, and the last takes the rest", at: `${at}.cases[${i}].most` });
    });
    const chosen = s.cases.indexOf(caseOf(s, this.value(s.on, c.dims, `${at}.on`)) as (typeof s.cases)[number]);
    return Math.max(
      ...s.cases.map((one, i) => this.steps(f, one.steps, i === chosen ? c : { ...c, other: true }, `${at}.cases[${i}].steps`)),
    );
  }

  private callStep(f: FunctionPlan, s: Step & { kind: "call" }, c: Context, at: string): number {
    const { functions, model } = this.manifest;
    if (!Object.hasOwn(functions, s.function))
      throw brokenManifest({ why: `it calls ${s.function}, which is not one of its functions`, at: `${at}.function` });
    if (s.layer >= model.cachedLayers)
      throw brokenManifest({
        why: `it calls ${s.function} for layer ${s.layer}, and the model has ${model.cachedLayers}`,
        at: `${at}.layer`,
      });
    const callee = functions[s.function];
    const wanted = [...callee.inputs, ...callee.results];
    const unknown = Object.keys(s.args).find((name) => !wanted.some((w) => w.name === name));
    if (unknown !== undefined) throw brokenManifest({ why: `${s.function} takes no ${unknown}`, at: `${at}.args` });
    for (const arg of wanted) {
      if (!Object.hasOwn(s.args, arg.name))
        throw brokenManifest({ why: `${s.function} is not given ${arg.name}`, at: `${at}.args` });
      const room = this.operand(f, s.args[arg.name], c, `${at}.args.${arg.name}`, arg.dtype);
      const bytes = this.argBytes(arg, c, `functions.${s.function}`);
      if (!c.other && room < bytes)
        throw brokenManifest({
          why: `${arg.name} of ${s.function} takes ${bytes} bytes, and ${room} are there`,
          at: `${at}.args.${arg.name}`,
        });
    }
    return this.call(s.function, { ...c, layer: s.layer }, at);
  }

  /** Ranks meet: operands and results have room for what is said of them. */
  private meeting(f: FunctionPlan, s: CollectiveStep, c: Context, at: string): number {
    const { mesh } = this.manifest;
    if (!mesh) throw brokenManifest({ why: `${s.op} is for several ranks, and the artifact is for one`, at });
    if (c.loops.length) throw brokenManifest({ why: "ranks meet inside a loop, which need not run as often on each", at });
    const [outer, inner] = [this.value(s.outer, c.dims, `${at}.outer`), this.value(s.inner, c.dims, `${at}.inner`)];
    const wanted = operandsOf(s, outer, inner, mesh.tp);
    if (s.args.length !== wanted.length)
      throw brokenManifest({
        why: `${s.op} has ${wanted.length} operands and results, and ${s.args.length} are given`,
        at: `${at}.args`,
      });
    for (const [i, { elements, dtype }] of wanted.entries()) {
      const room = this.operand(f, s.args[i], c, `${at}.args[${i}]`, dtype);
      if (!c.other && room < elements * dtypeBytes[dtype])
        throw brokenManifest({
          why: `${s.op} needs ${elements} elements there, and ${room} bytes are there`,
          at: `${at}.args[${i}]`,
        });
    }
    if (s.op === "own_experts" && (s.experts === undefined || s.width === undefined || mesh.tp % s.width !== 0))
      throw brokenManifest({ why: "own_experts says how many experts a rank has, and how many ranks have the same", at });
    return 1;
  }

  private launch(f: FunctionPlan, s: Step & { kind: "kernel" }, c: Context, at: string): number {
    const { kernels } = this.manifest;
    if (!Object.hasOwn(kernels, s.kernel))
      throw brokenManifest({ why: `it launches ${s.kernel}, which is not one of its kernels`, at: `${at}.kernel` });
    const record = kernels[s.kernel];
    const buffers = boundBuffers(record.params);
    if (s.args.length !== buffers.length)
      throw brokenManifest({
        why: `${s.kernel} takes ${buffers.join(", ")}, and ${s.args.length} operands are given`,
        at: `${at}.args`,
      });
    if (s.dims.length !== record.dims.length)
      throw brokenManifest({
        why: `${s.kernel} takes the dims ${record.dims.join(", ")}, and ${s.dims.length} are given`,
        at: `${at}.dims`,
      });
    const own: Record<string, number> = {};
    s.dims.forEach((d, i) => (own[record.dims[i]] = this.value(d, c.dims, `${at}.dims[${i}]`)));
    const bytes = s.args.reduce(
      (n, ref, i) =>
        n +
        this.operand(
          f,
          ref,
          c,
          `${at}.args[${i}]`,
          dtypeOf(record, buffers[i]),
          record.params.find((p) => p.name === buffers[i]),
        ),
      0,
    );
    if (record.cells !== undefined) {
      const cells = this.value(record.cells, own, `kernels.${s.kernel}.cells`);
      if (!c.other && cells > CELLS_PER_BYTE * bytes)
        throw brokenManifest({
          why: `${s.kernel} has ${cells} cells for ${bytes} bytes of operands`,
          at: `kernels.${s.kernel}.cells`,
        });
    }
    return 1;
  }

  /** Checks an operand; gives the bytes from its first one on. */
  private operand(f: FunctionPlan, ref: Ref, c: Context, at: string, dtype: string | undefined, param?: Param): number {
    const { bytes, seen } = this.base(f, ref, c, at);
    if (dtype !== undefined && seen !== undefined && seen !== dtype)
      throw brokenManifest({ why: `the operand is ${seen}, and ${dtype} is read there`, at });
    const constant = "weight" in ref || "batch" in ref;
    if (constant && param?.kind === "buffer" && param.access !== "in")
      throw brokenManifest({ why: `${param.name} is written, and the operand is never`, at });
    if (ref.rowBytes && c.loops.length === 0)
      throw brokenManifest({ why: "rows of a slice outside every loop", at: `${at}.rowBytes` });
    if (ref.expertBytes && !c.loops.includes("experts"))
      throw brokenManifest({ why: "an expert's part outside every loop over experts", at: `${at}.expertBytes` });
    const first = c.loops.includes("experts") ? 0 : c.loops.length ? c.batch!.starts[c.dims.b] : 0;
    const offset = ref.offset === undefined ? 0 : this.value(ref.offset, c.dims, `${at}.offset`);
    const from = offset + first * (ref.rowBytes ?? 0) + (c.dims.e ?? 0) * (ref.expertBytes ?? 0);
    const unit = dtypeBytes[dtype ?? seen ?? "e4m3"];
    if (offset % unit || (ref.rowBytes ?? 0) % unit || (ref.expertBytes ?? 0) % unit)
      throw brokenManifest({ why: `it begins inside an element of ${dtype ?? seen}`, at });
    if (!c.other && from >= bytes) throw brokenManifest({ why: `it begins at byte ${from} of ${bytes}`, at });
    return bytes - from;
  }

  private base(f: FunctionPlan, ref: Ref, c: Context, at: string): { bytes: number; seen: string | undefined } {
    const { model } = this.manifest;
    if ("slot" in ref) {
      if (ref.slot >= f.slots.length) throw brokenManifest({ why: `${f.name} has ${f.slots.length} slots`, at: `${at}.slot` });
      return { bytes: this.value(f.slots[ref.slot], c.largest, `${at}.slot`), seen: undefined };
    }
    if ("arg" in ref) {
      const arg = [...f.inputs, ...f.results].find((a) => a.name === ref.arg);
      if (!arg) throw brokenManifest({ why: `${f.name} has no input or result ${ref.arg}`, at: `${at}.arg` });
      return { bytes: this.argBytes(arg, c, `functions.${f.name}`), seen: arg.dtype };
    }
    if ("weight" in ref) return this.weight(ref, c, at);
    if (!c.batch) throw brokenManifest({ why: "a load function has no batch and no cache", at });
    if ("batch" in ref) return { bytes: 4 * tableCount(ref.batch, c.batch), seen: "i32" };
    if ((c.layer ?? 0) >= model.cachedLayers) throw brokenManifest({ why: `layer ${c.layer} has no cache`, at });
    if (!Object.hasOwn(model.caches, ref.cache))
      throw brokenManifest({ why: `the model has no cache ${ref.cache}`, at: `${at}.cache` });
    const { width, dtype } = model.caches[ref.cache];
    return { bytes: c.batch.lengths.length * c.batch.pages * model.pageRows * width * dtypeBytes[dtype], seen: dtype };
  }

  private weight(
    ref: Ref & { weight: string; part: "data" | "scales" },
    c: Context,
    at: string,
  ): { bytes: number; seen: string } {
    const { weights } = this.manifest;
    if (!Object.hasOwn(weights, ref.weight))
      throw brokenManifest({ why: `there is no weight ${ref.weight}`, at: `${at}.weight` });
    const plan = weights[ref.weight];
    if (plan.layers && plan.layers.length > 1 && (c.layer === undefined || !plan.layers.includes(c.layer)))
      throw brokenManifest({
        why: `${ref.weight} has no instance for ${c.layer === undefined ? "a step outside every layer" : `layer ${c.layer}`}`,
        at: `${at}.weight`,
      });
    if (plan.staging && c.batch) throw brokenManifest({ why: `${ref.weight} is there while loading only`, at: `${at}.weight` });
    if (ref.part === "scales" && plan.dtype !== "e4m3/128x128")
      throw brokenManifest({ why: `${ref.weight} is ${plan.dtype}: it has no scales`, at: `${at}.part` });
    return { bytes: partBytes(plan)[ref.part], seen: ref.part === "scales" ? "f32" : plan.dtype.split("/")[0] };
  }

  private argBytes(arg: ArgPlan, c: Context, at: string): number {
    return arg.shape.reduce<number>((n, s) => n * this.value(s, c.largest, at), dtypeBytes[arg.dtype]);
  }

  /** A size there: a whole number that an i32, or for bytes a double, holds. */
  private value(s: Size, dims: Dims, at: string): number {
    let n: number;
    try {
      n = evaluate(s, dims);
    } catch (e) {
      throw brokenManifest({ why: (e as Error).message, at });
    }
    if (!Number.isSafeInteger(n) || n < 0) throw brokenManifest({ why: `the size is ${n}`, at });
    return n;
  }
}

/** The dtype a kernel reads a buffer as: of the parameter, or of the descriptors that lie over it. */
const dtypeOf = (k: KernelRecord, buffer: string): string | undefined =>
  k.params.find((p) => (p.kind === "buffer" && p.name === buffer) || (p.kind === "tensormap" && p.of === buffer))?.dtype;
