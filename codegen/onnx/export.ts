// A module as one ONNX graph that serves any number of new rows on a cached prefix of any length, none included: the model's `extend`.
//   input_ids [1, T] i64, past.N [1, S, r + d]   ->   logits [1, T, V] f32, present.N [1, S + T, r + d], for every layer N
// Layers are written out one after another; what ONNX has no operator for are functions of ai.dsc, with bodies.
import { partsOf } from "../../ir/fused.ts";
import { topological, type Module, type Node, type Value, type WeightDecl } from "../../ir/graph.ts";
import { callOf } from "../../ir/ops/index.ts";
import { asTensor } from "../../ir/types.ts";
import { attentions } from "./attention.ts";
import { keptOf, keyOf, type Kept } from "./caches.ts";
import { dense } from "./dense.ts";
import { cannotSay, noEntry } from "./diagnostics.ts";
import { expertOps } from "./experts.ts";
import { Functions } from "./functions.ts";
import { gates } from "./gated.ts";
import { elemOf, type Emitted, type Lower, type Lowering, type Step } from "./lowering.ts";
import { DOMAIN, elem, encoded, IR_VERSION, OPSET, valueInfo, type ModelProto } from "./proto.ts";
import { Scope } from "./scope.ts";
import { rotary, stepOf } from "./step.ts";
import { views } from "./views.ts";
import { Weights, type Find } from "./weights.ts";

export interface ExportOptions {
  /** Where the bytes of a checkpoint's tensor lie. */
  find: Find;
  /** Compute in f32, whatever activations and weights are: CPU runtimes have no kernels for bf16. */
  portable: boolean;
  /** Who made an op that cannot be said, such as "pass add-norm made it". */
  maker?: (op: string) => string | undefined;
  version: string;
  /** What the file says of itself. */
  doc: string;
}

const lowerings: ReadonlyMap<string, Lower> = new Map(
  Object.entries({ ...dense, ...gates, ...views, ...attentions, ...expertOps }),
);

/** Whether an op has a form in ONNX, of its own or of its parts. */
export const canSay = (op: string): boolean => lowerings.has(op);

/** The graph as an ONNX record; throws a DiagnosticError for what cannot be said. */
export const onnxModel = (module: Module, options: ExportOptions): ModelProto => new Exporter(module, options).model();

/** The same as the bytes of an .onnx file. */
export const onnxFile = (module: Module, options: ExportOptions): Promise<Uint8Array> => encoded(onnxModel(module, options));

/** A value that is no tensor: the batch table, and the cache that main functions hand from layer to layer. */
const nothing: Emitted = { name: "", elem: elem.INT64 };

/** Where values of one function are: what they became, and for which layer. */
interface Frame {
  func: string;
  layer: number | null;
  /** How names begin: "layers.3/". */
  prefix: string;
  values: Map<Value, Emitted>;
  at: Lowering;
}

class Exporter {
  readonly #module: Module;
  readonly #options: ExportOptions;
  readonly #scope = new Scope();
  readonly #functions = new Functions();
  readonly #weights: Weights;
  readonly #made = new Map<string, Emitted>();
  readonly #past = new Map<string, Emitted>();
  readonly #present = new Map<string, Emitted>();
  #step: Step = { positions: "", mask: "" };

  constructor(module: Module, options: ExportOptions) {
    this.#module = module;
    this.#options = options;
    this.#weights = new Weights(options.find);
  }

  model(): ModelProto {
    const main = this.#module.funcs.get(this.#module.entries.extend);
    const logits = main?.results.find((r) => r.name === "logits");
    if (!main || !logits || !main.params.some((p) => p.name === "ids")) throw noEntry({ entry: "extend" });
    const kept = keptOf(main);
    if (kept.length === 0) throw noEntry({ entry: "extend" });
    const s = this.#scope;
    for (const name of ["input_ids", ...kept.map((k) => k.past), "logits", ...kept.map((k) => k.present)]) s.reserve(name);
    const ids: Emitted = { name: s.op("Squeeze", ["input_ids", s.ints([0])], {}, "ids"), elem: elem.INT64 };
    for (const k of kept) {
      const name = s.op("Squeeze", [k.past, s.ints([0])], {}, `${k.past}.rows`);
      this.#past.set(k.key, { name, elem: elemOf(this.#lowering(s), k.type.dtype) });
    }
    this.#step = stepOf(s, ids.name, this.#past.get(kept[0].key)!.name);
    const values = new Map(main.params.map((p) => [p.value, p.name === "ids" ? ids : nothing]));
    const [out] = this.#values([logits.value], { func: main.name, layer: null, prefix: "", values, at: this.#lowering(s) });
    s.node("Unsqueeze", [s.cast(out.name, out.elem, elem.FLOAT), s.ints([0])], {}, ["logits"]);
    for (const { key, present } of kept) {
      const rows = this.#present.get(key) ?? this.#past.get(key)!;
      s.node("Unsqueeze", [rows.name, s.ints([0])], {}, [present]);
    }
    return this.#record(kept, asTensor(logits.value.type).dims[1]);
  }

  #record(kept: readonly Kept[], vocab: number | string): ModelProto {
    const { doc, version } = this.#options;
    const cacheInfo = (k: Kept, name: string, rows: string): ReturnType<typeof valueInfo> =>
      valueInfo(name, this.#past.get(k.key)!.elem, [1, rows, k.type.width]);
    return {
      irVersion: IR_VERSION,
      opsetImport: [
        { domain: "", version: OPSET },
        { domain: DOMAIN, version: 1 },
      ],
      producerName: "dsc",
      producerVersion: version,
      graph: {
        name: this.#module.name,
        docString: doc,
        node: this.#scope.nodes,
        initializer: [...this.#weights.initializers, ...this.#scope.constants],
        input: [valueInfo("input_ids", elem.INT64, [1, "T"]), ...kept.map((k) => cacheInfo(k, k.past, "S"))],
        output: [valueInfo("logits", elem.FLOAT, [1, "T", vocab]), ...kept.map((k) => cacheInfo(k, k.present, "S + T"))],
      },
      functions: this.#functions.all,
    };
  }

  #lowering(s: Scope): Lowering {
    return {
      s,
      functions: this.#functions,
      step: this.#step,
      portable: this.#options.portable,
      region: () => [],
      value: () => nothing,
    };
  }

  /** Values of a frame, and all that they are made of. */
  #values(wanted: readonly Value[], frame: Frame): Emitted[] {
    const { values } = frame;
    const nodes = topological(wanted, (v) => values.has(v));
    const read = new Set([...nodes.flatMap((n) => n.operands), ...wanted]);
    for (const n of nodes) {
      const out = n.leaf ? [this.#leaf(n, frame)] : this.#node(n, frame, read);
      for (const [i, r] of n.results.entries()) if (out[i]) values.set(r, out[i]);
    }
    return wanted.map((v) => values.get(v)!);
  }

  #leaf(n: Node, frame: Frame): Emitted {
    if (n.leaf!.kind !== "weight") throw new TypeError(`nothing is bound to the parameter ${n.leaf!.name}`);
    const decl = this.#module.weights.get(n.leaf!.name)!;
    const layer = decl.layers ? frame.layer : null;
    const key = `${decl.name} ${layer}`;
    const made = this.#made.get(key) ?? this.#weight(decl, layer);
    this.#made.set(key, made);
    return made;
  }

  /** A weight belongs to the whole graph, whoever reads it. */
  #weight(decl: WeightDecl, layer: number | null): Emitted {
    const { source } = decl;
    const at = { ...this.#lowering(this.#scope), step: this.#step };
    if (source.kind === "checkpoint") return at.s.within("", () => this.#weights.of(at, decl, layer));
    if (source.kind === "rope")
      return { ...nothing, rotary: at.s.within("rope/", () => rotary(at, source.invFreq, source.factor)) };
    const f = this.#module.funcs.get(source.by)!;
    const result = f.results.find((r) => r.name === source.result)!;
    return this.#values([result.value], { func: f.name, layer, prefix: `${decl.name}/`, values: new Map(), at })[0];
  }

  #node(n: Node, frame: Frame, read: ReadonlySet<Value>): (Emitted | undefined)[] {
    const ins = n.operands.map((v) => frame.values.get(v)!);
    const called = callOf(n);
    if (called) return this.#call(called.func, called.layer < 0 ? frame.layer : called.layer, n, ins, read, frame);
    const lower = lowerings.get(n.op.name);
    const named = n.graph.nameOf(n.results[0]);
    const prefix = named === undefined ? frame.prefix : `${frame.prefix}${named}/`;
    if (lower) {
      const at: Lowering = {
        ...frame.at,
        step: this.#step,
        region: (node, params, within, captured) => this.#region(node, params, within, frame, captured),
        value: (v) => this.#values([v], frame)[0],
      };
      return at.s.within(prefix, () => lower(at, n, ins));
    }
    if (!n.op.of)
      throw cannotSay({
        op: n.op.name,
        site: frame.func,
        by: this.#options.maker?.(n.op.name) ?? "a plug-in or another program made it",
      });
    // What a fused op stands for, in its place.
    const parts = partsOf(
      n.op,
      n.operands.map((v) => v.type),
      n.attrs,
    );
    return this.#values(parts.results, { ...frame, prefix, values: new Map(parts.params.map((p, i) => [p, ins[i]])) });
  }

  /** A function in the place of its call. */
  #call(
    name: string,
    layer: number | null,
    n: Node,
    ins: Emitted[],
    read: ReadonlySet<Value>,
    frame: Frame,
  ): (Emitted | undefined)[] {
    const f = this.#module.funcs.get(name)!;
    const values = new Map(
      f.params.map(({ value }, i) => {
        const { type } = value;
        return [value, type.kind === "cache" ? this.#past.get(keyOf(layer!, type))! : ins[i]] as const;
      }),
    );
    const inner: Frame = { func: f.name, layer, prefix: `layers.${layer}/`, values, at: frame.at };
    return f.results.map((r, i) => {
      const { type } = r.value;
      if (type.kind === "cache") {
        this.#present.set(keyOf(layer!, type), this.#values([r.value], inner)[0]);
        return nothing;
      }
      return read.has(n.results[i]) ? this.#values([r.value], inner)[0] : undefined;
    });
  }

  #region(n: Node, params: readonly Emitted[], s: Scope, frame: Frame, captured?: ReadonlyMap<Value, Emitted>): Emitted[] {
    const region = n.region!;
    // In a function of its own a region sees what it was handed, else all around it.
    const values = new Map(captured ?? frame.values);
    for (const [i, p] of region.params.entries()) values.set(p, params[i]);
    return this.#values(region.results, { ...frame, values, at: { ...frame.at, s } });
  }
}
