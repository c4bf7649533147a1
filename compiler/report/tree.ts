// The modules of a spec as a tree: what PyTorch would show for the same model. Leaves hold their parameters, containers none, so
// that totals are sums. Equal layers and experts are one shared value: a tree of 15,000 experts costs as much as one of two.
import { activationNamed } from "../../ir/activation.ts";
import type { LayerKind, ModelSpec } from "../frontend/spec.ts";

export interface ModuleNode {
  type: string;
  /** What stands between the parentheses of a leaf: "in_features=64, out_features=48, bias=False". */
  detail: string;
  /** Parameters of this module itself, without its children. */
  own: number;
  children: readonly (readonly [name: string, module: ModuleNode])[];
}

const leaf = (type: string, detail: string, own: number): ModuleNode => ({ type, detail, own, children: [] });
const inner = (type: string, children: Record<string, ModuleNode>): ModuleNode => ({
  type,
  detail: "",
  own: 0,
  children: Object.entries(children),
});
const list = (items: readonly ModuleNode[], first = 0): ModuleNode => ({
  type: "ModuleList",
  detail: "",
  own: 0,
  children: items.map((m, i) => [String(first + i), m] as const),
});

/** All parameters of a module; memoised, for layers are shared. */
export function parametersOf(m: ModuleNode): number {
  let n = totals.get(m);
  if (n === undefined) totals.set(m, (n = m.own + m.children.reduce((sum, [, c]) => sum + parametersOf(c), 0)));
  return n;
}
const totals = new WeakMap<ModuleNode, number>();

/** A float as Python prints it: 1e-06, 0.001, 1.0. */
export function pythonFloat(x: number): string {
  if (x !== 0 && (Math.abs(x) < 1e-4 || Math.abs(x) >= 1e16)) return x.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
  return Number.isInteger(x) ? `${x}.0` : String(x);
}

/** The tree of a spec; with `mtp`, the extra prediction layers stand behind the main ones, as in the checkpoint. */
export const moduleTree = (spec: ModelSpec, mtp = true): ModuleNode => new Modules(spec).causalLM(mtp);

/** The modules of one spec, by transformers' names. */
class Modules {
  readonly #spec: ModelSpec;
  /** What every class of the model begins with: "DeepseekV3". */
  readonly #name: string;

  constructor(spec: ModelSpec) {
    this.#spec = spec;
    this.#name = spec.architecture.endsWith("ForCausalLM")
      ? spec.architecture.slice(0, -"ForCausalLM".length)
      : spec.family === "v2"
        ? "DeepseekV2"
        : "DeepseekV3";
  }

  causalLM(mtp: boolean): ModuleNode {
    const s = this.#spec;
    const kinds = new Map([...new Set(s.layers)].map((kind) => [kind, this.#layer(kind)] as const));
    const layers = [...s.layers.map((kind) => kinds.get(kind)!), ...Array.from({ length: mtp ? s.mtp : 0 }, () => this.#draft())];
    // A tied head is the embedding itself: shown, as PyTorch shows it, and counted once.
    const head = this.#linear(s.vocab, s.hidden, false, false);
    return inner(`${this.#name}ForCausalLM`, {
      model: inner(`${this.#name}Model`, {
        embed_tokens: this.#embedding(),
        layers: list(layers),
        norm: this.#norm(s.hidden),
        rotary_emb: leaf(`${this.#name}RotaryEmbedding`, "", 0),
      }),
      lm_head: s.tied ? { ...head, own: 0 } : head,
    });
  }

  #linear(out: number, input: number, bias = false, coded = true): ModuleNode {
    return leaf(
      this.#spec.fp8 && coded ? "FP8Linear" : "Linear",
      `in_features=${input}, out_features=${out}, bias=${bias ? "True" : "False"}`,
      out * input + (bias ? out : 0),
    );
  }

  #norm(width: number, eps = this.#spec.eps): ModuleNode {
    return leaf(`${this.#name}RMSNorm`, `(${width},), eps=${pythonFloat(eps)}`, width);
  }

  #embedding(): ModuleNode {
    const { vocab, hidden } = this.#spec;
    return leaf("Embedding", `${vocab}, ${hidden}`, vocab * hidden);
  }

  #attention(): ModuleNode {
    const s = this.#spec;
    const width = s.heads * (s.nope + s.rope);
    const query: Record<string, ModuleNode> =
      s.qLora === null
        ? { q_proj: this.#linear(width, s.hidden) }
        : {
            q_a_proj: this.#linear(s.qLora, s.hidden, s.attentionBias),
            q_a_layernorm: this.#norm(s.qLora, s.latentEps),
            q_b_proj: this.#linear(width, s.qLora),
          };
    return inner(`${this.#name}Attention`, {
      ...query,
      kv_a_proj_with_mqa: this.#linear(s.kvLora + s.rope, s.hidden, s.attentionBias),
      kv_a_layernorm: this.#norm(s.kvLora, s.latentEps),
      kv_b_proj: this.#linear(s.heads * (s.nope + s.vDim), s.kvLora),
      o_proj: this.#linear(s.hidden, s.heads * s.vDim, s.attentionBias),
    });
  }

  #feedForward(width: number): ModuleNode {
    const { hidden, gating } = this.#spec;
    return inner(`${this.#name}MLP`, {
      gate_proj: this.#linear(width, hidden),
      up_proj: this.#linear(width, hidden),
      down_proj: this.#linear(hidden, width),
      act_fn: leaf(activationNamed(gating.act).module, "", 0),
    });
  }

  #experts(moe: NonNullable<ModelSpec["moe"]>): ModuleNode {
    const { hidden, family } = this.#spec;
    const expert = this.#feedForward(moe.intermediate);
    const router = moe.bias
      ? leaf(`${this.#name}TopkRouter`, "", moe.experts * hidden + moe.experts)
      : this.#linear(moe.experts, hidden, false, false);
    return inner(family === "v2" ? `${this.#name}Moe` : `${this.#name}MoE`, {
      experts: list(Array.from({ length: moe.experts }, () => expert)),
      gate: router,
      ...(moe.shared ? { shared_experts: this.#feedForward(moe.intermediate * moe.shared) } : {}),
    });
  }

  #body(kind: LayerKind): Record<string, ModuleNode> {
    const s = this.#spec;
    return {
      self_attn: this.#attention(),
      mlp: kind === "dense" ? this.#feedForward(s.intermediate) : this.#experts(s.moe!),
      input_layernorm: this.#norm(s.hidden),
      post_attention_layernorm: this.#norm(s.hidden),
    };
  }

  #layer(kind: LayerKind): ModuleNode {
    return inner(`${this.#name}DecoderLayer`, this.#body(kind));
  }

  #draft(): ModuleNode {
    const { hidden, vocab, moe } = this.#spec;
    return inner(`${this.#name}MTPLayer`, {
      embed_tokens: this.#embedding(),
      enorm: this.#norm(hidden),
      hnorm: this.#norm(hidden),
      eh_proj: this.#linear(hidden, 2 * hidden, false, false),
      ...this.#body(moe ? "moe" : "dense"),
      shared_head: inner("SharedHead", { norm: this.#norm(hidden), head: this.#linear(vocab, hidden, false, false) }),
    });
  }
}

/** The tree as `print(model)` shows it: equal neighbours in a list are written once, "(0-2): 3 x". Below `depth` levels it is cut. */
export function printTree(m: ModuleNode, depth = Infinity): string {
  return printed(m, depth).join("\n");
}

function printed(m: ModuleNode, depth: number): string[] {
  if (m.children.length === 0) return [`${m.type}(${m.detail})`];
  if (depth === 0) return [`${m.type}(...)`];
  const out = [`${m.type}(`];
  for (let i = 0; i < m.children.length;) {
    const [name, child] = m.children[i];
    const end = i + runAt(m, i);
    const lines = printed(child, depth - 1);
    const title = end - i > 1 ? `(${name}-${m.children[end - 1][0]}): ${end - i} x ` : `(${name}): `;
    out.push(`  ${title}${lines[0]}`, ...lines.slice(1).map((l) => "  " + l));
    i = end;
  }
  out.push(")");
  return out;
}

/** How many children of a list from this one on are equal to it. Equal layers and experts are the same value, so identity is enough. */
export function runAt(m: ModuleNode, from: number): number {
  let end = from + 1;
  if (m.type === "ModuleList") while (end < m.children.length && m.children[end][1] === m.children[from][1]) end++;
  return end - from;
}
