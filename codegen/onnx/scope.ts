// Where nodes of an ONNX graph are written: the graph itself, the body of a function, or the body of a loop inside one of these.
import {
  attributeOf,
  DOMAIN,
  elem,
  valueInfo,
  type AttrOf,
  type Elem,
  type GraphProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from "./proto.ts";

export type Attributes = Readonly<Record<string, AttrOf>>;

/** Names of one graph or function, loops inside included: ONNX assigns each once. */
class Names {
  readonly #used = new Map<string, number>();

  /** The word itself where it is free, else with a number. */
  fresh(word: string): string {
    const n = this.#used.get(word) ?? 0;
    this.#used.set(word, n + 1);
    return n === 0 ? word : this.fresh(`${word}.${n}`);
  }
}

export class Scope {
  readonly nodes: NodeProto[] = [];
  /** Constants of the whole graph or function; nodes of a function, which has no initializers. */
  readonly constants: TensorProto[] = [];
  readonly #names: Names;
  readonly #outer: Scope | undefined;
  readonly #known = new Map<string, string>();
  #prefix = "";

  constructor(outer?: Scope) {
    this.#outer = outer;
    this.#names = outer ? outer.#names : new Names();
  }

  get #root(): Scope {
    return this.#outer ? this.#outer.#root : this;
  }

  /** Names of values that `make` makes begin with the prefix: "layers.3/qa/". */
  within<T>(prefix: string, make: () => T): T {
    const root = this.#root;
    const before = root.#prefix;
    root.#prefix = prefix;
    try {
      return make();
    } finally {
      root.#prefix = before;
    }
  }

  /** A name that nothing has yet. */
  name(word: string): string {
    return this.#names.fresh(this.#root.#prefix + word);
  }

  /** Takes a name as it is: an input, an output, a tensor of the checkpoint. */
  reserve(name: string): string {
    return this.#names.fresh(name);
  }

  /** A node of a standard operator with one result; gives the result's name, made of `word`. */
  op(opType: string, input: readonly string[], attributes: Attributes = {}, word = opType.toLowerCase()): string {
    return this.node(opType, input, attributes, [this.name(word)])[0];
  }

  /** A node with the results named. */
  node(
    opType: string,
    input: readonly string[],
    attributes: Attributes,
    output: readonly string[],
    domain = "",
  ): readonly string[] {
    const attribute = Object.entries(attributes).map(([k, v]) => attributeOf(k, v));
    this.nodes.push({ name: output[0], opType, ...(domain ? { domain } : {}), input, output, attribute });
    return output;
  }

  /** A call of a function of ours; gives names of its results. */
  call(name: string, input: readonly string[], words: readonly string[]): readonly string[] {
    return this.node(
      name,
      input,
      {},
      words.map((w) => this.name(w)),
      DOMAIN,
    );
  }

  /** A result that is made once: the same key gives the same name, here and in loops inside. */
  once(key: string, make: () => string): string {
    const found = this.#found(key);
    if (found !== undefined) return found;
    const made = make();
    this.#known.set(key, made);
    return made;
  }

  #found(key: string): string | undefined {
    return this.#known.get(key) ?? (this.#outer ? this.#outer.#found(key) : undefined);
  }

  /** Whole numbers: a list, or a number without axes. */
  ints(v: number | readonly number[]): string {
    const list = typeof v === "number" ? [v] : v;
    return this.#constant(`i ${JSON.stringify(v)}`, {
      dataType: elem.INT64,
      dims: typeof v === "number" ? [] : [list.length],
      int64Data: list,
    });
  }

  /** Real numbers in f32: a list, or a number without axes. */
  floats(v: number | readonly number[]): string {
    const list = typeof v === "number" ? [v] : v;
    return this.#constant(`f ${String(v)} ${typeof v}`, {
      dataType: elem.FLOAT,
      dims: typeof v === "number" ? [] : [list.length],
      floatData: list,
    });
  }

  get true(): string {
    return this.#constant("true", { dataType: elem.BOOL, dims: [], int32Data: [1] });
  }

  #constant(key: string, tensor: TensorProto): string {
    const root = this.#root;
    return root.once(`constant ${key}`, () => {
      const name = root.#names.fresh("const");
      root.constants.push({ ...tensor, name });
      return name;
    });
  }

  /** The same values as another element type. */
  cast(name: string, from: Elem, to: Elem): string {
    if (from === to) return name;
    return this.once(
      `cast ${name} ${to}`,
      () => this.node("Cast", [name], { to }, [this.reserve(`${name}.as_${wordOf(to)}`)])[0],
    );
  }

  /**
   * Runs a body `count` times and gives what the last run made of `state`: an f32 tensor whose first axis may grow. The body is told
   * the number of the run, from 0, and the state before it.
   */
  loop(count: string, state: string, axes: number, body: (s: Scope, index: string, state: string) => string): string {
    const inner = new Scope(this);
    const [index, going, before] = ["i", "going", "state"].map((w) => this.#names.fresh(w));
    const after = body(inner, index, before);
    const still = inner.op("Identity", [going], {}, "still");
    const sizes = Array.from({ length: axes }, (_, i) => this.#names.fresh(`d${i}`));
    const g: GraphProto = {
      name: this.#names.fresh("body"),
      node: inner.nodes,
      input: [valueInfo(index, elem.INT64, []), valueInfo(going, elem.BOOL, []), valueInfo(before, elem.FLOAT, sizes)],
      output: [valueInfo(still, elem.BOOL, []), free(after, axes)],
    };
    return this.op("Loop", [count, this.true, state], { body: { g } }, "looped");
  }

  /** The nodes of a function: constants first. */
  get body(): NodeProto[] {
    const constants = this.constants.map(({ name, ...t }): NodeProto => ({
      opType: "Constant",
      input: [],
      output: [name!],
      attribute: [attributeOf("value", { t })],
    }));
    return [...constants, ...this.nodes];
  }
}

/** A result of so many axes, sizes unsaid. */
const free = (name: string, axes: number): ValueInfoProto => ({
  name,
  type: { tensorType: { elemType: elem.FLOAT, shape: { dim: Array.from({ length: axes }, () => ({})) } } },
});

const words = new Map(Object.entries(elem).map(([k, v]) => [v, k.toLowerCase()] as const));
const wordOf = (e: Elem): string => words.get(e)!;
