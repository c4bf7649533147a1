// The net under refactoring: a digest of every kernel text and manifest that published models and all fixtures compile to, for every
// target and with every option that changes kernels. A refactoring changes none. A commit that means to change them says so and
// rewrites test/golden/digests with `npm run bless`; `code` leaves comments out, so better words show in `text` alone.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { compileSpec, defaults, type CompileOptions } from "../../compiler/compile.ts";
import { specOf } from "../../compiler/frontend/config.ts";
import { sourceOf } from "../../compiler/frontend/source.ts";
import { fixtures, read, supported, textOf, withKeys, type Config } from "../frontend/configs.ts";
import { blessing, difference } from "./golden.ts";

const v2Lite = withKeys(supported["DeepSeek-V2"], {
  hidden_size: 2048,
  num_hidden_layers: 27,
  num_attention_heads: 16,
  num_key_value_heads: 16,
  q_lora_rank: null,
  intermediate_size: 10944,
  moe_intermediate_size: 1408,
  n_routed_experts: 64,
  n_shared_experts: 2,
  num_experts_per_tok: 6,
  n_group: 1,
  topk_group: 1,
  topk_method: "greedy",
  routed_scaling_factor: 1,
});

const published: Readonly<Record<string, Config>> = {
  "DeepSeek-R1": supported["DeepSeek-R1"],
  "DeepSeek-V2-Lite": v2Lite,
  "Kimi-K2": supported["Kimi-K2"],
  "printed-model": read("examples/printed-model/config.json"),
};

type Options = Partial<CompileOptions>;
const written = (o: Options): string => Object.entries(o).map(([k, v]) => ` ${k}=${String(v)}`).join("");

/** Options that change the kernels of a target, each alone. */
const variants: Readonly<Record<CompileOptions["target"], readonly Options[]>> = {
  cpu: [{}, { passes: "none" }, { attention: "expanded" }, { attention: "absorbed" }, { actQuant: "none" }, { taps: true }],
  cuda: [
    { activations: "bf16" },
    { activations: "f32" },
    { activations: "bf16", passes: "none" },
    { activations: "bf16", deterministic: true },
    { activations: "bf16", natives: "none" },
    { activations: "bf16", attention: "expanded" },
    { activations: "bf16", attention: "absorbed" },
    { activations: "bf16", actQuant: "none" },
  ],
  triton: [{ activations: "bf16" }, { activations: "f32" }, { activations: "bf16", passes: "none" }],
};

const digest = (...parts: (string | Uint8Array)[]): string => {
  const hash = createHash("sha256");
  for (const p of parts) hash.update(p);
  return hash.digest("hex").slice(0, 12);
};

/** A text without its comments and the blanks at line ends. */
const code = (text: string): string =>
  text
    .split("\n")
    .filter((line) => !/^\s*(\/\/|#(?!include|define|pragma|if|end|else)|;;)/.test(line))
    .map((line) => line.replace(/\s+(\/\/|;;) .*$/, "").trimEnd())
    .join("\n");

function lines(config: Config, options: Options, name: string, target: CompileOptions["target"], f32: boolean): string[] {
  const { spec } = specOf(sourceOf(textOf(config), "config.json", ".", []));
  // What a checkpoint in f32 makes of a config that says bfloat16 (compiler/checkpoint-dtypes.ts).
  if (f32) spec.dtype = "f32";
  const { manifest, files } = compileSpec(spec, { ...defaults, ...options, target });
  const kernels = Object.entries(manifest.kernels).map(([kernel, k]) => {
    const text = String(files.get(k.text));
    return `  ${kernel} text ${digest(text)} code ${k.binary && files.get(k.binary) ? digest(files.get(k.binary)!) : digest(code(text))}`;
  });
  // Digests of texts change with their words; the rest of a manifest is what the runtime does.
  const { files: _, ...plan } = manifest;
  return [`${name}${written(options)}: ${kernels.length} kernels, manifest ${digest(JSON.stringify(plan))}`, ...kernels];
}

const folder = path.join(import.meta.dirname, "digests");

for (const target of ["cpu", "cuda", "triton"] as const)
  test(`kernels and manifests for ${target} are those of test/golden/digests/${target}.txt`, () => {
    const got = [
      ...variants[target].flatMap((o) => Object.entries(published).flatMap(([name, config]) => lines(config, o, name, target, false))),
      ...variants[target].slice(0, 3).flatMap((o) => fixtures.flatMap((f) => lines(read(`${f}/config.json`), o, path.basename(f), target, !f.endsWith("fp8")))),
    ].join("\n");
    const file = path.join(folder, `${target}.txt`);
    if (blessing) {
      mkdirSync(folder, { recursive: true });
      writeFileSync(file, `${got}\n`);
    }
    const want = existsSync(file) ? readFileSync(file, "utf8").trimEnd() : "";
    if (got !== want) expect.fail(`digests of ${target} differ (- golden, + now):\n\n${difference(want, got)}\n\nIf this is meant: npm run bless, and say so in the commit`);
  });
