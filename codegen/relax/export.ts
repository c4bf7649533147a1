// A module as TVMScript of Relax: one function that serves any number of new rows on a cached prefix of any length, none included, and the
// weights that it takes, by tensor of the checkpoint.
//   main(input_ids [1, T] i64, past_N [1, S, r + d], weights...) -> (logits [1, T, V], present_N [1, S + T, r + d] of every layer N)
import type { Piece } from "../../ir/artifact.ts";
import { partsOf } from "../../ir/fused.ts";
import { topological, type Func, type Module, type Node, type Value, type WeightDecl } from "../../ir/graph.ts";
import { callOf } from "../../ir/ops/index.ts";
import { asTensor, fixed, LATENT, type CacheType } from "../../ir/types.ts";
import { relaxCannotSay } from "./diagnostics.ts";
import { float, lowerings, type Lowering, type Named } from "./lowering.ts";
import { scriptOf, type ScriptWeight } from "./script.ts";

/** What is said of the module in the file's head. */
export interface RelaxOptions {
  version: string;
}

/** What a model became. */
export interface RelaxModule {
  text: string;
  weights: number;
  operators: number;
}

interface Frame {
  func: string;
  layer: number | null;
  values: Map<Value, Named>;
}

const nothing: Named = { name: "" };

/** The script of the module's entry `extend`, as the frontend wrote it. Throws DSC4141 for what Relax cannot say. */
export const relaxModule = (module: Module, options: RelaxOptions): RelaxModule => new Exporter(module).script(options);

class Exporter {
  readonly #module: Module;
  readonly #lines: string[] = [];
  readonly #weights: ScriptWeight[] = [];
  readonly #made = new Map<string, Named>();
  readonly #past = new Map<number, string>();
  readonly #present = new Map<number, string>();
  #mask = "";

  constructor(module: Module) {
    this.#module = module;
  }

  script({ version }: RelaxOptions): RelaxModule {
    const main = this.#main();
    const logits = main.results.find((r) => r.name === "logits")!;
    const layers = layersOf(main);
    const { width } = main.params.map((p) => p.value.type).find((t): t is CacheType => t.kind === "cache")!;
    const ids = this.#let("R.reshape(input_ids, (rows,))");
    for (const n of layers) this.#past.set(n, this.#let(`R.reshape(past_${n}, (cached, ${width}))`));
    const positions = this.#let('R.arange(cached, cached + rows, 1, "int64")');
    const columns = this.#let('R.arange(0, cached + rows, 1, "int64")');
    this.#mask = this.#let(`R.less_equal(R.expand_dims(${columns}, axis=0), R.expand_dims(${positions}, axis=1))`);
    this.#positions = this.#let(`R.expand_dims(R.astype(${positions}, "float32"), axis=1)`);
    const values = new Map(main.params.map((p): [Value, Named] => [p.value, p.name === "ids" ? { name: ids } : nothing]));
    const [y] = this.#values([logits.value], { func: main.name, layer: null, values });
    const vocab = fixed(asTensor(logits.value.type).dims[1]);
    const results = [
      this.#let(`R.reshape(${y.name}, (1, rows, ${vocab}))`),
      ...layers.map((n) => this.#let(`R.reshape(${this.#present.get(n)!}, (1, cached + rows, ${width}))`)),
    ];
    const { name } = this.#module;
    const text = scriptOf({ name, version, layers, width, weights: this.#weights, lines: this.#lines, results });
    return { text, weights: this.#weights.length, operators: this.#lines.length };
  }

  #positions = "";

  #main(): Func {
    const main = this.#module.funcs.get(this.#module.entries.extend);
    const caches = main?.params.filter((p) => p.value.type.kind === "cache") ?? [];
    if (main && caches.length === 1 && (caches[0].value.type as CacheType).name === LATENT) return main;
    throw relaxCannotSay({
      what: "this model's caches",
      site: "extend",
      why: `there are ${caches.length}, and the module has one a layer`,
    });
  }

  #let(expression: string): string {
    const name = `v${this.#lines.length}`;
    this.#lines.push(`${name} = ${expression}`);
    return name;
  }

  #values(wanted: readonly Value[], frame: Frame): Named[] {
    const { values } = frame;
    const nodes = topological(wanted, (v) => values.has(v));
    const read = new Set([...nodes.flatMap((n) => n.operands), ...wanted]);
    for (const n of nodes) {
      const out = n.leaf ? [this.#leaf(n, frame)] : this.#node(n, frame, read);
      for (const [i, r] of n.results.entries()) if (out[i]) values.set(r, out[i]);
    }
    return wanted.map((v) => values.get(v)!);
  }

  #leaf(n: Node, frame: Frame): Named {
    const decl = this.#module.weights.get(n.leaf!.name)!;
    const layer = decl.layers ? frame.layer : null;
    const key = `${decl.name} ${layer}`;
    const made = this.#made.get(key) ?? this.#weight(decl, layer);
    this.#made.set(key, made);
    return made;
  }

  #weight(decl: WeightDecl, layer: number | null): Named {
    const { source } = decl;
    const name = [decl.name, layer ?? []].flat().join("_").replace(/\W/g, "_");
    if (source.kind === "rope") {
      this.#weights.push({ name, shape: [source.invFreq.length], values: source.invFreq });
      const angle = this.#let(`R.multiply(${this.#positions}, ${name})`);
      const wave = (op: string): string =>
        this.#let(source.factor === 1 ? `R.${op}(${angle})` : `R.multiply(R.${op}(${angle}), ${float(source.factor)})`);
      return { name: "", rotary: { cos: wave("cos"), sin: wave("sin") } };
    }
    if (source.kind !== "checkpoint")
      throw relaxCannotSay({ what: `weight ${decl.name}`, site: decl.name, why: "it is computed of others" });
    const shape = decl.type.dims.map(fixed);
    const pieces = source.pieces.map((p) => piecesOf(decl, p, shape, layer)).flat();
    this.#weights.push({ name, shape, tensors: pieces });
    return { name };
  }

  #node(n: Node, frame: Frame, read: ReadonlySet<Value>): (Named | undefined)[] {
    const ins = n.operands.map((v) => frame.values.get(v)!);
    const called = callOf(n);
    if (called) return this.#call(called.func, called.layer, n, ins, read);
    if (Object.hasOwn(lowerings, n.op.name)) {
      const at: Lowering = {
        let: (expression) => this.#let(expression),
        mask: this.#mask,
        region: (node, params) => {
          const values = new Map(frame.values);
          for (const [i, p] of node.region!.params.entries()) values.set(p, params[i]);
          return this.#values(node.region!.results, { ...frame, values });
        },
        site: `${frame.func}/${n.graph.nameOf(n.results[0]) ?? n.op.name}`,
      };
      return lowerings[n.op.name](at, n, ins);
    }
    if (!n.op.of)
      throw relaxCannotSay({ what: n.op.name, site: frame.func, why: "it is no op of the plain model, nor made of such" });
    const types = n.operands.map((v) => v.type);
    const { params, results } = partsOf(n.op, types, n.attrs);
    return this.#values(results, { ...frame, values: new Map(params.map((p, i) => [p, ins[i]])) });
  }

  #call(name: string, layer: number, n: Node, ins: readonly Named[], read: ReadonlySet<Value>): (Named | undefined)[] {
    const f = this.#module.funcs.get(name)!;
    const isCache = (v: Value): boolean => v.type.kind === "cache";
    const values = new Map(
      f.params.map(({ value }, i): [Value, Named] => [value, isCache(value) ? { name: this.#past.get(layer)! } : ins[i]]),
    );
    const frame: Frame = { func: f.name, layer, values };
    return f.results.map(({ value }, i) => {
      if (!isCache(value)) return read.has(n.results[i]) ? this.#values([value], frame)[0] : undefined;
      this.#present.set(layer, this.#values([value], frame)[0].name);
      return nothing;
    });
  }
}

/** The tensors of a piece that is a whole tensor, or one of each leading index. */
function piecesOf(
  decl: WeightDecl,
  { at, tensor, scales, rows, columns, part, share }: Piece,
  shape: readonly number[],
  layer: number | null,
): { tensor: string; scales?: string }[] {
  const whole = at.length === 0 || (at.length === 1 && at[0] === "*");
  if (!whole || rows || columns || part || share)
    throw relaxCannotSay({ what: `weight ${decl.name}`, site: decl.name, why: "it is put together of parts of tensors" });
  const named = (t: string, i: number): string => t.replace("{layer}", String(layer)).replace("{0}", String(i));
  return Array.from({ length: at.length ? shape[0] : 1 }, (_, i) => ({
    tensor: named(tensor, i),
    ...(scales === undefined ? {} : { scales: named(scales, i) }),
  }));
}

/** The layers that a main function calls, in order. */
const layersOf = (main: Func): number[] =>
  topological(main.results.map((r) => r.value))
    .flatMap((n) => callOf(n)?.layer ?? [])
    .filter((l) => l >= 0)
    .toSorted((a, b) => a - b);
