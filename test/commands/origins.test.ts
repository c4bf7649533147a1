// origins.json: what every axis, every field of a problem and every launch came from. Sizes that are all different show that nothing is
// taken for another; sizes that are the same, that nothing is found by its number.
import { describe, expect, test } from "vitest";
import { compileSpec, defaults, type CompileOptions } from "../../compiler/compile.ts";
import type { Origins } from "../../compiler/analysis/origins.ts";
import { specOf } from "../../compiler/frontend/config.ts";
import { sourceOf } from "../../compiler/frontend/source.ts";
import { supported, textOf, withKeys, type Config } from "../frontend/configs.ts";

const targets = ["cpu", "cuda", "triton"] as const;

function originsOf(config: Config, target: CompileOptions["target"], options: Partial<CompileOptions> = {}): Origins {
  const { spec } = specOf(sourceOf(textOf(config), "config.json", ".", []));
  const activations = target === "cpu" ? "f32" : "bf16";
  const { files } = compileSpec(spec, { ...defaults, activations, ...options, target });
  return JSON.parse(String(files.get("origins.json"))) as Origins;
}

const r1 = supported["DeepSeek-R1"];
/** No two sizes, nor sums and products of two that occur, are the same number. */
const different = withKeys(r1, {
  num_hidden_layers: 4,
  hidden_size: 128 * 17,
  num_attention_heads: 23,
  num_key_value_heads: 23,
  q_lora_rank: 128 * 11,
  kv_lora_rank: 128 * 3,
  qk_nope_head_dim: 208,
  qk_rope_head_dim: 44,
  v_head_dim: 144,
  intermediate_size: 128 * 29,
  moe_intermediate_size: 128 * 7,
  vocab_size: 10007,
  n_routed_experts: 78,
  n_group: 6,
  topk_group: 4,
  num_experts_per_tok: 5,
  n_shared_experts: 1,
  max_position_embeddings: 4801,
  rope_scaling: null,
});
/** As many as can be are the same number. */
const alike = withKeys(r1, {
  num_hidden_layers: 4,
  hidden_size: 512,
  num_attention_heads: 64,
  num_key_value_heads: 64,
  q_lora_rank: 512,
  kv_lora_rank: 512,
  qk_nope_head_dim: 64,
  qk_rope_head_dim: 64,
  v_head_dim: 64,
  intermediate_size: 512,
  moe_intermediate_size: 512,
  vocab_size: 512,
  n_routed_experts: 64,
  n_group: 8,
  topk_group: 8,
  num_experts_per_tok: 8,
  n_shared_experts: 1,
  max_position_embeddings: 512,
  rope_scaling: null,
});

/** The number that an expression over keys has: "num_attention_heads * v_head_dim". */
function numberOf(from: string, config: Config): number | undefined {
  const blocks = /^blocks of 128 in (.*)$/.exec(from);
  const half = /^half of (.*)$/.exec(from);
  const text = (blocks ?? half)?.[1] ?? from;
  if (!/^[a-z_\d+* ()]+$/.test(text)) return undefined;
  const words = text.replaceAll(/[a-z_]+/g, (key) => (typeof config[key] === "number" ? String(config[key]) : "NaN"));
  if (words.includes("NaN")) return undefined;
  // eslint-disable-next-line no-new-func
  const n = Number(new Function(`return ${words}`)());
  return blocks ? Math.ceil(n / 128) : half ? n / 2 : n;
}

/** What a person reads of the fields of every launch, by place. */
function told(o: Origins): Map<string, string[]> {
  const by = new Map<string, string[]>();
  for (const l of o.launches)
    for (const [path, f] of Object.entries(o.fields[l.fields])) {
      const place = `${l.site} ${l.op} ${path}`;
      by.set(place, [...(by.get(place) ?? []), f.from].toSorted());
    }
  return by;
}

describe.each(targets)("for %s", (target) => {
  test("a field's words give its number, and every number larger than 16 has a reason", () => {
    const o = originsOf(different, target);
    let checked = 0;
    for (const l of o.launches)
      for (const [path, f] of Object.entries(o.fields[l.fields])) {
        const at = `${l.kernel} ${path} = ${String(f.value)}: ${f.from}`;
        const n = numberOf(f.from, different);
        if (typeof f.value === "number" && n !== undefined) expect(n, at).toBe(f.value);
        if (n !== undefined) checked++;
        expect(f.from, at).not.toBe("the site, as a whole");
        if (typeof f.value === "number" && f.value > 16 && !/^(schedule|tile)/.test(path))
          expect(f.keys.length > 0 || f.from === "rows of a page of the cache", at).toBe(true);
      }
    expect(checked).toBeGreaterThan(100);
  });

  test("where sizes are the same numbers, the words are those of sizes that differ", () => {
    const [a, b] = [different, alike].map((c) => told(originsOf(c, target, { natives: "none" })));
    // A model of other sizes has other launches at some places; where both have a field, both say the same of it.
    let both = 0;
    for (const [place, words] of b) {
      const others = a.get(place);
      if (!others) continue;
      both++;
      expect(words, place).toEqual(others);
    }
    expect(both).toBeGreaterThan(100);
  });
});
