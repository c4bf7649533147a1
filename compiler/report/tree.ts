// The modules of a spec as a tree: what PyTorch would show for the same model. Leaves hold their parameters, containers none, so
// that totals are sums. Equal layers and experts are one shared value: a tree of 15,000 experts costs as much as one of two.
import { activations } from "../../ir/activation.ts";
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
export function moduleTree(s: ModelSpec, mtp = true): ModuleNode {
  const name = s.architecture.endsWith("ForCausalLM")
    ? s.architecture.slice(0, -"ForCausalLM".length)
    : s.family === "v2"
      ? "DeepseekV2"
      : "DeepseekV3";
  const linear = (out: number, input: number, bias = false, coded = true): ModuleNode =>
    leaf(
      s.fp8 && coded ? "FP8Linear" : "Linear",
      `in_features=${input}, out_features=${out}, bias=${bias ? "True" : "False"}`,
      out * input + (bias ? out : 0),
    );
  const norm = (width: number, eps = s.eps): ModuleNode => leaf(`${name}RMSNorm`, `(${width},), eps=${pythonFloat(eps)}`, width);
  const table = (): ModuleNode => leaf("Embedding", `${s.vocab}, ${s.hidden}`, s.vocab * s.hidden);
  const feedForward = (width: number): ModuleNode =>
    inner(`${name}MLP`, {
      gate_proj: linear(width, s.hidden),
      up_proj: linear(width, s.hidden),
      down_proj: linear(s.hidden, width),
      act_fn: leaf(activations[s.gating.act].module, "", 0),
    });

  const width = s.heads * (s.nope + s.rope);
  const query: Record<string, ModuleNode> =
    s.qLora === null
      ? { q_proj: linear(width, s.hidden) }
      : {
          q_a_proj: linear(s.qLora, s.hidden, s.attentionBias),
          q_a_layernorm: norm(s.qLora, s.latentEps),
          q_b_proj: linear(width, s.qLora),
        };
  const attention = inner(`${name}Attention`, {
    ...query,
    kv_a_proj_with_mqa: linear(s.kvLora + s.rope, s.hidden, s.attentionBias),
    kv_a_layernorm: norm(s.kvLora, s.latentEps),
    kv_b_proj: linear(s.heads * (s.nope + s.vDim), s.kvLora),
    o_proj: linear(s.hidden, s.heads * s.vDim, s.attentionBias),
  });

  const mixture = (): ModuleNode => {
    const moe = s.moe!;
    const expert = feedForward(moe.intermediate);
    const router = moe.bias
      ? leaf(`${name}TopkRouter`, "", moe.experts * s.hidden + moe.experts)
      : linear(moe.experts, s.hidden, false, false);
    return inner(s.family === "v2" ? `${name}Moe` : `${name}MoE`, {
      experts: list(Array.from({ length: moe.experts }, () => expert)),
      gate: router,
      ...(moe.shared ? { shared_experts: feedForward(moe.intermediate * moe.shared) } : {}),
    });
  };
  const body = (kind: LayerKind): Record<string, ModuleNode> => ({
    self_attn: attention,
    mlp: kind === "dense" ? feedForward(s.intermediate) : mixture(),
    input_layernorm: norm(s.hidden),
    post_attention_layernorm: norm(s.hidden),
  });
  const bodies = new Map([...new Set(s.layers)].map((kind) => [kind, inner(`${name}DecoderLayer`, body(kind))] as const));
  const draft = (): ModuleNode =>
    inner(`${name}MTPLayer`, {
      embed_tokens: table(),
      enorm: norm(s.hidden),
      hnorm: norm(s.hidden),
      eh_proj: linear(s.hidden, 2 * s.hidden, false, false),
      ...body(s.moe ? "moe" : "dense"),
      shared_head: inner("SharedHead", { norm: norm(s.hidden), head: linear(s.vocab, s.hidden, false, false) }),
    });

  const layers = [...s.layers.map((kind) => bodies.get(kind)!), ...Array.from({ length: mtp ? s.mtp : 0 }, draft)];
  // A tied head is the embedding itself: shown, as PyTorch shows it, and counted once.
  const head = linear(s.vocab, s.hidden, false, false);
  return inner(`${name}ForCausalLM`, {
    model: inner(`${name}Model`, {
      embed_tokens: table(),
      layers: list(layers),
      norm: norm(s.hidden),
      rotary_emb: leaf(`${name}RotaryEmbedding`, "", 0),
    }),
    lm_head: s.tied ? { ...head, own: 0 } : head,
  });
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
