// Every line of every generated text is known: what it is, the ops it serves, and where its numbers came from.
import { describe, expect, test } from "vitest";
import { compileSpec, defaults, type CompileOptions } from "../../compiler/compile.ts";
import { linesOf, type KernelLines } from "../../compiler/analysis/lines.ts";
import type { Origins } from "../../compiler/analysis/origins.ts";
import { specOf } from "../../compiler/frontend/config.ts";
import { sourceOf } from "../../compiler/frontend/source.ts";
import { targetOf } from "../../codegen/target.ts";
import type { Problem } from "../../ir/kernel/catalogue.ts";
import { at, dsc, r1, refusal } from "./dsc.ts";
import { supported, textOf, withKeys, type Config } from "../frontend/configs.ts";

const targets = ["cpu", "cuda", "triton"] as const;

function linesIn(
  config: Config,
  target: CompileOptions["target"],
  only: (kernel: string) => boolean = () => true,
): KernelLines[] {
  const { spec } = specOf(sourceOf(textOf(config), "config.json", ".", []));
  const activations = target === "cpu" ? "f32" : "bf16";
  const { manifest, files } = compileSpec(spec, { ...defaults, activations, target });
  const read = <T>(name: string): T => JSON.parse(String(files.get(name))) as T;
  const [origins, problems] = [read<Origins>("origins.json"), read<Record<string, Problem>>("problems.json")];
  const backend = targetOf(target, { activations });
  return Object.keys(manifest.kernels)
    .filter(only)
    .map((kernel) =>
      linesOf(
        { kernel, manifest, text: String(files.get(manifest.kernels[kernel].text)), problem: problems[kernel], target: backend },
        origins,
      ),
    );
}

const models = ["DeepSeek-R1", "Kimi-K2", "DeepSeek-V2-Lite"];
describe.each(targets)("for %s", (target) => {
  test.each(models)("every line of %s is of an op with keys, or of a helper with a name", (name) => {
    // A few layers have all kernels.
    const config = withKeys(supported[name], { num_hidden_layers: 5 });
    let lines = 0;
    for (const k of linesIn(config, target, (n) => n.length % 3 === 0))
      for (const l of k.lines) {
        lines++;
        const at = `${k.kernel}:${l.line}: ${l.text}`;
        expect(l.origins.length, at).toBeGreaterThan(0);
        if (l.kind === "helper" || l.kind === "statement") expect(l.name, at).toBeTruthy();
        for (const o of l.origins) expect(o.keys.length, at).toBeGreaterThan(0);
        // A text that can be printed again has its numbers traced.
        if (l.kind !== "header" && l.kind !== "helper" && /(?<![\w.])\d{3,}/.test(l.text))
          expect(l.origins[0].constants.length, at).toBeGreaterThan(0);
      }
    expect(lines).toBeGreaterThan(200);
  });
});

/** Sizes that are no sum or product of two others, and none of the numbers that kernels have of themselves. */
const different: Config = withKeys(supported["DeepSeek-R1"], {
  num_hidden_layers: 4,
  hidden_size: 128 * 17,
  num_attention_heads: 23,
  num_key_value_heads: 23,
  q_lora_rank: 128 * 13,
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
  max_position_embeddings: 4801,
  rope_scaling: null,
});

test.each(targets)("for %s a number that is a size of the config says so, and no other number says it is that size", (target) => {
  const keys = [
    "hidden_size",
    "q_lora_rank",
    "intermediate_size",
    "moe_intermediate_size",
    "vocab_size",
    "max_position_embeddings",
  ];
  const sizes = new Map(keys.map((k) => [String(different[k]), k]));
  let seen = 0;
  for (const k of linesIn(different, target))
    for (const l of k.lines)
      for (const o of l.origins)
        for (const c of o.constants) {
          const at = `${k.kernel}:${l.line}: ${l.text.trim()}\n${c.text}: ${c.from}`;
          const key = sizes.get(c.text);
          if (key !== undefined && c.fields.length) expect(c.keys, at).toContain(key);
          if (key !== undefined) seen++;
          // Words that are one key alone are of a number that is its value.
          if (keys.includes(c.from)) expect(c.text, at).toBe(String(different[c.from]));
        }
  expect(seen).toBeGreaterThan(50);
});

/** Runs dsc with --json, and gives the array it prints. */
async function json<T>(...words: string[]): Promise<T> {
  const { stdout, stderr } = await dsc(...words, "--json");
  expect(stderr).toBe("");
  return JSON.parse(stdout) as T;
}

describe("inspect --line, --op, --key, --tensor", () => {
  interface Origin {
    op: string;
    keys: string[];
    tensors: string[];
    rule: string | null;
    constants: { text: string; from: string; keys: string[] }[];
  }
  const out = at("lines-r1");
  const made = dsc("compile", r1, "--target", "cuda", "-o", out);
  const lineOf = async (kernel: string, part: string): Promise<number> => {
    await made;
    const { stdout } = await dsc("inspect", out, kernel);
    return stdout.split("\n").findIndex((l) => l.includes(part)) + 1;
  };

  test("64 rows of a page times the width of a row come of just these", async () => {
    const line = await lineOf("rope_append_512_64", "(i64)page * 36864");
    const found = await json<Origin[]>("inspect", out, "rope_append_512_64", "--line", String(line));
    for (const o of found) {
      expect(o).toMatchObject({
        op: "rope_append",
        keys: ["kv_lora_rank", "qk_rope_head_dim"],
        rule: "fuse-rope-append: norm, rope and append in one pass",
      });
      expect(o.constants.find((c) => c.text === "36864")!.from).toBe(
        "made of r (kv_lora_rank), d (qk_rope_head_dim), pageRows (rows of a page of the cache)",
      );
    }
    expect((await dsc("inspect", out, "rope_append_512_64", "--line", String(line))).stdout).toContain(
      "36864    made of r (kv_lora_rank)",
    );
  });

  test("a line of a native has the keys of its numbers; a helper has its name", async () => {
    const kernel = "mla_attend_128x512_64_fixed16x8";
    const scale = await json<Origin[]>("inspect", out, kernel, "--line", String(await lineOf(kernel, "0.13523")));
    expect(scale[0].keys).toEqual(expect.arrayContaining(["qk_nope_head_dim", "qk_rope_head_dim", "rope_scaling"]));
    const helper = await json<(Origin & { helper?: string })[]>(
      "inspect",
      out,
      kernel,
      "--line",
      String(await lineOf(kernel, "mbarrier.try_wait")),
    );
    expect(helper[0].helper).toMatch(/wait/);
  });

  test("from a key, a tensor and an op to launches, and to lines of a kernel", async () => {
    await made;
    type Found = { kernel: string; site: string; op: string; fields?: Record<string, { value: number }> };
    const [key, tensor, op, lines] = await Promise.all([
      json<Found[]>("inspect", out, "--key", "kv_lora_rank"),
      json<Found[]>("inspect", out, "--tensor", "q_b_proj"),
      json<Found[]>("inspect", out, "--op", "mla_attend"),
      json<{ line: number; text: string }[]>("inspect", out, "rope_append_512_64", "--key", "kv_lora_rank"),
    ]);
    expect(key.some((f) => f.op === "mla_attend" && f.fields!.r.value === 512)).toBe(true);
    expect(key.some((f) => f.op === "argmax")).toBe(false);
    expect(new Set(tensor.map((f) => f.site.split("/").at(-1)))).toEqual(new Set(["q"]));
    expect(op.every((f) => f.kernel.startsWith("mla_attend"))).toBe(true);
    expect(lines.some((l) => l.text.includes("36864"))).toBe(true);
    expect(await refusal("inspect", out, "--key", "kv_lora_rang")).toContain("did you mean kv_lora_rank?");
    expect(await refusal("inspect", out, "--tensor", "q_b_projj")).toContain("did you mean");
    expect(await refusal("inspect", out, "rope_append_512_64", "--line", "9999")).toContain("has lines 1 to");
    expect(await refusal("inspect", out, "--line", "3")).toContain("--line is of a kernel");
  });
});
