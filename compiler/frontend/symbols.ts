// Weights by the paper's names; checkpoint spellings stay in this file. One symbol stands for the same matrix of every
// layer of a kind ("moe_layer.wq_a"); experts are stacked along a leading axis.
import type { Graph, Value, WeightDecl } from "../../ir/graph.ts";
import { tensor, weight, type DType } from "../../ir/index.ts";
import { sizesOf, type Sized, type Sizes } from "./sizes.ts";
import { weightKey, type LayerKind, type ModelSpec } from "./spec.ts";

export class Weights {
  readonly declared = new Map<string, WeightDecl>();
  readonly #graph: Graph;
  readonly #spec: ModelSpec;
  readonly sizes: Sizes;
  constructor(graph: Graph, spec: ModelSpec) {
    this.#graph = graph;
    this.#spec = spec;
    this.sizes = sizesOf(spec);
  }

  /** A weight shared by all layers; `name` is the checkpoint's without the wrapped model's prefix. */
  table(symbol: string, name: string, shape: Sized[]): Value {
    return this.#declare(symbol, shape, this.#plain(name), null, [{ at: [], tensor: this.#spec.prefix + name }]);
  }

  /** A weight that only the extra prediction layer has. */
  draftTable(name: string, shape: Sized[], symbol = name): Value {
    const layer = `${this.#spec.prefix}model.layers.${this.#spec.layers.length}`;
    return this.#declare(`mtp.${symbol}`, shape, this.#plain(weightKey("draft", `${name}.weight`)), null, [
      { at: [], tensor: `${layer}.${name}.weight` },
    ]);
  }

  /** What a weight that is no code is stored as. */
  #plain(key: string): "bf16" | "f32" {
    return this.#spec.storedAs?.[key] ?? this.#spec.dtype;
  }

  /** cos | sin rows by position. */
  rope(): Value {
    const { position, maxPositions, rope } = this.#spec;
    const decl: WeightDecl = {
      name: "rope",
      type: tensor([maxPositions, rope], "f32"),
      layers: null,
      source: { kind: "rope", invFreq: position.invFreq, factor: position.cosSinFactor },
      origin: [{ kind: "config", keys: this.#spec.keys.position ?? [], what: "rotary table" }],
      sizes: ["maxPositions", "rope"],
    };
    this.declared.set("rope", decl);
    return weight(this.#graph, decl);
  }

  /** The weights of one kind of layer. The extra prediction layer counts as a layer of its kind. */
  body(kind: LayerKind): Body {
    const spec = this.#spec;
    const layers = spec.layers.flatMap((k, i) => (k === kind ? [i] : []));
    for (let i = 0; i < spec.mtp; i++) if (kind === (spec.moe ? "moe" : "dense")) layers.push(spec.layers.length + i);
    const prefix = `${spec.prefix}model.layers.{layer}.`;
    const declare = this.#declare.bind(this);
    const plain = (name: string): "bf16" | "f32" => this.#plain(weightKey(kind, name));
    /** A linear: codes in an FP8 checkpoint, unless it was left out. */
    const linear = (symbol: string, name: string, shape: Sized[], at: (number | "*")[]): Value => {
      const coded = spec.fp8 !== null && spec.storedAs?.[weightKey(kind, `${name}.weight`)] === undefined;
      return declare(`${kind}_layer.${symbol}`, shape, coded ? "e4m3/128x128" : plain(`${name}.weight`), layers, [
        piece(at, `${prefix}${name}`, coded),
      ]);
    };
    return {
      norm: (symbol, name, width) =>
        declare(`${kind}_layer.${symbol}`, [width], plain(`${name}.weight`), layers, [
          { at: [], tensor: `${prefix}${name}.weight` },
        ]),
      vector: (symbol, name, width, dtype) =>
        declare(`${kind}_layer.${symbol}`, [width], dtype ?? plain(name), layers, [{ at: [], tensor: `${prefix}${name}` }]),
      plain: (symbol, name, n, k) =>
        declare(`${kind}_layer.${symbol}`, [n, k], plain(`${name}.weight`), layers, [
          { at: [], tensor: `${prefix}${name}.weight` },
        ]),
      matrix: (symbol, name, n, k) => linear(symbol, name, [n, k], []),
      experts: (symbol, name, n, k) => linear(symbol, `mlp.experts.{0}.${name}`, [this.sizes.experts, n, k], ["*"]),
    };
  }

  #declare(symbol: string, shape: Sized[], dtype: DType, layers: number[] | null, pieces: Piece[]): Value {
    let decl = this.declared.get(symbol);
    if (!decl) {
      const type = tensor(
        shape.map((s) => s.n),
        dtype,
      );
      const sizes = shape.map((s) => s.term);
      decl = { name: symbol, type, layers, source: { kind: "checkpoint", pieces }, origin: [], sizes };
      this.declared.set(symbol, decl);
    }
    return weight(this.#graph, decl);
  }
}

type Piece = { at: (number | "*")[]; tensor: string; scales?: string };

const piece = (at: (number | "*")[], name: string, scaled: boolean): Piece => ({
  at,
  tensor: `${name}.weight`,
  ...(scaled ? { scales: `${name}.weight_scale_inv` } : {}),
});

/** Accessors declare on first use; shapes are [out, in]. */
export interface Body {
  norm(symbol: string, name: string, width: Sized): Value;
  vector(symbol: string, name: string, width: Sized, dtype?: DType): Value;
  /** Never quantised: router, eh_proj. */
  plain(symbol: string, name: string, n: Sized, k: Sized): Value;
  /** A decoder linear: block-scaled when the checkpoint is FP8. */
  matrix(symbol: string, name: string, n: Sized, k: Sized): Value;
  /** [e, n, k], one checkpoint tensor per expert. */
  experts(symbol: string, name: string, n: Sized, k: Sized): Value;
}
