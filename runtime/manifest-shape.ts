// The form of manifest.json: every member of every record, its type and its range. What the numbers and names refer to is
// manifest-program.ts; together they are what DSC5005 promises.
import {
  collectives,
  targets,
  type CpuFacts,
  type ArgPlan,
  type FunctionPlan,
  type GpuFacts,
  type BufferView,
  type Edit,
  type EditProof,
  type KernelRecord,
  type Manifest,
  type ModelFacts,
  type Piece,
  type Share,
  type Source,
  type Step,
  type WeightPlan,
} from "../ir/artifact.ts";
import type { LibraryArg, LibraryCall } from "../ir/library-call.ts";
import { MOST_RANKS, type Mesh } from "../ir/mesh.ts";
import type { Launch, Param } from "../ir/kernel/catalogue.ts";
import { FORMAT } from "./manifest-text.ts";
import {
  boolean,
  either,
  finite,
  list,
  map,
  matching,
  maybe,
  members,
  object,
  oneOf,
  orNull,
  text,
  union,
  whole,
  wrong,
  type Check,
} from "./schema.ts";

/** Deepest nesting of sizes, and of steps inside steps: those of R1 nest four deep. */
const DEEPEST = 32;
/** Largest number a kernel is given: its parameters are i32. */
const MOST = 2 ** 31 - 1;

const binary = new Set(["div", "ceildiv"]);

/** ir/size.ts: a whole number, a symbol, or an operation over sizes. */
const sizeAt =
  (depth: number): Check =>
  (v, at) => {
    if (typeof v === "number") return whole()(v, at);
    if (typeof v === "string") return matching(/^[A-Za-z]\w{0,31}$/, "a number or a symbol such as T")(v, at);
    if (depth === DEEPEST) wrong(at, v, `sizes nested less than ${DEEPEST} deep`);
    object<{ op: string; of: unknown[] }>({
      op: oneOf("add", "mul", "ceildiv", "div", "max", "min"),
      of: list(sizeAt(depth + 1), 1, 64),
    })(v, at);
    const { op, of } = v as { op: string; of: unknown[] };
    if (binary.has(op) && of.length !== 2) wrong(`${at}.of`, of, `the two sizes of ${op}`);
  };
const size = sizeAt(0);

const model = object<ModelFacts>({
  architecture: text,
  vocab: whole(1, MOST),
  hidden: whole(1, MOST),
  layers: whole(1, 10_000),
  cachedLayers: whole(1, 10_000),
  caches: map(object<ModelFacts["caches"][string]>({ width: whole(1, MOST), dtype: oneOf("f32", "bf16") })),
  pageRows: whole(1, 65536),
  maxPositions: whole(1, MOST),
  bos: orNull(whole()),
  eos: list(whole()),
  experts: orNull(object<NonNullable<ModelFacts["experts"]>>({ count: whole(1, MOST), perToken: whole(1, MOST) })),
});

const meshAxis = oneOf("tp", "ep", "etp");
const span = list(whole(), 2, 2);
const piece = object<Piece>({
  at: list(
    either((v) => typeof v === "number", whole(), matching(/^(\*|\d{1,9}\.\.\d{1,9})$/, 'an index, "*" or "0..8"')),
    0,
    8,
  ),
  tensor: text,
  scales: maybe(text),
  rows: maybe(span),
  columns: maybe(span),
  share: maybe(object<Share>({ experts: maybe(meshAxis), rows: maybe(meshAxis), columns: maybe(meshAxis) })),
  part: maybe(object<NonNullable<Piece["part"]>>({ of: oneOf("rows", "columns"), index: whole(), count: whole(1, 1024) })),
});

const weight = object<WeightPlan>({
  dtype: oneOf("f32", "bf16", "e4m3/128x128"),
  shape: list(whole(1), 1, 8),
  layers: orNull(list(whole(0, 10_000), 1)),
  source: union("kind", {
    checkpoint: object<Extract<Source, { kind: "checkpoint" }>>({ kind: text, pieces: list(piece, 1) }),
    computed: object<Extract<Source, { kind: "computed" }>>({ kind: text, by: text, result: text }),
    rope: object<Extract<Source, { kind: "rope" }>>({ kind: text, invFreq: list(finite, 1), factor: finite }),
  }),
  staging: maybe(boolean),
});

const bases: Readonly<Record<string, Check>> = {
  slot: whole(),
  arg: text,
  weight: text,
  batch: oneOf("positions", "sequence", "starts", "lengths", "pages", "ids"),
  cache: text,
};
const refs = Object.fromEntries(
  Object.entries(bases).map(([key, check]) => [
    key,
    members({
      [key]: check,
      ...(key === "weight" ? { part: oneOf("data", "scales") } : {}),
      offset: maybe(size),
      rowBytes: maybe(whole()),
      expertBytes: maybe(whole()),
    }),
  ]),
);
const ref: Check = (v, at) => {
  const base = typeof v === "object" && v !== null ? Object.keys(bases).filter((key) => Object.hasOwn(v, key)) : [];
  if (base.length !== 1) wrong(at, v, "an operand: one of slot, arg, weight, batch or cache");
  refs[base[0]](v, at);
};

type Of<K extends Step["kind"]> = Extract<Step, { kind: K }>;
const stepsAt =
  (depth: number): Check =>
  (v, at) =>
    depth === DEEPEST ? wrong(at, v, `steps nested less than ${DEEPEST} deep`) : list(stepAt(depth), 0, 100_000)(v, at);
const stepChecks: Check[] = [];
const stepAt = (depth: number): Check => (stepChecks[depth] ??= makeStep((v, at) => stepsAt(depth + 1)(v, at)));
const makeStep = (inner: Check): Check =>
  union("kind", {
    kernel: object<Of<"kernel">>({ kind: text, kernel: text, args: list(ref), dims: list(size), site: text }),
    call: object<Of<"call">>({ kind: text, function: text, layer: whole(0, 10_000), args: map(ref) }),
    collective: object<Of<"collective">>({
      kind: text,
      op: oneOf(...collectives),
      dtype: oneOf("f32", "bf16", "i32"),
      args: list(ref, 2, 4),
      outer: size,
      inner: size,
      experts: maybe(whole(1, MOST)),
      width: maybe(whole(1, MOST_RANKS)),
      site: text,
    }),
    cases: object<Of<"cases">>({
      kind: text,
      on: size,
      cases: list(object<Of<"cases">["cases"][number]>({ most: orNull(whole()), steps: inner }), 1, 10_000),
    }),
    slices: union("over", {
      sequences: object<Extract<Step, { over: "sequences" }>>({ kind: text, over: text, steps: inner }),
      experts: object<Extract<Step, { over: "experts" }>>({
        kind: text,
        over: text,
        offsets: ref,
        count: whole(1, MOST),
        steps: inner,
      }),
    }),
  });

const arg = object<ArgPlan>({ name: text, dtype: oneOf("f32", "bf16", "i32"), shape: list(size, 0, 8) });
const func = object<FunctionPlan>({ name: text, inputs: list(arg), results: list(arg), slots: list(size), steps: stepsAt(0) });

type ParamOf<K extends Param["kind"]> = Extract<Param, { kind: K }>;
const param = union("kind", {
  buffer: object<ParamOf<"buffer">>({
    kind: text,
    name: text,
    dtype: oneOf("f32", "bf16", "e4m3", "i32"),
    access: oneOf("in", "out", "inout"),
  }),
  scalar: object<ParamOf<"scalar">>({ kind: text, name: text, dtype: oneOf("i32", "f32") }),
  tensormap: object<ParamOf<"tensormap">>({
    kind: text,
    name: text,
    of: text,
    dtype: oneOf("bf16", "e4m3", "f32"),
    dims: list(size, 1, 5),
    strides: list(size, 0, 4),
    box: list(whole(1, 256), 1, 5),
    swizzle: oneOf(0, 32, 64, 128),
  }),
});
const launch = object<Launch>({
  grid: list(size, 3, 3),
  block: whole(1, 1024),
  sharedBytes: whole(),
  cluster: maybe(list(whole(1, 16), 3, 3)),
  pdl: maybe(boolean),
  early: maybe(list(text)),
  chained: maybe(list(text)),
  nulls: maybe(whole(0, 16)),
});
type LibraryArgOf<K extends LibraryArg["kind"]> = Extract<LibraryArg, { kind: K }>;
const absolute = matching(/^(\/|[A-Za-z]:[\\/])/, "the absolute path of a library");
const call = object<LibraryCall>({
  library: absolute,
  sha256: matching(/^[0-9a-f]{64}$/, "a sha256 in hexadecimal"),
  function: text,
  before: maybe(list(absolute, 1, 16)),
  align: maybe(whole(1, 4096)),
  capture: maybe(boolean),
  args: list(
    union("kind", {
      tensor: object<LibraryArgOf<"tensor">>({
        kind: text,
        dtype: oneOf("f32", "bf16", "e4m3", "i32"),
        access: oneOf("in", "out", "inout"),
        shape: list(size, 0, 8),
        strides: list(size, 0, 8),
      }),
      int: object<LibraryArgOf<"int">>({ kind: text, value: size }),
      float: object<LibraryArgOf<"float">>({ kind: text, value: finite }),
      bool: object<LibraryArgOf<"bool">>({ kind: text, value: boolean }),
      text: object<LibraryArgOf<"text">>({ kind: text, value: text }),
      none: object<LibraryArgOf<"none">>({ kind: text }),
    }),
    0,
    256,
  ),
});
const kernel = object<KernelRecord>({
  text,
  binary: maybe(text),
  entry: text,
  family: text,
  params: list(param),
  dims: list(text),
  views: maybe(map(object<BufferView>({ shape: list(size), strides: list(size) }))),
  cells: maybe(size),
  scratchBytes: maybe(whole(0, MOST)),
  launch: maybe(launch),
  workspaceBytes: maybe(size),
  call: maybe(call),
});

const edit = object<Edit>({
  original: kernel,
  held: maybe(object<EditProof>({ on: oneOf("cpu", "gpu", "host"), where: text, trials: whole(1), error: finite })),
  forced: maybe(text),
});

const digest = matching(/^[0-9a-f]{64}$/, "a sha256 in hexadecimal");

/** Throws DSC5005 unless a value is a manifest in form. */
export function checkShape(value: unknown): asserts value is Manifest {
  object<Manifest>({
    format: oneOf(FORMAT),
    compiler: text,
    target: oneOf(...targets),
    gpu: maybe(
      object<GpuFacts>({
        arch: matching(/^sm_\d{2,3}[a-z]?$/, "an architecture such as sm_90a"),
        sharedPerBlock: whole(1, MOST),
      }),
    ),
    cpu: maybe(
      object<CpuFacts>({
        processor: text,
        arch: oneOf("x64", "arm64"),
        lanes: whole(1, 64),
        flags: list(text),
        requires: list(text),
        library: text,
        compiler: text,
      }),
    ),
    options: map((v, at) => (typeof v === "string" ? undefined : boolean(v, at))),
    model,
    weights: map(weight),
    kernels: map(kernel),
    functions: map(func),
    mesh: maybe(object<Mesh>({ tp: whole(1, MOST_RANKS), ep: whole(1, MOST_RANKS) })),
    system: maybe(map(kernel)),
    edits: maybe(map(edit)),
    entries: object<Manifest["entries"]>({ prefill: text, extend: text, decode: text, draft: maybe(text) }),
    load: list(object<Manifest["load"][number]>({ function: text, layers: list(whole(0, 10_000), 1) })),
    files: map(digest),
  })(value, "");
}
