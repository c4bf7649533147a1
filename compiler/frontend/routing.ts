// The kinds of layers, and the router with its experts: which keys say them, and the rules they must keep (SEMANTICS 1 and 6).
import { inconsistent } from "./diagnostics.ts";
import type { Known } from "./families.ts";
import type { Reader } from "./reader.ts";
import type { LayerKind, MoeSpec } from "./spec.ts";

/** Kind of each layer: mlp_layer_types where given, else first_k_dense_replace and moe_layer_freq. */
export function layerKinds(c: Reader, count: number, mixed: boolean): LayerKind[] {
  const types = c.list("mlp_layer_types");
  const byCount = (dense: number, every: number): LayerKind[] =>
    Array.from({ length: count }, (_, i) => (mixed && i >= dense && i % every === 0 ? "moe" : "dense"));
  const most = { least: 0, most: 2 ** 20 };
  if (!types)
    return mixed ? byCount(c.int("first_k_dense_replace", most), c.int("moe_layer_freq", { most: 4096 }, 1)) : byCount(count, 1);
  if (types.length !== count) {
    const rule = `it lists ${types.length} layers, num_hidden_layers says ${count}`;
    c.say(
      inconsistent(
        { title: "mlp_layer_types does not fit num_hidden_layers", rule, help: "give one entry per layer" },
        c.span("mlp_layer_types"),
      ),
    );
  }
  for (const [i, t] of types.entries())
    if (t !== "dense" && t !== "sparse")
      return (
        c.refuse(`mlp_layer_types.${i}`, "a layer's feed-forward part is dense or a mixture", '"dense" or "sparse"'),
        byCount(count, 1)
      );
  const kinds = Array.from({ length: count }, (_, i): LayerKind => (types[i] === "sparse" ? "moe" : "dense"));
  if (kinds.includes("moe") && !mixed)
    c.say(
      inconsistent(
        {
          title: "mlp_layer_types names sparse layers, but there are no experts",
          rule: '"n_routed_experts" is absent, null or 0',
          help: "set n_routed_experts, or make every layer dense",
        },
        c.span("mlp_layer_types"),
      ),
    );
  const dense = c.raw("first_k_dense_replace");
  if (typeof dense === "number" && mixed && kinds.some((k, i) => k !== byCount(dense, c.int("moe_layer_freq", {}, 1))[i]))
    c.say(
      inconsistent(
        {
          title: "mlp_layer_types and first_k_dense_replace disagree",
          rule: `first_k_dense_replace makes the first ${dense} layers dense`,
          help: "remove one of the two",
        },
        c.span("mlp_layer_types"),
      ),
    );
  return mixed ? kinds : byCount(count, 1);
}

/** The mixture. Every rule that fails is a finding of its own; the answer then is only good for reading on. */
export function readMoe(c: Reader, known: Known, experts: number): MoeSpec {
  const v2 = known.family === "v2";
  const oneOf = (key: string, allowed: readonly string[], rule: string): string => {
    const v = c.word(key) ?? allowed[0];
    if (allowed.includes(v)) return v;
    c.refuse(key, `${rule} ${allowed.join(" or ")}`, allowed.map((a) => JSON.stringify(a)).join(" or "));
    return allowed[0];
  };
  const shared = c.field("shared", () => c.intOrNone("n_shared_experts", { most: 1024 }) ?? 0);
  const intermediate = c.field("moeIntermediate", () => c.int("moe_intermediate_size", { most: 2 ** 20 }));
  return c.field("router", () => {
    const topk = c.field("topk", () => c.int("num_experts_per_tok"));
    const scoring = c.field("scoring", () =>
      oneOf("scoring_func", [v2 ? "softmax" : "sigmoid"], "the router of this architecture scores with"),
    ) as MoeSpec["scoring"];
    const methods = v2 ? ["greedy", "group_limited_greedy"] : ["noaux_tc"];
    const method = c.field("method", () =>
      oneOf("topk_method", methods, "this architecture chooses experts by"),
    ) as MoeSpec["method"];
    // Published defaults of the groups agree for V2 (none) and for GLM (one); transformers' and DeepSeek's own differ for V3.
    const optional = method === "greedy" || known.published.n_group !== undefined;
    const groups = c.field("groups", () => (optional && !c.has("n_group") ? 1 : (c.intOrNone("n_group") ?? 1)));
    const kept = c.field("kept", () => (optional && !c.has("topk_group") ? groups : (c.intOrNone("topk_group") ?? groups)));
    checkGroups(c, { experts, topk, groups, kept, method });
    const normalise = c.field("normalise", () => c.flag("norm_topk_prob", !v2));
    if (v2 && normalise)
      c.refuse("norm_topk_prob", "implementations of DeepSeek-V2 disagree on it, and every published one has false", "false");
    const factor = c.field("factor", () => c.real("routed_scaling_factor", known.published.routed_scaling_factor));
    if (!(factor > 0)) c.refuse("routed_scaling_factor", "weights of experts are positive", "1.0");
    const grouped = method !== "greedy";
    return {
      experts,
      topk,
      shared,
      intermediate,
      scoring,
      method,
      factor,
      groups: grouped ? groups : 1,
      kept: grouped ? kept : 1,
      normalise: !v2 && normalise,
      bias: method === "noaux_tc",
    };
  });
}

type Groups = Pick<MoeSpec, "experts" | "topk" | "groups" | "kept" | "method">;

/** The arithmetic of groups; the first rule broken is reported, for the others follow from it. */
function checkGroups(c: Reader, { experts, topk, groups, kept, method }: Groups): void {
  if (c.lacks("num_experts_per_tok", "n_routed_experts", "n_group", "topk_group")) return;
  const say = (title: string, rule: string, help: string, key: string): void =>
    c.say(inconsistent({ title, rule, help }, c.span(key)));
  if (topk > experts) {
    const rule = "num_experts_per_tok is larger than n_routed_experts";
    return say(
      `a token cannot choose ${topk} of ${experts} experts`,
      rule,
      `set num_experts_per_tok to ${experts} or less`,
      "num_experts_per_tok",
    );
  }
  if (method === "greedy") return;
  if (experts % groups) {
    const help = `set n_group to ${nearestDivisor(experts, groups)}`;
    return say(`${experts} experts do not divide into ${groups} groups`, "n_group must divide n_routed_experts", help, "n_group");
  }
  const size = experts / groups;
  if (kept > groups)
    return say(
      `${kept} groups cannot be kept of ${groups}`,
      "topk_group is larger than n_group",
      `set topk_group to ${groups} or less`,
      "topk_group",
    );
  if (method === "noaux_tc" && groups > 1 && size < 2) {
    const rule = "a group is scored by the sum of its two best experts, so it needs two";
    return say(
      `groups of ${size} expert cannot be scored`,
      rule,
      `set n_group to ${nearestDivisor(experts, experts / 2)}`,
      "n_group",
    );
  }
  if (topk > size * kept) {
    const rule = "num_experts_per_tok must be at most topk_group * n_routed_experts / n_group";
    return say(
      `${topk} experts do not fit into ${kept} groups of ${size}`,
      rule,
      `set num_experts_per_tok to ${size * kept} or less`,
      "num_experts_per_tok",
    );
  }
}

function nearestDivisor(n: number, near: number): number {
  let best = 1;
  for (let d = 1; d <= n; d++) if (n % d === 0 && Math.abs(d - near) < Math.abs(best - near)) best = d;
  return best;
}
