// Functions of other libraries as kernels: a plug-in says which op a function serves and what it is called with; whatever the target is,
// it is asked before the target's own kernels.
import type { Arg, Catalogue, Choice, Chosen, Instead, Site, View } from "../ir/kernel/catalogue.ts";
import { scaleShape } from "../ir/dtype.ts";
import type { LibraryArg, LibraryCall } from "../ir/library-call.ts";
import { ceildiv, mul, type Size } from "../ir/size.ts";
import type { Built, TargetBackend } from "./backend.ts";
import type { Case, Refusal } from "./family.ts";
import { composed } from "./parts.ts";

/** What one argument of a call is made of: an operand or a result of the op, memory for the call alone, or a value. */
export type Passed =
  /** Its own extents and strides unless `shape` says others, which are packed. */
  | (Extract<Arg, { in: number } | { out: number }> & { shape?: readonly Size[] })
  | Extract<Arg, { scratch: string }>
  | { int: Size }
  | { float: number }
  | { bool: boolean }
  | { text: string }
  | null;

/** A function of a shared library that serves ops. */
export interface LibraryFunction {
  /** Names its kernels in artifacts and timings; no other kernel has the name. */
  readonly name: string;
  /** Names of the ops that it serves. */
  readonly serves: readonly string[];
  /** Where it computes: memory of the host, or a CUDA device and the current stream. */
  readonly on: "cpu" | "cuda";
  /** The library: absolute, or from the plug-in's own folder. */
  readonly library: string;
  /** The name that it exports as `__tvm_ffi_NAME`. */
  readonly function: string;
  /** Libraries whose symbols it takes for granted: TVM's runtime for what TVM compiled. */
  readonly before?: readonly string[];
  /** Bytes at whose multiples its tensors have to begin, where that is more than an element. */
  readonly align?: number;
  /** `on: "cuda"`: its launches may be recorded into a CUDA graph; it neither allocates nor waits then. */
  readonly capture?: boolean;
  /** What it is called with at a site of one of these ops, or why it does not take the site. */
  pass(site: Site): readonly Passed[] | Refusal;
  /** What it is tried on before it is used. */
  readonly cases: readonly Case[];
  /** Set by `libraryFunction`: where it was declared. */
  readonly declared?: Error;
}

/** Declares a function of a library that serves ops. */
export const libraryFunction = (f: LibraryFunction): LibraryFunction =>
  Object.freeze({ ...f, declared: new Error(`${f.name} is declared here`) });

/** One whose library was found, and is known by its digest. */
export interface FoundFunction extends LibraryFunction {
  readonly sha256: string;
}

/** The launch of a function at a site, or why it takes none. */
export function calledAt(f: FoundFunction, site: Site): Chosen | Refusal {
  const passed = f.pass(site);
  if ("reason" in passed) return passed;
  const dims = new Dims();
  const args = passed.map((p) => argOf(p, site, dims));
  const call: LibraryCall = {
    library: f.library,
    sha256: f.sha256,
    function: f.function,
    ...(f.before?.length ? { before: [...f.before] } : {}),
    ...(f.align === undefined ? {} : { align: f.align }),
    ...(f.capture ? { capture: true } : {}),
    args,
  };
  const buffers = passed.flatMap((p): Arg[] => (p !== null && ("in" in p || "out" in p || "scratch" in p) ? [bufferOf(p)] : []));
  return { family: f.name, problem: call, args: buffers, dims: dims.sizes };
}

/** The sizes of a site that are no numbers, by names of their own. */
class Dims {
  readonly sizes: Size[] = [];

  named(s: Size): Size {
    if (typeof s === "number") return s;
    const key = JSON.stringify(s);
    const at = this.sizes.findIndex((x) => JSON.stringify(x) === key);
    return `n${at < 0 ? this.sizes.push(s) - 1 : at}`;
  }
}

const bufferOf = (p: Extract<Passed, { in: number } | { out: number } | { scratch: string }>): Arg => {
  if ("scratch" in p) return p;
  const { shape: _, ...arg } = p;
  return arg;
};

const packedStrides = (shape: readonly Size[]): Size[] => shape.map((_, axis) => mul(...shape.slice(axis + 1)));

function argOf(p: Passed, site: Site, dims: Dims): LibraryArg {
  if (p === null) return { kind: "none" };
  if ("int" in p) return { kind: "int", value: dims.named(p.int) };
  if ("float" in p) return { kind: "float", value: p.float };
  if ("bool" in p) return { kind: "bool", value: p.bool };
  if ("text" in p) return { kind: "text", value: p.text };
  const { dtype, shape, strides } = "scratch" in p ? { ...p, strides: packedStrides(p.shape) } : viewOf(p, site);
  const access = "in" in p ? "in" : "out" in p ? "out" : "inout";
  return { kind: "tensor", dtype, access, shape: shape.map((s) => dims.named(s)), strides: strides.map((s) => dims.named(s)) };
}

function viewOf(p: Extract<Passed, { in: number } | { out: number }>, site: Site): Pick<View, "dtype" | "shape" | "strides"> {
  const view = "in" in p ? site.ins[p.in] : site.outs[p.out];
  const shape = p.shape ?? (p.part === "scales" ? scaleShape(view.shape, view.scaled!, ceildiv) : undefined);
  if (shape === undefined) return view;
  return { dtype: p.part === "scales" ? "f32" : view.dtype, shape: [...shape], strides: packedStrides(shape) };
}

/** A target whose sites are offered to functions of libraries first. */
export function withFunctions(target: TargetBackend, functions: readonly FoundFunction[]): TargetBackend {
  if (functions.length === 0) return target;
  const aligned = (c: Catalogue): Catalogue => ({
    ...c,
    align: Math.max(c.align ?? 1, ...functions.map((f) => f.align ?? 1)),
    choose: chooserOf(c.choose, functions),
  });
  const own = (family: string): boolean => functions.some((f) => f.name === family);
  return {
    ...target,
    catalogue: aligned(target.catalogue),
    ...(target.batchInvariant
      ? { batchInvariant: { ...target.batchInvariant, catalogue: aligned(target.batchInvariant.catalogue) } }
      : {}),
    problemsOf(family, site) {
      const f = functions.find((x) => x.name === family);
      if (!f) return target.problemsOf(family, site);
      const call = calledAt(f, site);
      return "reason" in call ? [] : [call.problem];
    },
    build: (family, problem, use) =>
      own(family) ? builtCall(family, problem as LibraryCall) : target.build(family, problem, use),
    sourceOf: (family, problem) => (own(family) ? textOf(family, problem as LibraryCall) : target.sourceOf(family, problem)),
  };
}

/** The first function that takes a site; else, where one serves a part of it, its parts; else the target's own, which says why. */
function chooserOf(otherwise: Catalogue["choose"], functions: readonly FoundFunction[]): Catalogue["choose"] {
  const own = (site: Site): { calls: Chosen[] } | { instead: Instead[] } => {
    const instead: Instead[] = [];
    for (const f of functions.filter((x) => x.serves.includes(site.op))) {
      const call = calledAt(f, site);
      if (!("reason" in call)) return { calls: [call] };
      instead.push({ family: f.name, reason: call.reason });
    }
    return { instead };
  };
  return (site) => {
    const first = own(site);
    if ("calls" in first) return first.calls;
    let taken = false;
    const parts = composed(site, (part): Choice | Refusal => {
      const of = own(part);
      taken ||= "calls" in of;
      return "calls" in of ? of.calls : otherwise(part);
    });
    return parts && taken ? parts : saying(otherwise(site), first.instead);
  };
}

/** Launches that say why functions do not serve there. */
function saying(choice: Choice | Refusal, instead: readonly Instead[]): Choice | Refusal {
  if ("reason" in choice || instead.length === 0) return choice;
  const said = (list: readonly Chosen[]): Chosen[] => list.map((c) => ({ ...c, instead: [...instead, ...(c.instead ?? [])] }));
  return "on" in choice
    ? { on: choice.on, cases: choice.cases.map((c) => ({ ...c, launches: said(c.launches) })) }
    : said(choice);
}

/** How many dims a call has: the highest that it names. */
const dimsOf = (call: LibraryCall): string[] => {
  const sizes = call.args.flatMap((a) => (a.kind === "tensor" ? [...a.shape, ...a.strides] : a.kind === "int" ? [a.value] : []));
  const names = sizes.flatMap((s) => (typeof s === "string" ? [Number(s.slice(1))] : []));
  return Array.from({ length: Math.max(-1, ...names) + 1 }, (_, i) => `n${i}`);
};

/** A call as it goes into the artifact: a text that says what is called, and the record. */
export function builtCall(family: string, call: LibraryCall): Built {
  const text = textOf(family, call);
  return {
    name: family,
    text,
    textType: "txt",
    segments: [{ line: 0, kind: "entry" }],
    record: { entry: call.function, family, params: paramsOf(call), dims: dimsOf(call), cells: 1, scratchBytes: 0, call },
  };
}

/** Buffers by the number of their argument. */
const paramsOf = (call: LibraryCall): Built["record"]["params"] =>
  call.args.flatMap((a, i) =>
    a.kind === "tensor" ? [{ kind: "buffer" as const, name: `a${i}`, dtype: a.dtype, access: a.access }] : [],
  );

const sizes = (list: readonly Size[]): string => `[${list.map((s) => String(s)).join(", ")}]`;

function argText(a: LibraryArg): string {
  if (a.kind === "tensor") return `tensor ${a.dtype} ${sizes(a.shape)} ${a.access}, strides ${sizes(a.strides)}`;
  return a.kind === "none" ? "none" : `${a.kind} ${JSON.stringify(a.value)}`;
}

function textOf(family: string, call: LibraryCall): string {
  const before = (call.before ?? []).map((b) => `with ${b} opened before it\n`).join("");
  const args = call.args.map((a) => `  ${argText(a)}\n`).join("");
  return `${family}: calls __tvm_ffi_${call.function} of ${call.library}\nsha256 ${call.sha256}\n${before}${call.function}(\n${args})\n`;
}
